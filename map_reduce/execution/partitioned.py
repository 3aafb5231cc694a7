"""Groups as segments, by partition.

A partition's groups are one segment, or several where they are many: whoever reads them holds one
at a time, so a segment has at most ``VALUES_MAX`` values and, about, ``PIECE_BYTES`` bytes. A cut
may go through the values of one key, which then stands in both segments.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, pairwise
from typing import Any

from map_reduce.errors import BadKeyError, BadPairError
from map_reduce.execution.failures import Stopped, shown
from map_reduce.execution.keys import PRIMES, hashes_of, partitions_of
from map_reduce.execution.pairs import Pairs, grouped
from map_reduce.execution.pickles import at_a_time, pickles
from map_reduce.execution.segments import encoded
from map_reduce.execution.sorting import Ranges
from map_reduce.kernel import compiled

VALUES_MAX = 1 << 16
"""Values in a segment: small ones take up a hundred times as much in memory as in the file."""


def written(
    groups: dict[Any, Any],
    partitions: int,
    *,
    plain: bool,
    listed: bool = True,
    level: int = 0,
    ranges: Ranges | None = None,
    added: bool = False,
) -> Iterator[tuple[int, bytes, int]]:
    """For partitions 0 … ``partitions`` - 1 in turn, for each segment: the partition, the segment,
    and its number of values.

    Args:
        groups: for each key a list of values or, where not ``listed``, its only value.
        plain: each key is known to be its own form.
        level: how often the keys have been told apart by their hashes before.
        ranges: what decides the partition of a key; None: its hash.
        added: the values are ints that were added up, which the segments tell.

    Raises:
        Stopped: a key or a value does not pickle, or two keys have no order.
    """
    keys: list[list[Any]]
    held: list[list[Any]]
    held_of_all: Iterable[Any] = groups.values()
    if listed and sum(map(len, groups.values())) == len(groups):
        # One value each: taken out of their lists in the order in which these were made, which is
        # how they lie in memory, and not in that of partitions.
        held_of_all, listed = chain.from_iterable(groups.values()), False
        if ranges is not None:
            groups = dict(zip(groups, held_of_all, strict=True))
    if ranges is not None:
        keys = ranges.stretches(groups)
        held = []
    else:
        keys = [[] for _ in range(partitions)]
        held = [[] for _ in range(partitions)]
        _deal_out(list(groups), list(held_of_all), plain, level, keys, held)
    for partition in range(len(keys)):
        if not keys[partition]:
            continue
        pieces = _pieces if listed else _single
        of_keys = held[partition] if held else list(map(groups.__getitem__, keys[partition]))
        for piece in pieces(keys[partition], of_keys):
            yield partition, _encoded(partition, *piece, added=added), len(piece[2])
        keys[partition] = []
        if held:
            held[partition] = []


def _deal_out(
    keys: list[Any],
    held: list[Any],
    plain: bool,
    level: int,
    hands_of_keys: list[list[Any]],
    hands_of_held: list[list[Any]],
) -> None:
    """To the hands of their partitions. Arguments as of :func:`written`."""
    if compiled is not None and plain:
        done = compiled.deal_out(keys, held, PRIMES[level], hands_of_keys, hands_of_held)
        if done is None:
            return
        keys, held = keys[done:], held[done:]
    homes = partitions_of(hashes_of(keys, plain), len(hands_of_keys), level)
    add_key, add_held = [[hand.append for hand in some] for some in (hands_of_keys, hands_of_held)]
    for home, key, values in zip(homes, keys, held, strict=True):
        add_key[home](key)
        add_held[home](values)


def written_in_order(pairs: Pairs, ranges: Ranges) -> Iterator[tuple[int, bytes, int]]:
    """The same of pairs that are sorted."""
    cuts = ranges.cuts(pairs.keys)
    for partition, (first, last) in enumerate(pairwise(cuts)):
        for keys, _, values in _single(pairs.keys[first:last], pairs.values[first:last]):
            yield partition, _encoded(partition, *grouped(keys), values), len(values)


def encoded_in_order(
    partition: int, chunks: Iterable[tuple[list[Any], list[Any]]]
) -> Iterator[tuple[int, bytes]]:
    """Segments of keys and values that are in order, each with the partition."""
    for keys, values in chunks:
        for some, _, of_some in _single(keys, values):
            yield partition, _encoded(partition, *grouped(some), of_some)


_Piece = tuple[list[Any], list[int], list[Any]]
"""Keys, how many values each has, and all these values."""


def _single(keys: list[Any], values: list[Any]) -> Iterator[_Piece]:
    """Where each key is there for one value."""
    first = 0
    while first < len(keys):
        most = min(at_a_time(values, first, VALUES_MAX), at_a_time(keys, first, VALUES_MAX))
        whole = most == len(keys)
        cut = slice(first, first + most)
        yield keys if whole else keys[cut], [1] * most, values if whole else values[cut]
        first += most


def _pieces(keys: list[Any], held: list[list[Any]]) -> Iterator[_Piece]:
    counts = list(map(len, held))
    ends = list(accumulate(counts))
    first = 0
    while first < len(keys):
        before = ends[first - 1] if first else 0
        last = max(first + 1, bisect_right(ends, before + VALUES_MAX, first))
        some = held[first:last]
        values = some[0] if len(some) == 1 else list(chain.from_iterable(some))
        most = at_a_time(values, 0, VALUES_MAX)
        most_keys = at_a_time(keys, first, last - first)
        if most_keys < last - first:
            most = min(most, most_keys)
        if len(values) <= most:
            whole = first == 0 and last == len(keys)
            cut = slice(first, last)
            yield (
                keys if whole else keys[cut],
                counts if whole else counts[cut],
                values,
            )
        else:
            yield from _cut(keys[first:last], counts[first:last], values, most)
        first = last


def _cut(keys: list[Any], counts: list[int], values: list[Any], most: int) -> Iterator[_Piece]:
    """Pieces of at most so many values each."""
    ends = list(accumulate(counts))
    first, start = 0, 0
    while start < len(values):
        end = min(len(values), start + most)
        last = bisect_left(ends, end)  # the key that the last value is of
        some = counts[first : last + 1]
        some[0] = ends[first] - start
        some[-1] -= ends[last] - end
        yield keys[first : last + 1], some, values[start:end]
        first = last + (ends[last] == end)
        start = end


def _encoded(
    partition: int, keys: list[Any], counts: list[int], values: list[Any], *, added: bool = False
) -> bytes:
    try:
        return encoded(partition, keys, counts, values, added=added)
    except MemoryError:
        raise
    except Exception as error:  # a user's __reduce__ may raise anything
        raise _unpicklable(keys, counts, values, error) from error


def _unpicklable(
    keys: list[Any], counts: list[int], values: list[Any], error: Exception
) -> Stopped:
    rest = iter(values)
    for key, count in zip(keys, counts, strict=True):
        if why := pickles(key):
            return Stopped(
                BadKeyError,
                f"from map, the key {shown(key)}",
                f"a key of type {type(key).__name__} cannot be sent to another process: {why}",
                unpicklable=True,
            )
        for _ in range(count):
            value = next(rest)
            if why := pickles(value):
                return Stopped(
                    BadPairError,
                    f"from map, the value {shown(value)} of key {shown(key)}",
                    f"a value of type {type(value).__name__} cannot be sent to another process: "
                    f"{why}",
                    unpicklable=True,
                )
    return Stopped(BadPairError, "from map", f"its output cannot be pickled: {error}")
