"""What a job's user code has counted and left out, over the attempts whose outputs count.

A task adds its tally when it is committed and takes it back when its output is lost, so at any
time each committed task is in the sums once.
"""

from __future__ import annotations

from itertools import chain, islice

from map_reduce.core.messages import (
    BAD_RECORDS_KEPT_MAX,
    COUNT_MAX,
    COUNTERS_MAX,
    BadRecord,
    Tally,
)


class JobTally:
    """Sums of tallies. Attributes are for reading.

    Of the records that were left out the first ones to be told are kept, and shown in the order
    of tasks.
    """

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.records_skipped = 0
        self.keys_skipped = 0
        self._names: dict[str, str] = {}  # so that each name is in memory once
        self._tasks_counting: dict[str, int] = {}  # committed tasks that have counted by a name
        self._kept: dict[tuple[str, int], tuple[BadRecord, ...]] = {}
        self._room = BAD_RECORDS_KEPT_MAX

    @property
    def skipped(self) -> int:
        return self.records_skipped + self.keys_skipped

    def add(self, phase: str, task: int, tally: Tally) -> Tally:
        """Add a task's; what to take back should its output be lost.

        What is returned is small where the tally is: names are shared, and records not kept here
        are not in it.
        """
        counters = []
        for told, count in tally.counters:
            name = self._names.setdefault(told, told)
            self.counters[name] = self.counters.get(name, 0) + count
            self._tasks_counting[name] = self._tasks_counting.get(name, 0) + 1
            counters.append((name, count))
        self.records_skipped += tally.records_skipped
        self.keys_skipped += tally.keys_skipped
        if kept := tally.skipped[: self._room]:
            self._kept[phase, task] = kept
            self._room -= len(kept)
        return Tally(tuple(counters), tally.records_skipped, tally.keys_skipped)

    def whole(self, phase: str, task: int, tally: Tally) -> Tally:
        """The task's, with those of its records that are kept; ``tally`` is what add returned."""
        kept = self._kept.get((phase, task), ())
        return Tally(tally.counters, tally.records_skipped, tally.keys_skipped, kept)

    def take_back(self, phase: str, task: int, tally: Tally) -> None:
        """The task's output is lost; ``tally`` is what :meth:`add` returned."""
        for name, count in tally.counters:
            self.counters[name] -= count
            self._tasks_counting[name] -= 1
            if not self._tasks_counting[name]:
                del self.counters[name], self._tasks_counting[name], self._names[name]
        self.records_skipped -= tally.records_skipped
        self.keys_skipped -= tally.keys_skipped
        self._room += len(self._kept.pop((phase, task), ()))

    def too_much(self) -> str:
        """Which counter is too large or one too many, in words; "" where none is."""
        if len(self.counters) > COUNTERS_MAX:
            some = ", ".join(map(repr, islice(self.counters, 5)))
            return f"the job has more than {COUNTERS_MAX} counters, among them {some}"
        for name, count in self.counters.items():
            if not -COUNT_MAX <= count <= COUNT_MAX:
                return f"the counter {name!r} has left the range of 62 bits"
        return ""

    def shown(self) -> Tally:
        """All of it, as a message has it."""
        kept = chain.from_iterable(self._kept[task] for task in sorted(self._kept))
        counters = tuple(sorted(self.counters.items()))
        return Tally(counters, self.records_skipped, self.keys_skipped, tuple(kept))
