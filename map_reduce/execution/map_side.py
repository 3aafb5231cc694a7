"""One pass of the user's map over a split, and its output by partitions.

The inner loop is the one that a careful person writes by hand: take a pair, append its value to
the key's list. Everything else is arranged so that it happens elsewhere:

- Where map gives lists, it is called by the loop itself, which costs least: Python enters a
  function of Python's from its own loop without a detour through C. Nothing else is done per
  record.
- Where map yields its pairs, or they have to be combined, it is called by C code,
  ``map(function, keys, values)``, and its results are strung together by C code (``chain``). So
  that loop may be interrupted after any pair, even in the middle of one record that gives a
  million.
- What is peculiar about keys is dealt with when a key is new (``groups.py``).
- The combiner runs between stretches of pairs, over lists that have grown long, and no more
  often than it takes for its pass over all keys not to matter.
- How much memory is taken up is looked at between stretches, too: of records, since each gives a
  list that is in memory anyway, or of pairs where map yields them or a combiner runs. Past the
  bound, the groups go to disk as a run (``spill.py``), and the next begin empty.
- Which record it was is found out when something has gone wrong.

Two silent traps are watched for. A StopIteration that escapes from the user's map would pass for
the end of the input. And ``key, value = pair`` would take a str of two characters, a set or a
dict of two for a pair; ``pair + ()`` is the pair itself for a tuple, and an error for these. That
costs less than to look at the pair's type (10 against 26 ns, where a pair takes 240 in all).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from operator import length_hint
from typing import Any

from map_reduce.core.messages import Split
from map_reduce.errors import BadKeyError, BadPairError, CombineError, MapError, MapReduceError
from map_reduce.execution.failures import Spot, Stopped, shown
from map_reduce.execution.functions import LoadedFunctions
from map_reduce.execution.gauge import Pace
from map_reduce.execution.groups import Groups
from map_reduce.execution.key_faults import method_of
from map_reduce.execution.read import Batch, name_of
from map_reduce.execution.spill import Held, Spiller, never
from map_reduce.execution.tracker import Note, Stretch, Tracker
from map_reduce.kernel import compiled

PAIRS_PER_SWEEP = 1 << 18
"""Pairs between two looks at which lists have grown long; more where there are many keys."""

PAIRS_AT_FIRST = 1 << 10
RECORDS_AT_FIRST, RECORDS_PER_LOOK = 1 << 6, 1 << 14
"""Between two looks at how much memory is taken up; more of them the less it grows."""

VALUES_PER_KEY = 16
"""A list of more values is combined when it is looked at."""

_ENDS_A_LOOP = (
    "StopIteration: raised in map, which would end a loop of ours instead of "
    "telling you; it comes from next() where nothing is left, so pass a default"
)
_NOT_ITERABLE = re.compile(r"^'(.+)' object is not iterable$")
NO_PAIR: Any = object()


class NotPlain(Exception):
    """A pair is a list, or a tuple of an unusual class, where all before were plain tuples."""


class MapSide:
    """Maps the batches of one split into groups.

    Args:
        split: what the batches are of, for messages.
        batches: its records, read as they are asked for.
        note: called before each record is mapped, where not None.
        spiller: puts groups on disk when memory is short; None: they always fit.
    """

    plain = True
    """Every pair so far was a tuple. To be set to False after NotPlain, for another pass."""

    def __init__(
        self,
        split: Split,
        batches: Iterator[Batch],
        functions: LoadedFunctions,
        tracker: Tracker,
        note: Note | None = None,
        spiller: Spiller | None = None,
    ) -> None:
        self.groups = Groups()
        self.records = 0
        self.bytes_in = 0
        self._split = split
        self._spiller = spiller or never()
        self._batches = batches
        self._functions = functions
        self._tracker = tracker
        self._note = note
        self._reading = False
        self._batch = Batch([], [], [], 0)
        self._rest: Iterator[Any] = iter([])
        self._keys: Iterator[Any] = iter([])  # what a map of C's takes them from

    def run(self) -> Held:
        """Map everything, and combine where there is a combiner. Gives the groups.

        Raises:
            NotPlain: the split is to be mapped again, with care.
            Stopped: by user code, or by what it gave.
            InputError: the split cannot be read.
        """
        if self._functions.combine is None:
            self._collect()
        else:
            self._collect_and_combine()
        return self.groups

    def _collect(self) -> None:
        pace = self._spiller.pace(RECORDS_AT_FIRST, RECORDS_PER_LOOK)
        pace_of_pairs = self._spiller.pace(PAIRS_AT_FIRST, PAIRS_PER_SWEEP)
        self._batches = _cut(self._batches, pace)
        yielding = Yielding(self._functions.map)
        while (batch := self._next_batch()) is not None:
            if yielding.seen:
                pairs = chain.from_iterable(self._results_of(batch))
                while self._group(islice(pairs, done := pace_of_pairs.now)):
                    if pace_of_pairs.look(done):
                        self._spill()
            else:
                if yielding.watching or not self.plain or self._note is not None:
                    self._group(chain.from_iterable(yielding.watch(self._results_of(batch))))
                else:
                    self._group_each(batch)
                if pace.look(len(batch.values)):
                    self._spill()
            self._check_all_mapped(batch)

    def _collect_and_combine(self) -> None:
        pairs = chain.from_iterable(chain.from_iterable(self._results()))
        pace = self._spiller.pace(PAIRS_AT_FIRST, PAIRS_PER_SWEEP)
        pairs_since_sweep = 0
        while self._group(islice(pairs, done := pace.now)):
            pairs_since_sweep += done
            if pairs_since_sweep >= max(PAIRS_PER_SWEEP, 4 * len(self.groups)):
                self._combine(VALUES_PER_KEY)
                pairs_since_sweep = 0
            if pace.look(done):
                self._spill()
        self._combine(1)

    def _spill(self) -> None:
        """Put all groups on disk, unless combining has made room."""
        if self._functions.combine is not None:
            self._combine(1)
            if self._spiller.gauge.is_eased():
                return
        self._spiller.spill(self.groups, plain=not self.groups.irregular)

    # ------------------------------------------------------------------ the inner loop

    def _group_each(self, batch: Batch) -> None:
        """Map the records of a batch, and group their pairs."""
        groups, map_ = self.groups, self._functions.map
        records = zip(batch.keys, self._rest, strict=True)
        pair = NO_PAIR
        try:
            if compiled is None:
                for number, record in records:
                    for pair in map_(number, record):
                        key, value = pair + ()  # noqa: RUF005  see above
                        groups[key].append(value)
            else:
                append_pairs = compiled.append_pairs
                for number, record in records:
                    pairs = map_(number, record)
                    if (done := append_pairs(groups, pairs)) is not None:
                        for pair in islice(pairs, done, None):
                            key, value = pair + ()  # noqa: RUF005
                            groups[key].append(value)
        except BaseException as error:
            if is_other_pair(pair):
                raise NotPlain from error
            raise self._stopped(error, pair) from error

    def _group(self, pairs: Iterator[Any]) -> bool:
        """Whether there was any pair."""
        groups = self.groups
        pair = NO_PAIR
        done: int | tuple[Any, ...] = ()
        try:
            if compiled is not None:
                done = compiled.append_from(groups, pairs)
            pairs = chain(() if isinstance(done, int) else done, pairs)
            for pair in pairs:
                key, value = pair + ()  # noqa: RUF005  see above
                groups[key].append(value)
        except BaseException as error:
            if self._reading or isinstance(error, Stopped):
                raise
            if is_other_pair(pair):  # it is what the loop ended at
                return self._group_slowly(chain((pair,), pairs))
            raise self._stopped(error, pair) from error
        return pair is not NO_PAIR or (isinstance(done, int) and done > 0)

    def _group_slowly(self, pairs: Iterable[Any]) -> bool:
        """The same for pairs that are lists, or tuples of an unusual class."""
        self.plain = False
        pair = NO_PAIR
        try:
            for pair in pairs:
                if not isinstance(pair, tuple | list):
                    raise BadPairError(_no_pair(pair))
                key, value = pair
                self.groups[key].append(value)
        except BaseException as error:
            if self._reading or isinstance(error, Stopped):
                raise
            raise self._stopped(error, pair) from error
        return True

    def _next_batch(self) -> Batch | None:
        """Go on to the next records, which ``_rest`` gives from now on."""
        if self._note is not None:
            self._note("", -1, "", "")
        self._reading = True
        batch = next(self._batches, None)
        self._reading = False
        if batch is None:
            return None
        values = iter(batch.values)
        self._batch, self._rest = batch, values
        name = lambda at: name_of(self._split, batch, at)  # noqa: E731
        stretch = (self.records, len(batch.values), values, name, self.bytes_in, batch.bytes_in)
        self._tracker.enter(Stretch(*stretch))
        self.bytes_in = batch.bytes_in
        return batch

    def _results(self) -> Iterator[Iterator[Any]]:
        """For each batch, what map returns for each of its records."""
        while (batch := self._next_batch()) is not None:
            yield self._results_of(batch)
            self._check_all_mapped(batch)

    def _results_of(self, batch: Batch) -> Iterator[Any]:
        # One more key than there are values: only the end of the values can use it up.
        self._keys = keys = iter(
            range(batch.keys.start, batch.keys.stop + 1)
            if isinstance(batch.keys, range)
            else [*batch.keys, None]
        )
        values = self._rest
        noted = values if self._note is None else self._noting(batch, values, self._note)
        return map(self._functions.map, keys, noted)

    def _check_all_mapped(self, batch: Batch) -> None:
        """Count them. Raises Stopped where it was map that ended the loop over them."""
        if length_hint(self._keys):
            raise self._stop(MapError, _ENDS_A_LOOP, StopIteration())
        self.records += len(batch.values)

    def _noting(self, batch: Batch, values: Iterator[Any], note: Note) -> Iterator[Any]:
        for position, value in zip(batch.positions, values, strict=False):
            note_record(note, position, self._name(), value)
            yield value

    # ------------------------------------------------------------------ combining

    def _combine(self, length_max: int) -> None:
        combine = self._functions.combine
        assert combine is not None
        key = None
        try:
            for key in self.groups.fold(combine, length_max):  # noqa: B007  for the message
                pass
        except BaseException as error:
            raise combine_stopped(key, error) from error

    # ------------------------------------------------------------------ what went wrong

    def _stopped(self, error: BaseException, pair: Any) -> Stopped:
        """Why the inner loop ended with ``error``, ``pair`` being the last one it had.

        A bad pair, or a pair with a bad key, always ends the loop. So if the last one was
        good, the error came up while the next was made: in the user's map.
        """
        if pair is not NO_PAIR and not (isinstance(pair, tuple | list) and len(pair) == 2):
            return self._stop(BadPairError, _no_pair(pair))
        if isinstance(error, BadKeyError):
            return self._stop(
                BadKeyError, f"the key {shown(pair[0])} cannot be grouped by: {error}"
            )
        if pair is not NO_PAIR:
            try:
                hash(pair[0])
            except Exception as unhashable:  # noqa: BLE001  a user's __hash__ may raise anything
                told = unhashable if method_of(unhashable) else None  # whose lines are of interest
                return self._stop(BadKeyError, _no_key(pair[0], unhashable), told)
        if isinstance(error, StopIteration):
            return self._stop(MapError, _ENDS_A_LOOP, error)
        traceback = error.__traceback__
        given = _NOT_ITERABLE.match(str(error)) if isinstance(error, TypeError) else None
        if given and traceback is not None and traceback.tb_next is None:
            return self._stop(BadPairError, _no_pairs(given[1], self._name()))
        method = method_of(error)
        return self._stop(MapError, original=error, about="" if method is None else f", {method}")

    def _stop(
        self,
        kind: type[MapReduceError],
        headline: str = "",
        original: BaseException | None = None,
        about: str = "",
    ) -> Stopped:
        """At the record that was taken last."""
        spot = None
        if values := self._batch.values:
            position = self._position()
            record = shown(values[position])
            spot = Spot("map", self._batch.positions[position], self._name(), record)
        return Stopped(kind, self._where() + about, headline, original, spot=spot)

    def _position(self) -> int:
        """In its batch, of the record that was taken last."""
        return max(0, len(self._batch.values) - length_hint(self._rest) - 1)

    def _name(self) -> str:
        return name_of(self._split, self._batch, self._position())

    def _where(self) -> str:
        batch = self._batch
        if not batch.values:
            return "in map"
        counted = " (counted from 0)" if isinstance(batch.keys, range) else ""
        return f"in map, at {self._name()}{counted}: {shown(batch.values[self._position()])}"


def combine_stopped(key: Any, error: BaseException) -> Stopped:
    """The combiner raised. Which values it had depends on how they came together."""
    where = f"key {shown(key)}"
    spot = Spot("combine", -1, where, "")
    return Stopped(CombineError, f"in combine, for {where}", original=error, spot=spot)


def note_record(note: Note, position: int, where: str, value: Any) -> None:
    """Note that a record is begun: first without its repr, where that is made by user code."""
    if type(value) not in (str, bytes):
        note("map", position, where, "")
    note("map", position, where, shown(value))


class Yielding:
    """Whether a map function gives its pairs one by one, and so may give any number of them
    without all being in memory at a time.

    It does if it is a generator, or if anything that it gives for the first records has no length.
    """

    def __init__(self, function: Any) -> None:
        self.seen = inspect.isgeneratorfunction(function)
        self.watching = not self.seen

    def watch(self, results: Iterator[Any]) -> Iterator[Any]:
        """The same results; the first are looked at as they pass."""
        if not self.watching:
            return results
        self.watching = False
        return self._watched(results)

    def _watched(self, results: Iterator[Any]) -> Iterator[Any]:
        for result in results:
            self.seen = self.seen or not hasattr(result, "__len__")
            yield result


def _cut(batches: Iterator[Batch], pace: Pace) -> Iterator[Batch]:
    """The same records, so many in a batch as the pace says when it begins."""
    before = 0
    for batch in batches:
        total, done = len(batch.values), 0
        while total > done + pace.now:
            cut = slice(done, done + pace.now)
            done = cut.stop
            bytes_in = before + (batch.bytes_in - before) * done // total
            yield _part(batch, cut, bytes_in)
        rest = slice(done, total)
        yield _part(batch, rest, batch.bytes_in) if done else batch
        before = batch.bytes_in


def _part(batch: Batch, cut: slice, bytes_in: int) -> Batch:
    positions, keys, values = batch.positions[cut], batch.keys[cut], batch.values[cut]
    return Batch(positions, keys, values, bytes_in, batch.path)


def is_other_pair(given: Any) -> bool:
    """Whether it is a pair to which ``()`` cannot be added."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        return False
    try:
        _, _ = given + ()  # type: ignore[operator]  # noqa: RUF005  as in the loop
    except Exception:  # noqa: BLE001  a user's __add__ may raise anything
        return True
    return False


def _no_pair(given: Any) -> str:
    kind = type(given).__name__
    if isinstance(given, tuple | list):
        kind += f" and length {len(given)}"
    return (
        f"map gave {shown(given)}, of type {kind}, where a (key, value) pair is expected; "
        "let it return a list of pairs, as in [(key, value)], or yield pairs"
    )


def _no_pairs(kind: str, name: str) -> str:
    if kind == "NoneType":
        return f"map returned None for {name}; did you forget return?"
    return (
        f"map returned something of type {kind} for {name}, where a list of (key, value) pairs "
        "is expected; for a single pair return [(key, value)], for none []"
    )


def _no_key(key: Any, error: Exception) -> str:
    kind: type = type(key)
    advice: dict[type, str] = {
        list: "use a tuple",
        set: "use a frozenset",
        dict: "use tuple(sorted(d.items()))",
    }
    instead = advice.get(kind, "use a str, a number or a tuple")
    return (
        f"the key {shown(key)}, of type {kind.__name__}, cannot be grouped by: {error}; {instead}"
    )
