"""How far a job is: numbers for programs, a bar for terminals."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from map_reduce.core.messages import Progress

MAP_SHARE = 0.75
"""The part of a job's work that is taken to be done when all maps are."""

BAR_DELAY_S = 0.4
"""Jobs shorter than this show no bar."""


GAP_S_MAX = 0.5
"""A client that for longer has neither asked nor waited for an answer has not seen when the job
ended."""


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


class TimeSeen:
    """How long a job took from its submission to its end, as far as a client can tell.

    Args:
        began_s: when the client began to submit it; None where it did not.
    """

    def __init__(self, began_s: float | None) -> None:
        self._began_s = began_s
        self._running_s = began_s  # when it was last known not to have ended
        self._ended_s: float | None = None
        self._gap_s = 0.0  # before the answer that it has ended was waited for

    def saw(self, ended: bool, asked_s: float, now_s: float) -> None:
        """Note an answer. It may have been held until the end, so that the end is seen when the
        answer comes, however long ago it was asked for."""
        if not ended:
            self._running_s = now_s
        elif self._ended_s is None:
            self._ended_s = now_s
            self._gap_s = asked_s - (asked_s if self._running_s is None else self._running_s)

    def until_end_s(self, progress: Progress) -> float:
        """Exact where the client was there when it ended, or else what its last master says."""
        if self._began_s is None or self._running_s is None:
            return progress.elapsed_s
        if self._ended_s is None:
            return self._running_s - self._began_s
        seen_s = self._ended_s - self._began_s
        return seen_s if self._gap_s <= GAP_S_MAX else progress.elapsed_s


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

    @property
    def is_shown(self) -> bool:
        """Whether there is a bar once the job has taken long enough."""
        return self._shown

    def is_due(self, elapsed_s: float) -> bool:
        """Whether a job that has taken so long has a bar."""
        return self._shown and elapsed_s >= BAR_DELAY_S

    def show(self, progress: JobProgress) -> None:
        if self._bar is None and not self.is_due(progress.elapsed_s):
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
