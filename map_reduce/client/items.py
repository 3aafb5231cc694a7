"""Items into chunks that are worth a task each.

The smallest chunk is ``ITEMS_PER_CHUNK`` items. Chunks grow with the input, so that a slot sees
a handful of tasks, up to about ``CHUNK_BYTES_TARGET`` of pickled items. Where the input's length
is known the chunks are even; where it is not, each has twice the items of the one before. How
the items are cut never changes the result, only how long it takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from map_reduce.client.inputs import ItemInput
from map_reduce.client.shipping import pickle_items
from map_reduce.core.messages import InlineItems
from map_reduce.server.configs import ITEMS_PER_CHUNK

TASKS_PER_SLOT = 4
"""How many tasks a slot sees of an input of known length, as far as its size allows."""

CHUNK_BYTES_TARGET = 4 << 20
CHUNK_BYTES_MAX = 64 << 20
"""A chunk of more bytes is halved, down to single items."""

_UNMEASURED_ITEMS_MAX = 1024
"""How many items the first chunk may have, before anything is known of their size."""


def item_chunks(
    items: ItemInput, slots: int, items_per_chunk: int = ITEMS_PER_CHUNK
) -> Iterator[InlineItems]:
    """The items in order, in pickled chunks, reading from ``items`` only as far as asked for.

    Args:
        items: gone through once.
        slots: of the whole cluster.
        items_per_chunk: fewest items of a chunk, save where they are too large or too few.

    Raises:
        InputTypeError: an item does not pickle; names its number or key.
        Exception: what the user's iterable raises.
    """
    source = iter(items.records)
    grows = items.length is None
    size = items_per_chunk
    if items.length is not None:
        chunks = max(1, min(slots * TASKS_PER_SLOT, items.length // items_per_chunk))
        size = -(-items.length // chunks)
    fitting = _UNMEASURED_ITEMS_MAX
    index = data_bytes = 0
    while batch := list(islice(source, max(items_per_chunk, min(size, fitting)))):
        for chunk in _pickled(batch, index, items.keyed):
            data_bytes += len(chunk.data)
            yield chunk
        index += len(batch)
        fitting = CHUNK_BYTES_TARGET * index // data_bytes
        if grows:
            size = min(2 * size, fitting)


def _pickled(batch: list[Any], first_index: int, keyed: bool) -> Iterator[InlineItems]:
    data = pickle_items(batch, first_index, keyed)
    if len(data) <= CHUNK_BYTES_MAX or len(batch) == 1:
        yield InlineItems(data, len(batch), first_index, keyed)
        return
    del data  # each half is pickled on its own
    half = len(batch) // 2
    yield from _pickled(batch[:half], first_index, keyed)
    yield from _pickled(batch[half:], first_index + half, keyed)
