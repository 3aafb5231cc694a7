"""Mapping and reducing where bad records may be left out.

An attempt begins like any other: as long as nothing goes wrong, allowing for bad records costs
nothing. Once something has, the attempt starts over with the classes here. They call user code for
one record after another and take what it gives as a whole or not at all, so of a record that fails
half way nothing remains: no pair, and no count. Keys are grouped record by record, and in a job
that sorts compared with themselves, so that one whose own methods raise is found at its record; one
that raises beside others only, at the record that brings them together, where that is in one dict.

Left out is: a record whose map raises or gives something that is not pairs, has keys that cannot be
grouped by, or (if that is what went wrong) does not pickle; a line that is not valid in its
encoding; a key whose reduce raises or gives what does not pickle; and what has ended earlier
attempts with their processes, which is not even looked at (``Skipping.known``). Not left out is
what may pass, such as a lost connection: then the attempt fails, and is tried again.

A combiner that raises for some values is no reason to leave out anything: the values go to reduce
as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from map_reduce.core.messages import (
    BAD_RECORDS_KEPT_MAX,
    BadRecord,
    Skipping,
    Split,
    Suspect,
    Tally,
)
from map_reduce.errors import BadKeyError, BadPairError, BadRecordsError, CounterError
from map_reduce.execution.failures import Stopped, sendable, shown
from map_reduce.execution.functions import LoadedFunctions
from map_reduce.execution.gauge import Gauge
from map_reduce.execution.groups import Groups
from map_reduce.execution.keys import are_plain, form_of
from map_reduce.execution.map_side import (
    NO_PAIR,
    PAIRS_AT_FIRST,
    PAIRS_PER_SWEEP,
    VALUES_PER_KEY,
    MapSide,
    combine_stopped,
    note_record,
)
from map_reduce.execution.pickles import SCALARS, pickles
from map_reduce.execution.read import Batch, Undecodable
from map_reduce.execution.reduce_side import ReduceSide, note_key, position_of
from map_reduce.execution.results import ResultWriter
from map_reduce.execution.sorting import compare
from map_reduce.execution.spill import Spiller
from map_reduce.execution.tracker import Note, Tracker

NAMED_MAX = 5


class Guard:
    """What one attempt leaves out.

    Args:
        skipping: as the order says.
        counted: what user code counts.
        pickling: look at everything that user code gives, whether it pickles.
    """

    def __init__(self, skipping: Skipping, counted: dict[str, int], *, pickling: bool) -> None:
        self.pickling = pickling
        self._left = skipping.left
        self._known = {(known.phase, known.position): known for known in skipping.known}
        self._counted = counted
        self._skipped = {"map": 0, "reduce": 0}
        self._kept: list[BadRecord] = []

    def known(self, phase: str, position: int) -> Suspect | None:
        """What is known of this record or key from earlier attempts."""
        return self._known.get((phase, position))

    def leave_out(self, phase: str, bad: BadRecord) -> None:
        """Note that a record ("map") or key ("reduce") is not in the result.

        Raises:
            Stopped: it is one too many for the job.
        """
        self._skipped[phase] += 1
        if len(self._kept) < BAD_RECORDS_KEPT_MAX:
            self._kept.append(bad)
        if 0 <= self._left < sum(self._skipped.values()):
            named = "".join(
                f"\n  {bad.where}{': ' if bad.record else ''}{bad.record}: {bad.error}"
                for bad in self._kept[:NAMED_MAX]
            )
            raise Stopped(
                BadRecordsError,
                "",
                f"more records and keys cannot be processed than may be left out "
                f"(on_bad_record). Those of this task:{named}",
            )

    def counts(self) -> dict[str, int]:
        """What is counted by now, for :meth:`uncount`."""
        return dict(self._counted)

    def uncount(self, before: dict[str, int]) -> None:
        """Forget what was counted since."""
        self._counted.clear()
        self._counted.update(before)

    def tally(self, counters: tuple[tuple[str, int], ...]) -> Tally:
        return Tally(counters, self._skipped["map"], self._skipped["reduce"], tuple(self._kept))


class GuardedMapSide(MapSide):
    """Maps record by record."""

    def __init__(
        self,
        split: Split,
        batches: Iterator[Batch],
        functions: LoadedFunctions,
        tracker: Tracker,
        note: Note | None,
        spiller: Spiller,
        guard: Guard,
    ) -> None:
        super().__init__(split, batches, functions, tracker, note, spiller)
        self._guard = guard

    def run(self) -> Groups:
        """Map everything that can be, and combine where there is a combiner.

        Raises:
            Stopped: by what may pass, or since too much is to be left out.
            InputError: the split cannot be read.
        """
        combines = self._functions.combine is not None
        pairs_since_sweep = pairs_since_look = 0
        pace = self._spiller.pace(PAIRS_AT_FIRST, PAIRS_PER_SWEEP)
        while (batch := self._next_batch()) is not None:
            for position, key, value in zip(batch.positions, batch.keys, self._rest, strict=False):
                pairs = self._grouped(position, key, value)
                pairs_since_sweep += pairs
                pairs_since_look += pairs
                if combines and pairs_since_sweep >= max(PAIRS_PER_SWEEP, 4 * len(self.groups)):
                    self._combine(VALUES_PER_KEY)
                    pairs_since_sweep = 0
                if pairs_since_look >= pace.now:
                    if pace.look(pairs_since_look):
                        self._spill()
                    pairs_since_look = 0
            self.records += len(batch.values)
        if combines:
            self._combine(1)
        return self.groups

    def _grouped(self, position: int, key: Any, value: Any) -> int:
        """Map a record and group its pairs; how many there are, none where it is left out."""
        guard = self._guard
        if (known := guard.known("map", position)) is not None:
            guard.leave_out("map", known.bad)
            return 0
        if type(value) is Undecodable:
            record = shown(value.data)
            guard.leave_out("map", BadRecord(self._name(), record, value.reason))
            return 0
        if self._note is not None:
            note_record(self._note, position, self._name(), value)
        counted = guard.counts()
        pair = NO_PAIR
        try:
            pairs = list(self._functions.map(key, value))
            for pair in pairs:
                self._check(pair)
            lists = self._lists_of([pair[0] for pair in pairs])
        except BaseException as error:
            stopped = error if isinstance(error, Stopped) else self._stopped(error, pair)
            if stopped.may_pass or stopped.is_about_the_job:
                raise stopped from error
            guard.uncount(counted)
            guard.leave_out("map", stopped.bad_record())
            return 0
        finally:
            if self._note is not None:
                self._note("", -1, "", "")
        for values, (_, of_pair) in zip(lists, pairs, strict=True):
            values.append(of_pair)
        return len(pairs)

    def _lists_of(self, keys: list[Any]) -> list[list[Any]]:
        """Where the values of each key are. New keys of a record that is left out, since one of its
        keys cannot be compared, are taken out again, which takes no comparing."""
        groups = self.groups
        before = len(groups), len(groups.irregular)
        try:
            return [groups[key] for key in keys]
        except BaseException:
            for held, known in zip((groups, groups.irregular), before, strict=True):
                while len(held) > known:
                    held.popitem()
            raise

    def _check(self, pair: Any) -> None:
        """Raise something where it is no pair, or one whose key cannot be grouped by."""
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise BadPairError
        key, value = pair
        hash(key)
        form_of(key)
        if self._functions.sorts:
            compare(key)
        if self._guard.pickling:
            if type(key) not in SCALARS and (why := pickles(key)):
                what = f"a key of type {type(key).__name__} cannot be sent to another process"
                raise self._stop(BadKeyError, f"{what}: {why}")
            if type(value) not in SCALARS and (why := pickles(value)):
                what = f"a value of type {type(value).__name__} cannot be sent to another process"
                raise self._stop(BadPairError, f"{what}: {why}")

    def _combine(self, length_max: int) -> None:
        combine = self._functions.combine
        assert combine is not None
        for key, values in self.groups.items():
            if len(values) <= length_max:
                continue
            try:
                combined = combine(key, values[:])
            except BaseException as error:
                stopped = combine_stopped(key, error)
                if stopped.may_pass or isinstance(error, CounterError):
                    raise stopped from error
            else:
                values[:] = [combined]


class GuardedReduceSide(ReduceSide):
    """Reduces key by key."""

    def __init__(
        self,
        functions: LoadedFunctions,
        tracker: Tracker,
        note: Note | None,
        results: ResultWriter,
        gauge: Gauge,
        folder: Path,
        guard: Guard,
    ) -> None:
        super().__init__(functions, tracker, note, results, gauge, folder)
        self._guard = guard

    def _reduce_some(
        self, keys: list[Any], lists: list[list[Any]], bytes_before: int, bytes_to: int
    ) -> None:
        taken = iter(keys)
        self._enter(keys, taken, bytes_before, bytes_to)
        for at, key in enumerate(taken):
            self._reduce_one(keys, at, key, lists[at])

    def _reduce_one(self, keys: list[Any], at: int, key: Any, values: list[Any]) -> None:
        guard = self._guard
        known = guard.known("reduce", position_of(key))
        if known is not None and _is_about(known, key):
            guard.leave_out("reduce", known.bad)
            return
        if self._note is not None:
            note_key(self._note, self.keys + at, key)
        counted = guard.counts()
        try:
            result = self._functions.reduce(key, values)
            if guard.pickling and type(result) not in SCALARS and (why := pickles(result)):
                kind = type(result).__name__
                raise self._stop(keys, at, f"the result, a {kind}, cannot be pickled: {why}")
        except BaseException as error:
            stopped = error if isinstance(error, Stopped) else self._stop(keys, at, original=error)
            if stopped.may_pass or stopped.is_about_the_job:
                raise stopped from error
            guard.uncount(counted)
            guard.leave_out("reduce", stopped.bad_record())
        else:
            self.results.keys.append(key)
            self.results.values.append(result)
        finally:
            if self._note is not None:
                self._note("", -1, "", "")


def _is_about(known: Suspect, key: Any) -> bool:
    """Whether it is this key, and not one of the same hash. Told only where the text of a key is
    the same in every process."""
    where = known.bad.where
    return not are_plain([key]) or where == sendable(f"key {shown(key)}")
