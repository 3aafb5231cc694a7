"""A shortcut for the commonest job: values that are only ever added up.

Where the combiner, or without one the reducer, is nothing but ``return sum(values)``, or the
ready-made ``reducers.sum``, pairs need not be collected into lists: ``sums[key] += value`` gives
the same numbers in two thirds of the time, and in memory for one number a key. The same, that is,
as long as values are ints: sums of floats depend on how they are grouped, on newer Pythons ``sum``
corrects their errors, and an object's own ``__radd__`` may give an int that is no sum at all. So
where a value is anything else, or where a key or a pair needs care, the split is mapped again in
the ordinary way (``map_side.py``), which is the twin that this is tested against.
``reducers.count`` adds 1 for each pair, come what may.

Without a combiner, a job is to give what ``sum`` gives for all values in their order. Ints that are
added up are as good as the ints among ints alone. Other numbers before them make a difference, for
1e16 + 1 + 1 is another float than 1e16 + 2; and so do others after them: since Python 3.12 ``sum``
corrects the errors of floats unless the ints before them have left 64 bits on the way. What else
there is, the reduce task alone knows. So a segment tells that its ints were added up, and where
others turn up (:func:`unmixed`), the map tasks run once more, and are told not to add
(``MapWork.adds``).

Where the reducer adds up, the sums of the map tasks are added up as well, without a list and a call
for each key, if the partition is known to have ints alone or a combiner has added. Ints that were
added up so far may stand for the values that they are the sum of: so when a segment comes that
holds anything else, or memory runs short, the ordinary way (``pair_sides.py``,
``reduce_side.py``) goes on from there.
"""

from __future__ import annotations

import builtins
import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from types import CodeType, FunctionType
from typing import Any

from map_reduce import reducers
from map_reduce.errors import BadKeyError, ClusterError
from map_reduce.execution.failures import Stopped
from map_reduce.execution.formatted import format_of, unformatted
from map_reduce.execution.functions import LoadedFunctions, Ones
from map_reduce.execution.keys import are_plain, form_of
from map_reduce.execution.map_side import NO_PAIR, MapSide, is_other_pair
from map_reduce.execution.pair_sides import PairReduceSide
from map_reduce.execution.read import Batch
from map_reduce.execution.reduce_side import NOTHING
from map_reduce.execution.segments import Header, Segment
from map_reduce.execution.sorting import sorted_keys
from map_reduce.execution.sources import UselessSource
from map_reduce.kernel import compiled

LOOK_LATER = 2
"""How many times as much is mapped by the next look at new keys as by this one: so those that need
care are mostly noticed at once."""

_INT = frozenset((int,))
_INTS = frozenset((int, bool))


class UselessSums(UselessSource):
    """Ints that were added up, and other numbers beside them."""

    sums = True


class NotSums(Exception):
    """The split must be mapped in the ordinary way."""


def adds_up(functions: LoadedFunctions) -> bool:
    """Whether values may be added as they come."""
    reduce = unformatted(functions.reduce)
    function = reduce if functions.combine is None else functions.combine
    return function == reducers.sum.combine or reduces_by_adding(function)


def adds_unasked(functions: LoadedFunctions) -> bool:
    """Whether that is so by the reducer alone, which is to have all values in their order."""
    return functions.combine is None and adds_up(functions)


def unmixed(
    segments: Iterable[tuple[Header, Segment, str]], names: Sequence[str]
) -> Iterator[tuple[Header, Segment, str]]:
    """The same segments of a partition, in the order of splits.

    Args:
        names: of the sources, by their numbers.

    Raises:
        UselessSums: there are ints that were added up, and other numbers.
    """
    added = others = ""
    for header, segment, name in segments:
        if header.added:
            added = added or name
        elif not others and not _INTS.issuperset(map(type, segment.values)):
            others = name
        if added and others:
            why = (
                f"the ints in {added} were added up, which may give other digits than to add them "
                f"one by one, for there are other numbers in {others}: the map tasks are run once "
                "more, without it"
            )
            raise UselessSums(names.index(added), ClusterError(why))
        yield header, segment, name


def reduces_by_adding(function: Any) -> bool:
    """Whether, of values that are ints, a reducer gives the sum."""
    return function is reducers.sum or _is_sum(function)


def _is_sum(function: Any) -> bool:
    """Whether it is ``def f(key, values): return sum(values)``, under whatever names.

    Told by its bytecode, which has to be that of the template to the byte, and by ``sum``
    being the built-in one. A function that does the same in other ways is just not noticed.
    """
    if type(function) is not FunctionType or function.__globals__.get("sum", sum) is not sum:
        return False
    own = function.__globals__.get("__builtins__", builtins)
    if (own if isinstance(own, dict) else vars(own)).get("sum") is not sum:
        return False
    return _shape(function.__code__) == _shape(_template.__code__)


def _template(key: Any, values: Any) -> Any:
    return sum(values)


def _shape(code: CodeType) -> tuple[object, ...]:
    """What a function does, without the names that it gives to things."""
    return (
        code.co_code,
        code.co_names,
        code.co_argcount,
        code.co_kwonlyargcount,
        code.co_freevars,
        code.co_cellvars,
        # other than that annotations are postponed, and that it is defined within a function
        code.co_flags & ~(0x1000000 | inspect.CO_NESTED),
    )


Sums = defaultdict[Any, int]
"""Keys with the sums of their values."""


class SumSide(MapSide):
    """A MapSide whose groups hold one int for each key."""

    sums: Sums
    _judged = 0
    """So many of the first keys are known to be their own form."""

    _counts = False
    """Each pair counts as 1, whatever its value."""

    _stretches, _look_at = 0, 1
    """Batches, or stretches of pairs where map yields them; at how many to look at the keys."""

    def run_sums(self) -> Sums:
        """Map everything and add up.

        Raises:
            NotSums: this split is not of the kind.
            Stopped: by user code, or by what it gave.
            InputError: the split cannot be read.
        """
        self.sums = defaultdict(int)
        if isinstance(self._functions.map, Ones):
            self._functions = self._functions._replace(map=self._functions.map.map)
            self._counts = True
        self._collect()
        self._look()
        return self.sums

    def _spill(self) -> None:
        self._look()
        self._spiller.spill(self.sums, plain=True, listed=False)
        self._judged = 0

    def _glance(self) -> None:
        """Look, if it is time to."""
        self._stretches += 1
        if self._stretches >= self._look_at:
            self._look()
            self._look_at = LOOK_LATER * self._stretches

    def _look(self) -> None:
        """Raises NotSums: a key needs care."""
        new = list(islice(self.sums, self._judged, None))
        self._judged = len(self.sums)
        if are_plain(new):
            return
        try:
            irregular = any(form_of(key) is not key for key in new)
        except BadKeyError as error:
            raise NotSums from error  # the ordinary way finds out whose key it is
        if irregular:
            raise NotSums

    def _group_each(self, batch: Batch) -> None:
        """Map the records of a batch, and add up."""
        sums, map_, ints = self.sums, self._functions.map, _INTS
        pair = NO_PAIR
        records = zip(batch.keys, self._rest, strict=True)
        each = 1 if self._counts else None
        try:
            if compiled is not None:
                add_pairs = compiled.add_pairs
                for number, record in records:
                    pairs = map_(number, record)
                    if (done := add_pairs(sums, pairs, each)) is not None:
                        for pair in islice(pairs, done, None):
                            key, value = pair + ()  # noqa: RUF005  see map_side.py
                            if each is not None:
                                sums[key] += each
                            elif type(value) in ints:
                                sums[key] += value
                            else:
                                raise NotSums
            elif self._counts:
                for number, record in records:
                    for pair in map_(number, record):
                        key, _ = pair + ()  # noqa: RUF005  see map_side.py
                        sums[key] += 1
            else:
                for number, record in records:
                    for pair in map_(number, record):
                        key, value = pair + ()  # noqa: RUF005
                        if type(value) not in ints:
                            raise NotSums
                        sums[key] += value
        except BaseException as error:
            raise self._reason(error, pair) from error
        self._glance()

    def _group(self, pairs: Iterator[Any]) -> bool:
        """Whether there was any pair."""
        sums, ints = self.sums, _INTS
        pair = NO_PAIR
        done: int | tuple[Any, ...] = ()
        try:
            if compiled is not None:
                done = compiled.add_from(sums, pairs, 1 if self._counts else None)
            pairs = chain(() if isinstance(done, int) else done, pairs)
            if self._counts:
                for pair in pairs:
                    key, _ = pair + ()  # noqa: RUF005
                    sums[key] += 1
            else:
                for pair in pairs:
                    key, value = pair + ()  # noqa: RUF005
                    if type(value) not in ints:
                        raise NotSums
                    sums[key] += value
        except BaseException as error:
            if self._reading:
                raise
            raise self._reason(error, pair) from error
        self._glance()
        return pair is not NO_PAIR or (isinstance(done, int) and done > 0)

    def _reason(self, error: BaseException, pair: Any) -> BaseException:
        """Why a loop ended with ``error``, ``pair`` being the last one it had."""
        if isinstance(error, Stopped | NotSums):
            return error
        return NotSums() if is_other_pair(pair) else self._stopped(error, pair)


class SumReduceSide(PairReduceSide):
    """A ReduceSide whose groups are one int for each key, as long as the values are ints."""

    _may_add = False
    """A combiner has added, or the partition has something that was added up, and so ints alone."""

    def add(self, segments: Iterable[tuple[Header, Segment, str]]) -> None:
        self._may_add = not adds_unasked(self._functions)
        super().add(self._noted(segments))

    def _noted(
        self, segments: Iterable[tuple[Header, Segment, str]]
    ) -> Iterator[tuple[Header, Segment, str]]:
        for header, segment, source in segments:
            self._may_add = self._may_add or header.added
            yield header, segment, source

    def _group(
        self,
        segments: Iterator[tuple[int, Segment]],
        level: int,
        before: int,
        to: int | None = None,
        carried: Mapping[Any, Any] = NOTHING,
    ) -> None:
        sums: dict[Any, int] = {}
        while not (carried or self._note is not None):
            following = next(segments, None)
            if following is None:
                if format_of(self._functions.reduce) is None:
                    self._take(sums)
                    return
                break
            held_bytes, segment = following
            if not (self._may_add and _added(sums, segment)):
                segments = chain((following,), segments)
                break
            if self._gauge.is_filled(held_bytes):
                break
        if sums:
            added = Segment(list(sums), None, list(sums.values()))
            segments = chain(((0, added),), segments)
        super()._group(segments, level, before, to, carried)

    def _take(self, sums: dict[Any, int]) -> None:
        """They are the results."""
        keys = sorted_keys(sums) if self._functions.sorts else sums
        self.results.keys.extend(keys)
        self.results.values.extend(map(sums.__getitem__, keys))
        self.keys += len(sums)
        self.results.settle()


def _added(sums: dict[Any, int], segment: Segment) -> bool:
    """Add the segment's values to the sums; False, and nothing is done, where they are no ints, or
    several of a key."""
    keys, counts, values = segment
    if counts is not None or not are_plain(keys) or not _INT.issuperset(map(type, values)):
        return False
    if not sums:
        sums.update(zip(keys, values, strict=True))
        return True
    get = sums.get
    for key, value in zip(keys, values, strict=True):
        sums[key] = get(key, 0) + value
    return True
