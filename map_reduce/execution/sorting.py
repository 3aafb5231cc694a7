"""Keys in order: which range of keys is which partition, and where to cut.

In a job that sorts, a partition is a range of keys, not of hashes::

    bounds            "f"          "m"          "t"
    partitions   0     │     1      │     2      │     3
    keys         … "e" │ "f" … "lz" │ "m" … "sz" │ "t" …

The *bounds* come from a sample of the input that a worker maps before the job begins
(:func:`sample_bounds`), and are part of the job's specification. They decide how evenly the work is
spread and nothing else: any bounds give the same result. A map task sorts its keys, and a partition
is then a stretch of them. A reduce task groups as always, so keys arrive as sorted runs one after
another, which Python's sort merges at little more than the cost of looking at them; it reduces key
by key in order. Partitions, and the tasks that reduce them, are in order, and so are the parts of
the result.

The order is that of ``ordering.py``. Keys that it makes neither smaller nor larger than one another
without their being equal lie in the same range, and stay in the order of the sequential run: a map
task's sort is stable, and its keys come before those of the tasks after it.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, chain, islice, pairwise, zip_longest
from typing import Any

from map_reduce.core.messages import BOUNDS_BYTES_MAX, Sampled
from map_reduce.errors import BadKeyError
from map_reduce.execution.failures import Stopped, shown
from map_reduce.execution.functions import LoadedFunctions
from map_reduce.execution.groups import Groups
from map_reduce.execution.pickles import dump_lists, load
from map_reduce.execution.read import Batch
from map_reduce.ordering import PLAIN, IncomparableError, Key, by_rank, in_order, less

SAMPLE_S_MAX = 1.0
"""No record of a sample is begun after so long; one is mapped in any case."""

SAMPLE_PAIRS_MAX = 1 << 16
SAMPLE_RECORDS_MAX = 4096
"""Of each input."""

PAIRS_OF_RECORD_MAX = 1 << 12


class Ranges:
    """Partitions by ranges of keys.

    Args:
        bounds: keys in order; a key goes to the partition after the last bound that is not above
            it.
    """

    def __init__(self, bounds: list[Any]) -> None:
        self._bounds = bounds

    @classmethod
    def loaded(cls, pickled: bytes) -> Ranges:
        """From what :func:`sample_bounds` gave; b"" are no bounds.

        Raises:
            FunctionError: a key does not unpickle in this process.
        """
        return cls(load(pickled, "keys of the job")[0] if pickled else [])

    @classmethod
    def evenly(cls, groups: Mapping[Any, Any], ranges: int) -> Ranges:
        """At most so many, each with about as many of these keys.

        Raises:
            Stopped: two keys have no order.
        """
        keys = sorted_keys(groups)
        return cls(_quantiles(keys, [1] * len(keys), ranges))

    @classmethod
    def cut(cls, ordered: list[Any], ranges: int) -> Ranges:
        """So many, each with about as many of these: keys in order, some perhaps several times."""
        firsts = [len(ordered) * cut // ranges for cut in range(1, ranges)] if ordered else []
        return cls([ordered[first] for first in firsts])

    def stretches(self, keys: Iterable[Any]) -> list[list[Any]]:
        """The keys of each partition, in order.

        Raises:
            Stopped: two keys have no order.
        """
        ordered = sorted_keys(keys)
        return [ordered[first:last] for first, last in pairwise(self.cuts(ordered))]

    def cuts(self, ordered: list[Any]) -> list[int]:
        """Where, in keys that are in order, each partition begins, and the last one ends.

        Raises:
            Stopped: a key and a bound have no order.
        """

        def ends(ranked: Key | None) -> list[int]:
            found = [0]
            for bound in self._bounds:
                rank = bound if ranked is None else ranked(bound)
                found.append(bisect_left(ordered, rank, found[-1], key=ranked))
            return [*found, len(ordered)]

        try:
            return by_rank(ends, ordered + self._bounds)
        except IncomparableError as error:
            raise Unsortable(error) from error


def sorted_keys(keys: Iterable[Any]) -> list[Any]:
    """The keys in order.

    Raises:
        Stopped: two of them have no order.
        Exception: whatever a class's own ``<`` raises.
    """
    try:
        return in_order(keys)
    except IncomparableError as error:
        raise Unsortable(error) from error


class Unsortable(Stopped):
    """Two keys have no order."""

    def __init__(self, error: IncomparableError, whence: str = "") -> None:
        self.error = error
        one, other = map(shown, error.values)
        super().__init__(
            BadKeyError,
            f"in sorting by keys{': ' if whence else ''}{whence}",
            f"the keys {one} and {other} cannot be put in order, as sort=True asks: "
            f"{error.reason}; give keys that can be compared, all str, or tuples of the same kinds",
        )

    @property
    def keys(self) -> tuple[Any, Any]:
        """The two."""
        return self.error.values

    def told_from(self, whence: str) -> Unsortable:
        """The same, with where the keys come from."""
        return Unsortable(self.error, whence)


# ---------------------------------------------------------------------- the sample


def sample_bounds(
    inputs: Sequence[Iterator[Batch]], functions: LoadedFunctions, ranges: int
) -> Sampled:
    """Map some records of each input, and cut their pairs into about even ranges.

    Records that cannot be mapped are left out: the job itself will say what is wrong with them.

    Raises:
        Stopped: two keys have no order.
        InputError: the records cannot be read.
    """
    groups, origins = _mapped(inputs, functions.map)
    try:
        keys = in_order(groups)
    except IncomparableError as error:
        whence = " and ".join(
            f"{shown(key)} is from the record {shown(origins[id(key)])}" for key in error.values
        )
        raise Unsortable(error, whence) from error
    combines = functions.combine is not None
    weights = [1 if combines else len(groups[key]) for key in keys]
    bounds = _quantiles(keys, weights, ranges)
    try:
        while len(pickled := dump_lists(bounds)) > BOUNDS_BYTES_MAX:
            bounds = bounds[1::2]
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  a key does not pickle: the job will say so, and where
        return Sampled(b"", 0)
    return Sampled(pickled, len(bounds))


def _mapped(
    inputs: Sequence[Iterator[Batch]], map: Callable[[Any, Any], Any]
) -> tuple[Groups, dict[int, Any]]:
    """The keys of the pairs that the records give, each with as many values as there were; and for
    each key, by its identity, a record that gave it."""
    groups = Groups()
    origins: dict[int, Any] = {}
    pairs = 0
    end_s = time.monotonic() + SAMPLE_S_MAX
    for records in zip_longest(*(_records(batches) for batches in inputs)):
        for key, value in filter(None, records):
            if pairs >= SAMPLE_PAIRS_MAX or (pairs and time.monotonic() > end_s):
                return groups, origins
            try:
                for made in _keys(map(key, value)):
                    known = len(groups)
                    groups[made].append(None)
                    pairs += 1
                    if len(groups) > known:
                        origins[id(made)] = value
            except (MemoryError, OSError):
                raise
            except Exception:  # noqa: BLE001, S112  the job will say so, and where
                continue
    return groups, origins


def _keys(pairs: Iterable[Any]) -> list[Any]:
    """Those of a record's first pairs: all, before any is taken, since one that raises has the
    record left out, and what else it gave need have no order with the rest."""
    made = [key for key, _ in islice(pairs, PAIRS_OF_RECORD_MAX)]
    for key in made:
        hash(key)
        compare(key)
    return made


def compare(key: Any) -> None:
    """Raise what its own ``<`` raises even for itself. That it has no order is the job's fault, and
    not the record's: nothing is raised then."""
    if type(key) not in PLAIN:
        with suppress(IncomparableError):
            less(key, key)


def _records(batches: Iterator[Batch]) -> Iterator[tuple[Any, Any]]:
    """Those at the beginning, with their keys."""
    records = (zip(batch.keys, batch.values, strict=False) for batch in batches)
    return islice(chain.from_iterable(records), SAMPLE_RECORDS_MAX)


def _quantiles(keys: list[Any], weights: list[int], ranges: int) -> list[Any]:
    """Where to cut, so that each range has about the same weight: the keys that ranges begin with.

    At most ``ranges`` - 1. A key that has the weight of several ranges is one of its own.
    """
    ends = list(accumulate(weights))
    if not ends:
        return []
    marks = Counter(bisect_left(ends, ends[-1] * cut / ranges) for cut in range(1, ranges))
    cuts = {at + 1 for at in marks} | {at for at, many in marks.items() if many > 1}
    return [keys[cut] for cut in sorted(cuts) if 0 < cut < len(keys)]
