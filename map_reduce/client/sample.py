"""A small part of an input, spread over all of it, and how all of it would be cut.

Of each of a few splits, evenly spaced, or of the small files that share them, the beginning is
taken: whole lines, or neighbouring items. So the sample has the neighbourhoods that splits have,
and an input whose parts differ is seen in all its parts. What is sorted or clustered within the
distance of two samples is not seen.
What lies in the ring already gives whole splits, which nobody then has to fetch and cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence, Sized
from math import ceil
from typing import Any

import msgspec

from map_reduce.client.inputs import FileInput, ItemInput, RingInput, Source, unreadable
from map_reduce.client.items import CHUNK_BYTES_TARGET, TASKS_PER_SLOT
from map_reduce.client.shipping import pickle_items
from map_reduce.client.text import TextBlock, file_blocks, file_plan
from map_reduce.core.messages import FileText, InlineItems, Split, TextFormat, size_bytes_of
from map_reduce.errors import InputTypeError

PIECES = 8
PIECE_BYTES_MIN, PIECE_BYTES_MAX = 64 << 10, 4 << 20
PIECE_ITEMS_MIN, PIECE_ITEMS_MAX = 125, 25_000


class SampleInput(msgspec.Struct, frozen=True):
    """Pieces of an input, each of which becomes a split.

    Attributes:
        split_bytes: of the splits that the whole input would be cut into; of items, estimated.
        scale: so many times the sample is the whole input: by bytes, or by items.
        text: what was taken, for people.
    """

    pieces: tuple[TextBlock | Split, ...]
    split_bytes: tuple[int, ...]
    scale: float
    text: str


def sample_of(
    sources: Sequence[Source], share: float, slots: int, items_per_chunk: int
) -> SampleInput:
    """About ``share`` of each of the inputs, within bounds.

    Raises:
        InputTypeError: one is an iterator, and what is taken from it would be missing.
        InputError: a file cannot be read.
    """
    samples = [_of(source, share, slots, items_per_chunk) for source in sources]
    if len(samples) == 1:
        return samples[0]
    split_bytes = tuple(size for sample in samples for size in sample.split_bytes)
    taken_bytes = sum(sum(sample.split_bytes) / sample.scale for sample in samples)
    return SampleInput(
        tuple(piece for sample in samples for piece in sample.pieces),
        split_bytes,
        sum(split_bytes) / taken_bytes if taken_bytes else 1.0,
        "; ".join(sample.text for sample in samples),
    )


def _of(source: Source, share: float, slots: int, items_per_chunk: int) -> SampleInput:
    if isinstance(source, FileInput):
        return _of_files(source, share, slots)
    if isinstance(source, RingInput):
        return _of_ring(source, share)
    return _of_items(source, share, slots, items_per_chunk)


def _spread(count: int, pieces: int = PIECES) -> list[int]:
    """Up to ``pieces`` of 0 … ``count`` - 1, evenly spaced."""
    pieces = min(pieces, count)
    return [count * number // pieces for number in range(pieces)]


# ---------------------------------------------------------------------- the ring


def _of_ring(source: RingInput, share: float) -> SampleInput:
    splits = source.splits
    sizes = tuple(map(size_bytes_of, splits))
    numbers = _spread(len(splits), min(PIECES, ceil(share * len(splits))))
    taken_bytes = sum(sizes[number] for number in numbers)
    scale = sum(sizes) / taken_bytes if taken_bytes else 1.0
    text = f"{taken_bytes:,} bytes of blocks in the ring, {len(numbers)} of {len(splits)}"
    return SampleInput(tuple(splits[number] for number in numbers), sizes, scale, text)


# ---------------------------------------------------------------------- files


def _of_files(source: FileInput, share: float, slots: int) -> SampleInput:
    plan = file_plan(source, slots)
    texts = list(plan.texts())
    wanted = int(share * plan.total_bytes) // max(1, min(PIECES, len(texts)))
    size = max(PIECE_BYTES_MIN, min(wanted, PIECE_BYTES_MAX))
    blocks: list[TextBlock] = []
    read = taken = 0
    for text in (texts[number] for number in _spread(len(texts))):
        found = _beginning(source, text, size)
        if found is None:
            continue
        block, of_bytes = found
        blocks.append(block)
        taken += len(block.data)
        read += of_bytes
    scale = plan.total_bytes / read if read else 1.0
    lines = sum(block.data.count(b"\n") for block in blocks)
    what = f"{taken:,} bytes of text, about {lines:,} lines from {len(blocks)} places"
    split_bytes = tuple(map(size_bytes_of, plan.splits))
    return SampleInput(tuple(blocks), split_bytes, max(1.0, scale), what)


def _beginning(source: FileInput, split: FileText, size: int) -> tuple[TextBlock, int] | None:
    """Whole lines from the beginning of a split, and how many bytes of the file they take; None
    where it is a compressed file of nothing."""
    if split.format.compression or not split.format.has_byte_lines:
        whole = FileInput((split.path,), source.encoding, source.errors)
        block = next(file_blocks(whole, 1), None)
        if block is None:
            return None
        cut = _cut(block.data, size)
        # How well the rest packs is not known without reading it: taken to be as the beginning.
        all_bytes = _unpacked_bytes(whole, block)
        share = cut / all_bytes if all_bytes else 1.0
        data = block.data[:cut]
        return TextBlock(data, *_place(block)), max(1, round(share * (split.end - split.start)))
    data = _range(split.path, split.start, split.end, size)
    format_ = TextFormat(split.format.encoding, split.format.errors)
    return TextBlock(data, split.path, split.start, split.first_line, format_), len(data)


def _place(block: TextBlock) -> tuple[str, int, int, TextFormat]:
    return block.path, block.start, block.first_line, block.format


def _unpacked_bytes(whole: FileInput, first: TextBlock) -> int:
    """Of all of the file: it is unpacked once more, and not kept."""
    rest = itertools.islice(file_blocks(whole, 1), 1, None)
    return len(first.data) + sum(len(block.data) for block in rest)


def _cut(data: bytes, size: int) -> int:
    """Where to cut so that whole lines are left: before ``size``, or after the first line."""
    if len(data) <= size:
        return len(data)
    return (data.rfind(b"\n", 0, size) + 1) or (data.find(b"\n") + 1) or len(data)


def _range(path: str, start: int, end: int, size: int) -> bytes:
    length = end - start
    data = b""
    try:
        with open(path, "rb") as file:
            file.seek(start)
            while len(data) < min(size, length) or (b"\n" not in data and len(data) < length):
                more = file.read(min(size, length - len(data)))
                if not more:
                    break
                data += more
    except OSError as error:
        raise unreadable(path, error) from error
    return data if len(data) == length else data[: data.rfind(b"\n") + 1]


# ---------------------------------------------------------------------- items


def _of_items(source: ItemInput, share: float, slots: int, items_per_chunk: int) -> SampleInput:
    records = source.records
    if isinstance(records, Iterator) or not isinstance(records, Sized):
        raise InputTypeError(
            "what is taken from an iterator for a sample would be missing in the job; pass a list, "
            "another container or files"
        )
    total = len(records)
    size = max(PIECE_ITEMS_MIN, min(int(share * total) // PIECES, PIECE_ITEMS_MAX))
    starts = _spread(min(PIECES, -(-total // size)))
    starts = [start * total // max(1, len(starts)) for start in starts]
    pieces = []
    taken_bytes = 0
    for first, taken in _stretches(records, starts, size):
        taken_bytes += len(pickle_items(taken, first, source.keyed))  # as the job would have them
        pairs = taken if source.keyed else list(enumerate(taken, first))
        pieces.append(InlineItems(pickle_items(pairs, first, True), len(pairs), first, True))
    count = sum(piece.count for piece in pieces)
    total_bytes = round(taken_bytes * total / max(1, count))
    chunks = max(1, min(slots * TASKS_PER_SLOT, total // items_per_chunk))
    chunks = max(chunks, min(total, -(-total_bytes // CHUNK_BYTES_TARGET)))
    split_bytes = (total_bytes // chunks,) * chunks if total else ()
    text = f"{count:,} of {total:,} items, from {len(pieces)} places"
    return SampleInput(tuple(pieces), split_bytes, max(1.0, total / max(1, count)), text)


def _stretches(records: Any, starts: list[int], size: int) -> Iterator[tuple[int, list[Any]]]:
    """For each start up to ``size`` neighbouring records, none of them twice."""
    ends = [*starts, len(records)][1:]
    if isinstance(records, Sequence):
        for start, end in zip(starts, ends, strict=True):
            yield start, list(records[start : min(end, start + size)])
        return
    source = iter(records)
    position = 0
    for start, end in zip(starts, ends, strict=True):
        length = min(end - start, size)
        taken = list(itertools.islice(source, start - position, start - position + length))
        position = start + len(taken)
        yield start, taken
