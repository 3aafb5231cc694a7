"""How far a job is: numbers for programs, a bar for terminals."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from map_reduce.core.messages import Progress

MAP_SHARE = 0.75
"""The part of a job's work that is taken to be done when all maps are."""

BAR_DELAY_S = 0.4
"""Jobs shorter than this show no bar."""


class JobProgress(NamedTuple):
    """A snapshot. Counts never go back; totals are 0 while they are unknown."""

    phase: str
    """``waiting``, ``map``, ``reduce``, ``done``, ``failed`` or ``cancelled``."""
    tasks_done: int
    tasks_total: int
    records: int
    """Input records mapped."""
    bytes_done: int
    """Input bytes mapped."""
    bytes_total: int
    elapsed_s: float
    fraction: float
    """0 … 1, by bytes where they are known, else by tasks."""
    remaining_s: float | None
    """Estimated from the pace so far; None while there is none."""

    @classmethod
    def of(cls, progress: Progress) -> JobProgress:
        fraction = _fraction(progress)
        remaining_s = None
        if progress.phase in ("map", "reduce") and fraction > 0:
            remaining_s = progress.elapsed_s * (1 - fraction) / fraction
        return cls(
            phase=progress.phase,
            tasks_done=progress.map_tasks_done + progress.reduce_tasks_done,
            tasks_total=progress.map_tasks_total + progress.reduce_tasks_total,
            records=progress.records,
            bytes_done=progress.input_bytes_done,
            bytes_total=progress.input_bytes_total,
            elapsed_s=progress.elapsed_s,
            fraction=fraction,
            remaining_s=remaining_s,
        )


def _fraction(progress: Progress) -> float:
    if progress.phase == "done":
        return 1.0
    mapped = _ratio(progress.map_tasks_done, progress.map_tasks_total)
    if progress.input_bytes_total:
        mapped = max(mapped, _ratio(progress.input_bytes_done, progress.input_bytes_total))
    reduced = _ratio(progress.reduce_tasks_done, progress.reduce_tasks_total)
    return min(1.0, mapped) * MAP_SHARE + reduced * (1 - MAP_SHARE)


def _ratio(done: int, total: int) -> float:
    return done / total if total else 0.0


class Bar:
    """A progress bar on standard error: for terminals alone, unless told otherwise.

    Args:
        shown: None shows it where standard error is a terminal.
    """

    def __init__(self, name: str, shown: bool | None) -> None:
        self._name = name
        out = sys.stderr  # None where it was closed
        self._shown = out is not None and (out.isatty() if shown is None else shown)
        self._bar: Any = None

    def show(self, progress: JobProgress) -> None:
        if not self._shown or (self._bar is None and progress.elapsed_s < BAR_DELAY_S):
            return
        if self._bar is None:
            from tqdm import tqdm  # late: most jobs in scripts and services show no bar

            self._bar = tqdm(
                total=100,
                desc=self._name,
                unit="%",
                file=sys.stderr,
                leave=False,
                bar_format="{desc}: |{bar}| {percentage:3.0f}%{postfix}",
            )
        bar = self._bar
        known = [progress.phase, f"{progress.records:,} records", f"{progress.elapsed_s:.0f} s"]
        if progress.remaining_s is not None:
            known.append(f"about {progress.remaining_s:.0f} s left")
        bar.set_postfix_str(", ".join(known), refresh=False)
        bar.n = max(bar.n, round(progress.fraction * 100))
        bar.refresh()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
