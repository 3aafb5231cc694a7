"""Decoded splits that a worker process keeps from one job to the next.

What a block of a dataset decodes to is the same for every job that reads it, so a process that has
decoded it keeps it, and an iteration over the same data reads it once. Kept is only what cannot be
changed: numbers, texts, and tuples of these. A map that appends to a list that it was given would
else change what the next job gets.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from msgspec import structs

from map_reduce.core.messages import Split, block_of
from map_reduce.execution.pickles import SCALARS
from map_reduce.execution.read import Batch

KEPT_BYTES_MAX = 32 << 20
"""Of blocks whose contents a process keeps; in memory that is several times as much."""

KEPT_SHARE = 1 / 16
"""Of the memory that a process may use for a job, where that is bounded."""

_FIXED = SCALARS | {tuple}


class Kept:
    """The decoded splits of a process, the one that was not read for longest first."""

    def __init__(self, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._entries: OrderedDict[Split, tuple[list[Batch], int]] = OrderedDict()
        self.bytes = 0

    def bound(self, memory_mb_max: int) -> None:
        """Keep no more than suits a process that may use so much memory; 0: no bound of its own."""
        with self._lock:
            share = int(memory_mb_max * (1 << 20) * KEPT_SHARE)
            self._shrink(share if memory_mb_max else self._bytes_max)

    def batches(self, split: Split, read: Callable[[], Iterator[Batch]]) -> Iterator[Batch]:
        """The batches of a split: those that are kept, or else what ``read`` gives."""
        block = block_of(split)
        if block is None or not getattr(split, "lasting", False):
            return read()
        # All of the split: equal blocks may stand for other records, or be in another encoding.
        split = structs.replace(split, ref=structs.replace(block, name=""))
        with self._lock:
            entry = self._entries.get(split)
            if entry is not None:
                self._entries.move_to_end(split)
                return iter(entry[0])
        return self._reading(split, block.size_bytes, read())

    def _reading(self, split: Split, size: int, batches: Iterator[Batch]) -> Iterator[Batch]:
        gathered: list[Batch] = []
        keeps = size <= self._bytes_max
        for batch in batches:
            keeps = keeps and is_fixed(batch.keys) and is_fixed(batch.values)
            if keeps:
                gathered.append(batch)
            else:
                gathered.clear()
            yield batch
        if keeps:
            with self._lock:
                if split not in self._entries:
                    self._entries[split] = gathered, size
                    self.bytes += size
                self._shrink(self._bytes_max)

    def _shrink(self, bytes_max: int) -> None:
        while self.bytes > bytes_max:
            _, (_, size) = self._entries.popitem(last=False)
            self.bytes -= size


def is_fixed(values: Iterable[Any]) -> bool:
    """Whether nothing in it, at any depth, can be changed."""
    if isinstance(values, range):
        return True
    level: Sequence[Any] = list(values)
    while level:
        kinds = set(map(type, level))
        if not kinds <= _FIXED:
            return False
        if tuple not in kinds:
            return True
        level = list(chain.from_iterable(value for value in level if type(value) is tuple))
    return True


KEPT = Kept()
"""This process's."""
