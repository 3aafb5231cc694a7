"""Which attempts lag so far behind that the task is better begun anew elsewhere.

A task that runs on a slow node holds up the whole job once all others are done. So nodes with free
slots that no task waits for are given *backup attempts* at the tasks that lag (Dean and
Ghemawat 2004, section 3.6). Which ones do, is told as in LATE (Zaharia et al. 2008), by the time
that an attempt still needs, not by how far it is::

    expected    what a task of this size takes: by the median of the last ones that were committed,
                of their times and of their times for a byte, whichever gives more
    left        elapsed * (1 - progress) / progress, progress being the part of the bytes that is
                done; where it has not moved for a while, half the time that it has taken so far

An attempt lags if ``left`` is well over ``expected``, for then a new one will probably be done
before it. Where nothing is committed yet to compare with, as in a job of a single task, it lags
when half the time is over after which it would be ended anyway.

An attempt that still waits behind the slots of its node needs no backup: it is moved. A backup
runs on another node than the attempt it is for, and on none that has been slow itself.
There are at most two attempts at a task at a time, and backups in at most a quarter of the slots.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from map_reduce.core.messages import AttemptId
from map_reduce.core.scheduling.nodes import NodeState
from map_reduce.core.scheduling.tasks import Attempt, Task

BACKUP_AFTER_S_MIN = 1.0
"""An attempt is left alone for so long at least: what takes less is not worth a second one."""

MOVE_AFTER_S = 1.0
"""How long an attempt waits behind the slots of its node before it goes to an idle one."""

MARGIN = 1.2
"""An attempt lags if it needs so many times what a new one would, its start included."""

START_S = 0.5

PROGRESS_MIN = 0.05
"""Of less progress nothing can be told."""

SLOTS_SHARE = 0.25
"""Of all slots, that may be taken by backups; two at least."""

TIMEOUT_SHARE = 0.5
SIZES_KEPT_MAX = 501
LAG_WEIGHT = 0.5


class Pace:
    """How long the tasks of one phase take, from the last ones that were committed."""

    def __init__(self) -> None:
        self._last: deque[tuple[float, float]] = deque()  # s, s per byte
        self._seconds: list[float] = []  # of the last, sorted, so that no median has to sort them
        self._rates: list[float] = []

    def note(self, node: NodeState, seconds: float, size_bytes: int) -> None:
        """A task of this size was committed after so many seconds on the node."""
        expected_s = self.expected_s(size_bytes)
        if expected_s:
            node.lag += LAG_WEIGHT * (seconds / expected_s - node.lag)
        if len(self._last) == SIZES_KEPT_MAX:
            for kept, old in zip((self._seconds, self._rates), self._last.popleft(), strict=True):
                del kept[bisect_left(kept, old)]
        rate = seconds / max(1, size_bytes)
        self._last.append((seconds, rate))
        insort(self._seconds, seconds)
        insort(self._rates, rate)

    def expected_s(self, size_bytes: int) -> float | None:
        """What a task of this size takes; None where there is nothing to tell it by."""
        if not self._last:
            return None
        return max(_middle(self._seconds), _middle(self._rates) * size_bytes)


def _middle(ordered: list[float]) -> float:
    """The median."""
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


class Idle(NamedTuple):
    """Nodes with a free slot that no task waits for, and the slots of all nodes."""

    nodes: list[NodeState]
    slots_total: int


class Backups:
    """Which backups to start now.

    Args:
        timeout_s: after which an attempt is ended.
        on: otherwise there are never any.
    """

    def __init__(self, timeout_s: float, on: bool) -> None:
        self.on = on
        self._timeout_s = timeout_s
        self._paces: dict[str, Pace] = {}

    def note(self, attempt: Attempt, now_s: float) -> None:
        """The attempt was committed."""
        pace = self._paces.setdefault(attempt.task.phase, Pace())
        pace.note(attempt.node, now_s - attempt.since_s, attempt.size_bytes)

    def wanted(
        self, attempts: Mapping[AttemptId, Attempt], kind: type[Task], idle: Idle, now_s: float
    ) -> Iterator[tuple[Task, NodeState]]:
        """The tasks of a kind to begin a second time, and where, one after another: each is to
        be started before the next is asked for."""
        room = backups_max(idle.slots_total) - sum(one.backup for one in attempts.values())
        if not self.on or room <= 0:
            return
        alone = [
            one
            for one in attempts.values()
            if len(one.task.attempts) == 1 and isinstance(one.task, kind)
        ]
        for attempt in self._lagging(alone, now_s):
            node = node_for(attempt, idle.nodes)
            if node is not None:
                yield attempt.task, node
                room -= 1
                if not room:
                    return

    def to_move(
        self, attempts: Mapping[AttemptId, Attempt], kind: type[Task], idle: Idle, now_s: float
    ) -> Iterator[tuple[Attempt, NodeState]]:
        """Attempts at tasks of a kind that wait behind the slots of their node while another node
        is idle, and that node; one after another, as in :meth:`wanted`."""
        for attempt in [one for one in attempts.values() if one.waits]:
            patient = now_s - attempt.since_s < MOVE_AFTER_S
            if patient or len(attempt.task.attempts) > 1 or not isinstance(attempt.task, kind):
                continue
            node = node_for(attempt, idle.nodes)
            if node is not None:
                yield attempt, node

    def _lagging(self, attempts: list[Attempt], now_s: float) -> list[Attempt]:
        """The one that needs longest first."""
        lags = []
        for attempt in attempts:
            pace = self._paces.get(attempt.task.phase)
            expected_s = pace.expected_s(attempt.size_bytes) if pace else None
            if lag := lag_s(attempt, expected_s, self._timeout_s, now_s):
                lags.append((lag, attempt))
        lags.sort(key=lambda one: one[0], reverse=True)
        return [attempt for _, attempt in lags]


def backups_max(slots: int) -> int:
    """How many backups may be in flight at a time."""
    return max(2, int(slots * SLOTS_SHARE))


def lag_s(attempt: Attempt, expected_s: float | None, timeout_s: float, now_s: float) -> float:
    """The seconds that a lagging attempt still needs; 0.0 for one that does not lag."""
    elapsed_s = now_s - attempt.since_s
    if elapsed_s < BACKUP_AFTER_S_MIN:
        return 0.0
    if expected_s is None:
        return elapsed_s if elapsed_s >= TIMEOUT_SHARE * timeout_s else 0.0
    size_bytes = attempt.size_bytes
    progress = min(1.0, attempt.bytes_done / size_bytes) if size_bytes else 0.0
    moves = now_s - attempt.progressed_s <= max(BACKUP_AFTER_S_MIN, expected_s)
    if progress >= PROGRESS_MIN and moves:
        left_s = elapsed_s * (1 - progress) / progress
    else:
        left_s = elapsed_s / 2
    return left_s if left_s > MARGIN * (expected_s + START_S) else 0.0


def node_for(attempt: Attempt, free: Iterable[NodeState]) -> NodeState | None:
    """The node, of those with a free slot, that should run a backup of this; None: none should."""
    task = attempt.task
    fit = (
        node
        for node in free
        if node.queued < 0
        and node.member != attempt.node.member
        and node.member not in task.avoid
        and (node.reader or not task.readers_only)
        and not node.is_slow
    )
    return min(fit, key=lambda node: node.load, default=None)
