"""A shortcut for jobs that sort, and have mostly different keys.

Where nothing is combined, pairs need not be grouped before they are sorted (``pairs.py``)::

    map task       map ─▶ keys, values ─▶ sort ─▶ segments by ranges of keys
    reduce task    segments ─▶ keys, values ─▶ sort: a merge of runs ─▶ neighbours are one ─▶ reduce

Where memory runs short, either side puts the pairs that it holds on disk as a run, sorted; the
reduce side merges its runs in the end (``overflow.py``, ``merging.py``).

A task leaves this for the ordinary way as soon as there is a reason to: keys that need care, or
that come again and again. The map side makes groups of its pairs then, and goes on with these
(``map_side.py``); where that fails, the split is mapped once more, to find out which record is to
be named. The reduce side groups the segments that it holds, and what comes (``reduce_side.py``).
The ordinary way is the twin that this is tested against.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import accumulate, chain, islice, pairwise
from typing import Any

from map_reduce.execution.failures import Stopped
from map_reduce.execution.functions import LoadedFunctions
from map_reduce.execution.groups import Groups
from map_reduce.execution.map_side import NO_PAIR, MapSide, NotPlain, is_other_pair
from map_reduce.execution.overflow import RANGE_LEVELS_MAX, Overflow
from map_reduce.execution.pairs import (
    KEYS_SHARE_MIN,
    SAMPLE,
    NotInOrder,
    Pairs,
    are_mostly_different,
    grouped,
)
from map_reduce.execution.read import Batch
from map_reduce.execution.reduce_side import NOTHING, ReduceSide
from map_reduce.execution.segments import Segment
from map_reduce.execution.spill import Held
from map_reduce.kernel import compiled

LOOK_LATER = 4
"""How many times as many pairs there are by the next look at how many keys are different."""


def goes_by_pairs(functions: LoadedFunctions) -> bool:
    """Whether a map side of pairs will do."""
    return functions.sorts and functions.combine is None


class PairSide(MapSide):
    """A MapSide that holds pairs, unless they are better grouped."""

    _look_at = SAMPLE
    """At how many pairs to look how many keys are different."""

    pairs: Pairs | None

    def run(self) -> Held:
        """Map everything. Gives sorted pairs, or groups. Raises as of a MapSide."""
        self.pairs = Pairs()
        self._collect()
        return self.groups if self.pairs is None else self._sorted(self.pairs)

    def _spill(self) -> None:
        if self.pairs is None or self._sorted(self.pairs) is not self.pairs:
            super()._spill()
            return
        self._spiller.spill(self.pairs)
        self._look_at = SAMPLE

    def _sorted(self, pairs: Pairs) -> Held:
        """They, or groups where that is not possible."""
        try:
            pairs.sort()
        except NotInOrder:
            self._regroup(pairs)
            return self.groups
        return pairs

    def _regroup(self, pairs: Pairs) -> None:
        """Go on with groups. Raises NotPlain: a key cannot be grouped by."""
        self.pairs, groups = None, self.groups
        try:
            for key, value in zip(pairs.keys, pairs.values, strict=True):
                groups[key].append(value)
        except MemoryError:
            raise
        except Exception as error:  # a user's __hash__ or __eq__ may raise anything
            raise NotPlain from error

    def _group_each(self, batch: Batch) -> None:
        """Map the records of a batch, and keep their pairs."""
        if self.pairs is None:
            super()._group_each(batch)
            return
        map_ = self._functions.map
        keys: list[Any] = []
        values: list[Any] = []
        add_key, add_value = keys.append, values.append
        pair = NO_PAIR
        records = zip(batch.keys, self._rest, strict=True)
        try:
            if compiled is None:
                for number, record in records:
                    for pair in map_(number, record):
                        key, value = pair + ()  # noqa: RUF005  see map_side.py
                        add_key(key)
                        add_value(value)
            else:
                part_pairs = compiled.part_pairs
                for number, record in records:
                    pairs = map_(number, record)
                    if (done := part_pairs(keys, values, pairs)) is not None:
                        for pair in islice(pairs, done, None):
                            key, value = pair + ()  # noqa: RUF005
                            add_key(key)
                            add_value(value)
        except BaseException as error:
            if is_other_pair(pair):
                raise NotPlain from error
            self._keep(keys, values)  # whose keys come before this
            raise self._stopped(error, pair) from error
        self._keep(keys, values)

    def _group(self, pairs: Iterator[Any]) -> bool:
        """Whether there was any pair."""
        if self.pairs is None:
            return super()._group(pairs)
        keys: list[Any] = []
        values: list[Any] = []
        add_key, add_value = keys.append, values.append
        pair = NO_PAIR
        try:
            if compiled is not None:
                done = compiled.part_from(keys, values, pairs)
                pairs = chain(() if isinstance(done, int) else done, pairs)
            for pair in pairs:
                key, value = pair + ()  # noqa: RUF005
                add_key(key)
                add_value(value)
        except BaseException as error:
            if self._reading or isinstance(error, Stopped):
                raise
            self._keep(keys, values)
            if is_other_pair(pair):
                if self.pairs is not None:
                    self._regroup(self.pairs)
                return self._group_slowly(chain((pair,), pairs))
            raise self._stopped(error, pair) from error
        self._keep(keys, values)
        return bool(keys)

    def _keep(self, keys: list[Any], values: list[Any]) -> None:
        """Add these pairs. Raises NotPlain."""
        pairs = self.pairs
        assert pairs is not None
        if not pairs.add(keys, values):
            self._regroup(pairs)
        elif len(pairs) >= self._look_at:
            self._look_at = LOOK_LATER * len(pairs)
            if not are_mostly_different(pairs.keys):
                self._regroup(pairs)


class PairReduceSide(ReduceSide):
    """A ReduceSide that sorts pairs, where the job sorts and that will do."""

    def _group(
        self,
        segments: Iterator[tuple[int, Segment]],
        level: int,
        before: int,
        to: int | None = None,
        carried: Mapping[Any, Any] = NOTHING,
    ) -> None:
        if carried or level >= RANGE_LEVELS_MAX or not self._functions.sorts:
            super()._group(segments, level, before, to, carried)
            return
        with closing(self._overflow(level, merges=True)) as overflow:
            pairs, rest = self._gather_pairs(segments, overflow)
            if pairs is not None and not overflow.has_runs:
                self._reduce_pairs(pairs, before, self.bytes_in if to is None else to)
                return
            groups = Groups()
            if pairs is not None:
                overflow.run_in_order(pairs)
            else:
                self._gather(rest, groups, overflow)
            self._reduce_gathered(groups, overflow, before, to)

    def _gather_pairs(
        self, segments: Iterator[tuple[int, Segment]], overflow: Overflow
    ) -> tuple[Pairs | None, Iterator[tuple[int, Segment]]]:
        """Hold the pairs of the segments, some on disk where not all fit.

        Returns:
            Those that are not on disk, sorted; or None, and the segments that are to be grouped.
        """
        pairs = Pairs()
        held: list[tuple[int, Segment]] = []  # the same, to be handed on
        for following in segments:
            held.append(following)
            held_bytes, segment = following
            fit = _is_of_different_keys(segment) and pairs.take(segment)
            filled = self._gauge.is_filled(held_bytes)
            if fit and filled and not self._is_eased_by_results():
                different = are_mostly_different(pairs.keys)
                fit = _are_sorted(pairs)
                if fit:
                    held.clear()
                    overflow.run_in_order(pairs)
                    if not different:
                        return None, segments
            if not fit:
                return None, chain(_taken(held), segments)
        if are_mostly_different(pairs.keys) and _are_sorted(pairs):
            return pairs, segments
        return None, _taken(held)

    def _reduce_pairs(self, pairs: Pairs, bytes_before: int, bytes_to: int) -> None:
        keys, counts = grouped(pairs.keys)
        values = pairs.values
        if len(keys) == len(values):
            lists = [[value] for value in values]
        else:
            ends = accumulate(counts, initial=0)
            lists = [values[first:last] for first, last in pairwise(ends)]
        pairs.clear()
        del values  # each is freed once it is reduced
        self._reduce_all(keys, lists, bytes_before, bytes_to)


def _is_of_different_keys(segment: Segment) -> bool:
    return segment.counts is None or len(segment.keys) >= KEYS_SHARE_MIN * len(segment.values)


def _are_sorted(pairs: Pairs) -> bool:
    """Sort them, if they can be."""
    try:
        pairs.sort()
    except NotInOrder:
        return False
    return True


def _taken(held: list[tuple[int, Segment]]) -> Iterator[tuple[int, Segment]]:
    """Each in turn, and freed."""
    held.reverse()
    while held:
        yield held.pop()
