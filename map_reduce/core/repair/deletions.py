"""Jobs whose blocks were deleted, remembered so that repair does not bring them back.

A master tells every node once that a job has ended. Who missed it, paused or cut off, still
holds copies and would give them to the others as blocks that they lack. So each node remembers
what it was told, and who wants to hand over a block is told in turn.

How long: ``KEPT_S``, a day, and over restarts where the node has a data folder. A node that was
away for longer, or whose fellows have none and were all restarted meanwhile, can bring back the
blocks of a job that has ended. That costs room and harms nobody: no other job ever has the same id.
To remember for ever would cost room for certain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from map_reduce.core import names
from map_reduce.core.messages import BlockRef, EndedJob

KEPT_S = 24 * 3600.0
JOBS_MAX = 100_000
"""Jobs remembered, the latest ones: about 20 MB."""


class Deletions:
    """What one node was told to delete.

    Args:
        now_s: monotonic seconds.
        jobs_max: so many are remembered.
    """

    def __init__(self, now_s: Callable[[], float], jobs_max: int = JOBS_MAX) -> None:
        self._now_s = now_s
        self._jobs_max = jobs_max
        self._jobs: dict[str, tuple[float, bool]] = {}  # in order of their first note

    def note(self, ended: EndedJob, age_s: float = 0.0) -> bool:
        """Remember what was told so many seconds ago; whether that is news."""
        _, all_of_it = self._jobs.get(ended.job_id, (0.0, None))
        self._jobs[ended.job_id] = (self._now_s() - age_s, ended.blocks or bool(all_of_it))
        self._forget_old()
        return all_of_it is None or (ended.blocks and not all_of_it)

    def of(self, name: str) -> EndedJob | None:
        """The deletion that a block of this name fell under, if any."""
        noted_s, all_of_it = self._jobs.get(names.job_of(name), (0.0, None))
        if all_of_it is None or self._now_s() - noted_s > KEPT_S:
            return None
        if not (all_of_it or names.is_only_for_running(name)):
            return None
        return EndedJob(names.job_of(name), all_of_it)

    def among(self, refs: Iterable[BlockRef]) -> tuple[EndedJob, ...]:
        """Those that any of the blocks fell under, each once."""
        found = (self.of(ref.name) for ref in refs)
        return tuple(dict.fromkeys(ended for ended in found if ended is not None))

    def _forget_old(self) -> None:
        while self._jobs:
            job_id, (noted_s, _) = next(iter(self._jobs.items()))
            if len(self._jobs) <= self._jobs_max and self._now_s() - noted_s <= KEPT_S:
                return
            del self._jobs[job_id]
