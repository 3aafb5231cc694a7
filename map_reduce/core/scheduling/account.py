"""What a job has done so far, as numbers that never go back.

A task that runs again takes back what it had counted. People are shown the highest value there
was: the work was done, if in vain, and the number stands still until it is made up for.
"""

from __future__ import annotations

from map_reduce.core.messages import Counts, Progress
from map_reduce.core.scheduling.ledger import Ledger
from map_reduce.core.scheduling.states import JobPhase


class Account:
    """``records`` and ``input_bytes`` are of the input: committed, and by attempts in flight."""

    def __init__(self, input_bytes_total: int, started_s: float) -> None:
        self.records = 0
        self.input_bytes = 0
        self.attempts_failed = 0
        self._input_bytes_total = input_bytes_total
        self._started_s = started_s
        self._ended_s: float | None = None
        self._shown = Progress(input_bytes_total=input_bytes_total)

    def add(self, counts: Counts) -> None:
        self.records += counts.records_in
        self.input_bytes += counts.bytes_in

    def take_back(self, counts: Counts) -> None:
        self.records -= counts.records_in
        self.input_bytes -= counts.bytes_in

    def close(self, now_s: float) -> None:
        """The job ended: the clock stands."""
        self._ended_s = now_s

    def show(self, phase: JobPhase, ledger: Ledger, now_s: float) -> Progress:
        maps, finals = len(ledger.maps), len(ledger.finals)
        mapped, reduced = maps - ledger.maps_missing, finals - ledger.finals_missing
        if not maps:  # the one task that does both is shown as a map task
            maps, mapped, finals, reduced = finals, reduced, 0, 0
        shown, total = self._shown, self._input_bytes_total
        input_bytes = min(self.input_bytes, total) if total else self.input_bytes
        if 0 < mapped == maps:
            input_bytes = max(input_bytes, total)
        elapsed_s = (now_s if self._ended_s is None else self._ended_s) - self._started_s
        self._shown = Progress(
            phase=phase.value,
            map_tasks_done=max(shown.map_tasks_done, mapped),
            map_tasks_total=maps,
            reduce_tasks_done=max(shown.reduce_tasks_done, reduced),
            reduce_tasks_total=finals,
            records=max(shown.records, self.records),
            input_bytes_done=max(shown.input_bytes_done, input_bytes),
            input_bytes_total=total,
            attempts_failed=self.attempts_failed,
            elapsed_s=max(shown.elapsed_s, elapsed_s),
        )
        return self._shown
