"""Attempts that wait for a slot, given out fairly among their jobs.

A job with many tasks must not keep another waiting that has few. So the next task is one of the job
that has the fewest slots now, for its weight; of several, the one whose tasks have used the least
time, for its weight; of several, the one that has waited longest. A job that comes late starts
level with the one that has used least: it gets its share from now on, not what it has missed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from map_reduce.workers.tasks import Task


class _Share(msgspec.Struct):
    """One job, as long as it has tasks that wait or run."""

    used_s: float
    weight: float = 1.0
    waiting: deque[Task] = msgspec.field(default_factory=deque)
    running: dict[Task, float] = msgspec.field(default_factory=dict)  # since when
    ahead: set[Task] = msgspec.field(default_factory=set)  # out of the queue, and not running yet

    @property
    def is_idle(self) -> bool:
        return not (self.waiting or self.running or self.ahead)


class FairQueue:
    """Not thread-safe: its owner holds a lock.

    Args:
        now_s: monotonic seconds.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._shares: dict[str, _Share] = {}

    def __len__(self) -> int:
        return sum(len(share.waiting) for share in self._shares.values())

    def put(self, task: Task) -> None:
        """The task waits for a slot."""
        self._share_of(task).waiting.append(task)

    def begin(self, task: Task) -> None:
        """The task gets a slot without having waited, or after it was taken ahead."""
        share = self._share_of(task)
        share.ahead.discard(task)
        share.running[task] = self._now_s()

    def take(self) -> Task | None:
        """The next task, which gets a slot now; None where none waits."""
        now_s = self._now_s()
        if (share := self._next_share(now_s)) is None:
            return None
        task = share.waiting.popleft()
        share.running[task] = now_s
        return task

    def take_ahead(self) -> Task | None:
        """The next task, for one who has a slot and will be done with it in a moment. It is to
        :meth:`begin`, or to be :meth:`put_back`."""
        if (share := self._next_share(self._now_s())) is None:
            return None
        task = share.waiting.popleft()
        share.ahead.add(task)
        return task

    def put_back(self, task: Task) -> None:
        """It was taken ahead, and is the next of its job again."""
        share = self._share_of(task)
        share.ahead.discard(task)
        share.waiting.appendleft(task)

    def forget(self, task: Task) -> None:
        """It was taken ahead, and nobody wants it any more."""
        self._share_of(task).ahead.discard(task)
        self._forget_idle()

    def end(self, task: Task) -> None:
        """The task has left its slot."""
        share = self._shares[task.order.attempt.job_id]
        share.used_s += self._now_s() - share.running.pop(task)
        self._forget_idle()

    def drop(self, unwanted: Callable[[Task], bool]) -> None:
        """Forget some of those that wait."""
        for share in self._shares.values():
            share.waiting = deque(task for task in share.waiting if not unwanted(task))
        self._forget_idle()

    def _next_share(self, now_s: float) -> _Share | None:
        ready = [share for share in self._shares.values() if share.waiting]
        return min(ready, key=lambda share: self._rank(share, now_s)) if ready else None

    def _share_of(self, task: Task) -> _Share:
        job_id = task.order.attempt.job_id
        share = self._shares.get(job_id)
        if share is None:
            now_s = self._now_s()
            least_s = min(
                (self._used_s(other, now_s) for other in self._shares.values()), default=0
            )
            weight = task.order.priority
            share = self._shares[job_id] = _Share(least_s * weight, weight)
        return share

    @staticmethod
    def _used_s(share: _Share, now_s: float) -> float:
        """So much time its tasks have used, for its weight."""
        running_s = sum(now_s - since_s for since_s in share.running.values())
        return (share.used_s + running_s) / share.weight

    def _rank(self, share: _Share, now_s: float) -> tuple[float, float, int]:
        slots = len(share.running) / share.weight
        return slots, self._used_s(share, now_s), share.waiting[0].number

    def _forget_idle(self) -> None:
        idle = [job_id for job_id, share in self._shares.items() if share.is_idle]
        for job_id in idle:
            del self._shares[job_id]
