"""Sorted runs on disk and their merge, for what does not fit in memory of a job that sorts.

A *run* is all that is held at one time, in the order of its keys, written in pieces. In the end all
runs are read side by side, a piece of each at a time. So in whatever order keys come, each is
written once and read once::

    memory, sorted ──▶ run 0 ─ run 1 ─ … ─ run 63 ──merge──▶ blocks of keys, in order ──▶ reduce
                                            └─ once there are FAN_IN: one run of the next generation

Pieces are so small that one of each of ``FAN_IN`` runs takes about half of what a run took in
memory. What is merged at a time are the keys up to the *bound*, the lowest of the last keys of all
pieces at hand: what comes of any run is not below it. Sorting is stable and runs are taken in the
order in which they were written, so the values of a key stay in their order, and what is kept of
equal keys is the first.

It is done for keys of which no two are equal that a dict tells apart, and that can be compared
(``pairs.py``); for others see ``overflow.py``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, chain, pairwise, repeat
from pathlib import Path
from typing import Any

from map_reduce.execution.gauge import Gauge
from map_reduce.execution.pairs import NotInOrder, Pairs, are_in_one_order, grouped
from map_reduce.execution.partitioned import encoded_in_order
from map_reduce.execution.segments import Segment
from map_reduce.execution.sorting import sorted_keys
from map_reduce.execution.spill import Runs
from map_reduce.execution.stored_values import StoredValues, ValueFile

FAN_IN = 64
"""Runs of a generation that are merged at a time."""


class SortedRuns:
    """Runs in files of their own.

    Args:
        path: a name for the files, which are made when they are needed.

    Attributes:
        bytes: written so far, merges included.
    """

    def __init__(self, path: Path) -> None:
        self.bytes = 0
        self._path = path
        self._generations: list[Runs] = []  # of single runs, of runs of FAN_IN of these, …
        self._ends: list[Any] = []  # the first and the last key of each run
        self._most = 0  # pairs in a piece

    def __len__(self) -> int:
        return sum(runs.runs for runs in self._generations)

    def take(self, keys: list[Any]) -> bool:
        """Whether keys that are in order may be a run beside those that are there."""
        ends = [*self._ends, keys[0], keys[-1]]
        try:
            fit = are_in_one_order(ends) and bool(sorted(ends))
        except TypeError:
            fit = False
        if fit:
            self._ends = ends
        return fit

    def add(self, chunks: Iterator[tuple[list[Any], list[Any]]], pairs: int) -> None:
        """Write a run of so many pairs: keys and values, in order. :meth:`settle` is due when they
        are freed.

        Raises:
            Stopped: a key or value does not pickle, though it did before.
            OSError: the file cannot be written.
        """
        most = max(1, pairs // (2 * FAN_IN))
        self._most = min(self._most or most, most)
        self._write(0, chunks)

    def settle(self) -> None:
        """Merge generations that are full. Raises as :meth:`add`."""
        number = 0
        while number < len(self._generations):
            runs = self._generations[number]
            if runs.runs >= FAN_IN:
                blocks = ((block.keys, block.values) for block, _ in merged(_heads(runs)))
                self._write(number + 1, blocks)
                runs.close()
            number += 1

    def _write(self, generation: int, chunks: Iterable[tuple[list[Any], list[Any]]]) -> None:
        if generation == len(self._generations):
            path = self._path.with_name(f"{self._path.name}-{generation}")
            self._generations.append(Runs(path, FAN_IN))
        runs = self._generations[generation]
        before = runs.bytes
        runs.add(encoded_in_order(runs.runs, _of_size(chunks, self._most)))
        self.bytes += runs.bytes - before

    @property
    def held_bytes(self) -> int:
        """Of all runs that are there."""
        return sum(runs.bytes for runs in self._generations)

    def merged(self) -> Iterator[tuple[Pairs, int]]:
        """See :func:`merged`."""
        oldest_first = reversed(self._generations)
        return merged(list(chain.from_iterable(map(_heads, oldest_first))))

    def segments(self) -> Iterator[tuple[int, Segment]]:
        """Those of all runs, one run after the other, each with its length in bytes."""
        for runs in reversed(self._generations):
            for number in range(runs.runs):
                for header, segment, _ in runs.decoded(number):
                    yield header.body_bytes, segment

    def close(self) -> None:
        """Delete the files."""
        for runs in self._generations:
            runs.close()


class _Head:
    """The piece at hand of a run."""

    def __init__(self, pieces: Iterator[tuple[int, Segment]]) -> None:
        self.keys: list[Any] = []
        self.values: list[Any] = []
        self.at = 0  # of the first pair that was not given yet
        self.read_bytes = 0  # since it was asked last
        self._pieces = pieces

    def load(self) -> bool:
        """Go on to the next piece; False, and there is none, at the end."""
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self.at = 0
        read_bytes, (keys, counts, self.values) = piece
        self.read_bytes += read_bytes
        self.keys = keys if counts is None else [*chain.from_iterable(map(repeat, keys, counts))]
        return True

    def has_any(self) -> bool:
        return self.at < len(self.keys)

    def give(self, block: Pairs, end: int) -> None:
        """The pairs before ``end``."""
        if self.at < end:
            block.keys += self.keys[self.at : end]
            block.values += self.values[self.at : end]
            self.at = end

    def take_read(self) -> int:
        read_bytes, self.read_bytes = self.read_bytes, 0
        return read_bytes


def _heads(runs: Runs) -> list[_Head]:
    def pieces(number: int) -> Iterator[tuple[int, Segment]]:
        return ((header.body_bytes, segment) for header, segment, _ in runs.decoded(number))

    return [_Head(pieces(number)) for number in range(runs.runs)]


def merged(heads: list[_Head]) -> Iterator[tuple[Pairs, int]]:
    """The pairs of all runs, in order, some at a time, and how many bytes were read for them. Only
    the last key of a block may be the first of the next, too.

    Raises:
        Stopped: two keys have no order.
    """
    heads = [head for head in heads if head.load()]
    while heads:
        block = Pairs()
        try:
            bound = min(head.keys[-1] for head in heads)
            for head in heads:
                head.give(block, bisect_left(head.keys, bound, head.at))
            block.sort()
        except (TypeError, NotInOrder):
            sorted_keys(chain(block.keys, *(head.keys for head in heads)))  # which tells whose
            raise
        for head in heads:  # and the bound itself, which may go on for many pieces
            while head.has_any() and head.keys[head.at] == bound:
                head.give(block, bisect_right(head.keys, bound, head.at))
                if not head.has_any() and head.load():
                    yield block, sum(head.take_read() for head in heads)
                    block = Pairs()
        if block.keys:
            yield block, sum(head.take_read() for head in heads)
        heads = [head for head in heads if head.has_any()]


def whole(
    blocks: Iterator[tuple[Pairs, int]], gauge: Gauge, file: ValueFile
) -> Iterator[tuple[list[Any], list[Any], int]]:
    """Keys, all values of each, and bytes that were read: of blocks that are merged.

    Args:
        file: for the values of a key that do not fit in memory.
    """
    held: Any = None  # the values of the last key so far, which may go on
    key: Any = None
    for block, read_bytes in blocks:
        keys, lists = _listed(block)
        filled = gauge.is_filled(read_bytes)
        if held is not None:
            if keys[0] == key:
                held.extend(lists[0])
                keys[0], lists[0] = key, held
            else:
                keys.insert(0, key)
                lists.insert(0, held)
        key, held = keys.pop(), lists.pop()
        if filled and not keys and type(held) is list:
            values, held = held, StoredValues(file)
            held.extend(values)
            del values
            gauge.relieved()
        yield keys, list(map(_readable, lists)), read_bytes
    if held is not None:
        yield [key], [_readable(held)], 0


def _listed(block: Pairs) -> tuple[list[Any], list[Any]]:
    keys, counts = grouped(block.keys)
    values = block.values
    block.clear()
    if len(keys) == len(values):
        return list(keys), [[value] for value in values]
    ends = accumulate(counts, initial=0)
    return keys, [values[first:last] for first, last in pairwise(ends)]


def _readable(values: Any) -> Any:
    return values.view() if type(values) is StoredValues else values


def chunks_of(
    groups: Mapping[Any, list[Any]], ordered: Iterable[Any]
) -> Iterator[tuple[list[Any], list[Any]]]:
    """The pairs of groups, those of one key at a time."""
    for key in ordered:
        values = groups[key]
        yield [key] * len(values), values


def _of_size(
    chunks: Iterable[tuple[list[Any], list[Any]]], most: int
) -> Iterator[tuple[list[Any], list[Any]]]:
    """The same pairs, ``most`` at a time."""
    keys: list[Any] = []
    values: list[Any] = []
    for some, of_some in chunks:
        if not keys and len(some) > most:
            keys, values = some, of_some
        else:
            keys += some
            values += of_some
        if len(keys) >= most:
            whole_ones = len(keys) - len(keys) % most
            for first in range(0, whole_ones, most):
                yield keys[first : first + most], values[first : first + most]
            keys, values = keys[whole_ones:], values[whole_ones:]
    if keys:
        yield keys, values
