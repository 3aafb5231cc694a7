"""An attempt on its way through a pool."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from map_reduce.core.messages import AttemptId, Outcome, StartAttempt
from map_reduce.ports import LocalInput, Made


class Task(msgspec.Struct, eq=False):
    """From submit to report. What changes is guarded by the pool's lock."""

    number: int  # within the pool
    order: StartAttempt
    local: LocalInput
    ended: Callable[[Outcome, Made], None]
    stopped: bool = False
    records: int = 0
    bytes_in: int = 0
    current: str = ""

    def folder(self, scratch: Path) -> Path:
        """The folder of a process whose first attempt this is; it is gone after the process."""
        return scratch / f"attempt-{self.number}"

    def delivery(self, scratch: Path) -> Path:
        """Where its output stands once it is complete."""
        return scratch / f"output-{self.number}"


def matches(
    attempt: AttemptId, job_id: str, phase: str, task: int, number: int, epoch: int
) -> bool:
    """Whether ``stop`` with these arguments means this attempt."""
    return (
        attempt.job_id == job_id
        and phase in ("", attempt.phase)
        and task in (-1, attempt.task)
        and number in (-1, attempt.number)
        and epoch in (-1, attempt.epoch)
    )
