"""What counts and is not in the ledger yet: when to write it, and what has to wait.

The first attempt of a task that succeeds counts at once for this master, but nothing that others
can see may follow from it until the ledger says so as well: another master would read there, and
choose differently. So

- a reduce task is given out once every map output that it reads, and the cut that it is part of,
  are in the ledger;
- the end is told once it is in the job's record;
- map tasks are given out without waiting: nothing that they do depends on what was committed, but
  for whether they add ints up; so where it was decided that they don't, they wait until that is
  in the job's record.

One batch is under way at a time and the next gathers meanwhile. A batch is *due* when something
waits for it, or after ``GATHER_S``, or when there is much in it: a short job writes once or twice
in all, a long phase once in a while. What is lost with a master before it was written is not lost:
the nodes that made it report it again to the next one.

With the wins goes what failed attempts have taught about a task, so that a record which kills its
worker need not do so again for each new master. Nothing follows from that, so it never keeps
anybody waiting; lost or left out for want of room, it is found out once more.
"""

from __future__ import annotations

from collections.abc import Iterable

from map_reduce.core.jobs.state import (
    FINALS_PER_SHARD,
    TROUBLES_BYTES_MAX,
    FinalWin,
    JobEnd,
    MapWin,
    Shard,
    Trouble,
    final_shard,
    map_shard,
    maps_per_shard,
)
from map_reduce.core.scheduling.effects import Commit
from map_reduce.core.scheduling.ledger import Ledger
from map_reduce.core.scheduling.tasks import FinalTask, MapTask, Task

GATHER_S = 0.5
GATHERED_MAX = 64


class Commits:
    """The batch that gathers and the one that is under way."""

    def __init__(self) -> None:
        self.in_flight: Commit | None = None
        self._maps: dict[int, None] = {}
        self._finals: dict[int, None] = {}
        self._troubles: dict[Task, None] = {}
        self._cuts = False
        self._adds = True
        self._since_s = 0.0  # when the oldest of them came
        self._number = 0

    @property
    def maps_written(self) -> bool:
        """Whether every map output that counts, and the cut, are in the ledger."""
        batch = self.in_flight
        return not (
            self._maps or self._cuts or (batch and (batch.map_tasks or batch.cuts is not None))
        )

    @property
    def adding_written(self) -> bool:
        """Whether the ledger says as well that map tasks don't add ints up, if that is so."""
        return self._adds and (self.in_flight is None or self.in_flight.adds)

    @property
    def waiting(self) -> int:
        """How many tasks' outputs count and are not in the batch under way, nor in the ledger."""
        return len(self._maps) + len(self._finals)

    def won(self, task: Task, now_s: float) -> None:
        """Its output counts from now on."""
        self._note(now_s)
        (self._maps if isinstance(task, MapTask) else self._finals)[task.index] = None

    def failed(self, task: Task, now_s: float) -> None:
        """An attempt at it has failed by its own doing."""
        self._note(now_s)
        self._troubles[task] = None

    def _note(self, now_s: float) -> None:
        if not (self.waiting or self._troubles):
            self._since_s = now_s

    def lost(self, task: MapTask) -> None:
        """Its output is gone; what the ledger says of it is made good by its next win."""
        self._maps.pop(task.index, None)

    def cut(self) -> None:
        """The reduce tasks have been cut."""
        self._cuts = True

    def adds_no_more(self) -> None:
        """From now on map tasks add nothing up unasked."""
        self._adds = False

    def ended(self) -> None:
        """The end makes all that was to be written superfluous."""
        self._clear()

    def _clear(self) -> None:
        self._maps.clear()
        self._finals.clear()
        self._troubles.clear()
        self._cuts = False
        self._adds = True

    def is_due(self, ledger: Ledger, ending: JobEnd | None, now_s: float) -> bool:
        """Whether a batch is to be written now, or the end."""
        if self.in_flight is not None:
            return False
        if ending is not None or not self._adds:
            return True
        if not (self.waiting or self._troubles or self._cuts):
            return False
        waited_for = not (ledger.maps_missing or self.maps_written)  # by reduce tasks
        return waited_for or self.waiting >= GATHERED_MAX or now_s - self._since_s >= GATHER_S

    def batch(self, ledger: Ledger, ending: JobEnd | None = None) -> Commit:
        """Put all that gathered under way, or the end."""
        self._number += 1
        shards: list[tuple[str, Shard]] = []
        size = maps_per_shard(ledger.partitions)
        maps, finals = dict(self._maps), dict(self._finals)
        for task in self._troubles:
            (maps if isinstance(task, MapTask) else finals)[task.index] = None
        for number in dict.fromkeys(index // size for index in maps):
            mapping = ledger.maps[number * size : (number + 1) * size]
            shard = Shard(maps=tuple(map_wins(ledger, mapping)), troubles=troubles(mapping))
            shards.append((map_shard(number), shard))
        for number in dict.fromkeys(index // FINALS_PER_SHARD for index in finals):
            start = number * FINALS_PER_SHARD
            reducing = ledger.finals[start : start + FINALS_PER_SHARD]
            wins = tuple(final_wins(ledger, reducing))
            shards.append((final_shard(number), Shard(finals=wins, troubles=troubles(reducing))))
        self.in_flight = Commit(
            number=self._number,
            shards=tuple(shards),
            cuts=ledger.cuts if self._cuts else None,
            ending=ending,
            map_tasks=tuple(self._maps),
            final_tasks=tuple(self._finals),
            adds=self._adds,
        )
        self._clear()
        return self.in_flight

    def written(self, number: int) -> Commit | None:
        """The batch, if it is the one under way."""
        if self.in_flight is None or self.in_flight.number != number:
            return None
        batch, self.in_flight = self.in_flight, None
        return batch


def map_wins(ledger: Ledger, tasks: list[MapTask]) -> list[MapWin]:
    """The wins of those that are committed."""
    return [
        MapWin(
            task.index,
            task.winner.number,
            task.winner.epoch,
            task.output.node,
            task.output.name,
            tuple(task.output.sizes()),
            task.output.counts,
            ledger.tally.whole(task.phase, task.index, task.output.tally),
            task.output.added,
        )
        for task in tasks
        if task.winner is not None and task.output is not None
    ]


def final_wins(ledger: Ledger, tasks: list[FinalTask]) -> list[FinalWin]:
    """The wins of those that are committed."""
    return [
        FinalWin(
            task.index,
            task.winner.number,
            task.winner.epoch,
            task.winner_node,
            task.part,
            task.counts,
            ledger.tally.whole(task.phase, task.index, task.tally),
        )
        for task in tasks
        if task.winner is not None and task.part is not None and task.winner_node is not None
    ]


def troubles(tasks: Iterable[Task]) -> tuple[Trouble, ...]:
    """What their failed attempts have taught, as far as there is room for it."""
    told, room = [], TROUBLES_BYTES_MAX
    for task in tasks:
        if task.endings or task.known_bad:
            trouble = Trouble(task.phase, task.index, task.endings, task.known_bad)
            room -= trouble.size_bytes
            if room < 0:
                break
            told.append(trouble)
    return tuple(told)
