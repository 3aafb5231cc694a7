"""Pairs in the order of their keys, without a dict.

A job that sorts has mostly different keys. To group them first, by a list and an entry in a dict
for each, is then most of the work, and tells what the sorted keys tell anyway: equal ones are
neighbours::

    keys     "b"  "a"  "c"  "a"            "a"  "a"  "b"  "c"
    values    1    2    3    4     sort     2    4    1    3
                                            └── one ──┘

What that takes is an order in which neither more nor less is equal than for a dict, so it is done
for keys of a few types only (:func:`are_in_one_order`): those that stand for themselves, whose
hashes are the same in every process, and whose ``<`` is the one order (``ordering.py``). The sort
is stable. So the values of a key stay in the order in which they came, and what is kept of equal
keys (``1``, ``True``, ``1.0``) is the first, as in ``groups.py``, which is what everything here is
tested against.

The positions are sorted, by the keys, and then keys and values are picked by these: that is
quicker than to sort pairs, and makes no object that the garbage collector has to look at. Where
there are many, so that what the positions take up matters (52 bytes a pair, against 24), keys and
values are sorted each for themselves: both by the keys, which a sort asks for in the order of the
list.
"""

from __future__ import annotations

from functools import partial
from itertools import chain, compress, count, islice, pairwise, repeat
from operator import eq, itemgetter, ne
from typing import Any

from map_reduce.execution.segments import Segment
from map_reduce.ordering import PLAIN, ranks_of

_KINDS = frozenset((str, bytes, int, bool, float, tuple))

PICKED_MAX = 1 << 18
"""Of more pairs, the positions would take up too much."""

SAMPLE = 1 << 12

KEYS_SHARE_MIN = 0.5
"""With fewer keys than this share of the pairs, they are better grouped by a dict."""


class NotInOrder(Exception):
    """Keys cannot be compared, at least not as they are."""


class Pairs:
    """Pairs by any keys: ``values[i]`` belongs to ``keys[i]``."""

    __slots__ = ("keys", "values")

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.values: list[Any] = []

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, keys: list[Any], values: list[Any]) -> bool:
        """Add some. False: for these keys, the pairs are not to be sorted."""
        self.keys += keys
        self.values += values
        return are_in_one_order(keys)

    def take(self, segment: Segment) -> bool:
        """Add a segment's, which :meth:`add` tells about."""
        keys, counts, values = segment
        if counts is not None:
            keys = list(chain.from_iterable(map(repeat, keys, counts)))
        return self.add(keys, values)

    def sort(self) -> None:
        """By keys; those with equal keys stay in the order in which they came.

        Raises:
            NotInOrder: some keys cannot be compared. Nothing is changed.
        """
        keys = self.keys
        try:
            if len(keys) > PICKED_MAX:
                ordered = sorted(keys)
                self.values.sort(key=partial(next, iter(keys)))
                self.keys = ordered
                return
            order = sorted(range(len(keys)), key=keys.__getitem__)
        except TypeError as error:
            raise NotInOrder from error
        if len(order) > 1:  # of one, itemgetter would give the item itself
            pick = itemgetter(*order)
            self.keys, self.values = list(pick(keys)), list(pick(self.values))

    def clear(self) -> None:
        """Free them."""
        self.keys, self.values = [], []


def are_in_one_order(keys: list[Any]) -> bool:
    """Whether each of these keys stands for itself, and those that are neither smaller nor larger
    than one another, or than other keys of which this holds, are one key.

    May say so of keys that cannot be compared, which is for the sort to find out; may say no where
    it is so nevertheless.
    """
    kinds = set(map(type, keys))
    if len(kinds) <= 1 and kinds <= PLAIN:
        return True
    return kinds <= _KINDS and ranks_of(keys) is None


def are_mostly_different(keys: list[Any]) -> bool:
    """Whether there are so many keys among these that a dict is no help; told by some of them.

    Of a share of them, taken from everywhere, the same share of what stands twice meets its like.
    """
    sample = keys[:: max(1, len(keys) // SAMPLE)]
    twice = len(sample) - len(set(sample))
    return twice * len(keys) <= (1 - KEYS_SHARE_MIN) * len(sample) ** 2


def grouped(keys: list[Any]) -> tuple[list[Any], list[int]]:
    """The different keys among ``keys``, which are in order, and how often each is there."""
    if not any(map(eq, keys, islice(keys, 1, None))):
        return keys, [1] * len(keys)
    firsts = [0, *compress(count(1), map(ne, keys, islice(keys, 1, None)))]
    counts = [last - first for first, last in pairwise([*firsts, len(keys)])]
    return list(map(keys.__getitem__, firsts)), counts
