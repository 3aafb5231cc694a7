"""Outcomes that were reported, kept for the next master.

A master that took a report may die before the ledger says so. Then the one after it asks for what
is not in the ledger, and the report is made again. A ledger is written within a second or so, and
only what was made since then is ever asked for: hence a bound in bytes, and the oldest go first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import msgspec

from map_reduce.core.messages import AttemptId, CheckWork, Functions, Outcome, StartAttempt

KEPT_BYTES_MAX = 16 << 20

NO_FUNCTIONS = Functions(b"", None, b"")


class _Kept(NamedTuple):
    order: StartAttempt
    outcome: bytes  # encoded: a tuple of thousands of sizes takes much less so


class KeptOutcomes:
    """Not thread-safe: its owner holds a lock."""

    def __init__(self, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[AttemptId, _Kept] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, attempt: AttemptId) -> bool:
        return attempt in self._kept

    def keep(self, order: StartAttempt, outcome: Outcome) -> None:
        """Keep an outcome that was reported, and of the order what it takes to report it again."""
        bare = msgspec.structs.replace(order, work=CheckWork(), functions=NO_FUNCTIONS)
        encoded = msgspec.msgpack.encode(outcome)
        self._kept[order.attempt] = _Kept(bare, encoded)
        self._bytes += len(encoded)
        while self._bytes > self._bytes_max:
            self._drop(next(iter(self._kept)))

    def take(self, job_id: str) -> list[tuple[StartAttempt, Outcome]]:
        """Remove and return what is kept of a job."""
        taken = []
        for attempt in [attempt for attempt in self._kept if attempt.job_id == job_id]:
            kept = self._drop(attempt)
            taken.append((kept.order, msgspec.msgpack.decode(kept.outcome, type=Outcome)))
        return taken

    def forget(self, job_id: str) -> None:
        """Drop what is kept of a job."""
        for attempt in [attempt for attempt in self._kept if attempt.job_id == job_id]:
            self._drop(attempt)

    def _drop(self, attempt: AttemptId) -> _Kept:
        kept = self._kept.pop(attempt)
        self._bytes -= len(kept.outcome)
        return kept
