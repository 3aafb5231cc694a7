"""A few records from all over an input, by which a job that sorts is cut into ranges of keys.

They are spread evenly, over items by number and over text by bytes, so that an input that is in
order already, or changes on its way, is seen as it is. Line numbers between the beginnings of files
are estimates. Nothing but the evenness of the ranges depends on which records these are.

The records are shuffled, always in the same way: where their time is up, those that were mapped are
from all over, too.
"""

from __future__ import annotations

import contextlib
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import msgspec

from map_reduce.client.inputs import FileInput, ItemInput, RingInput, Source, stat_file
from map_reduce.client.sample import SampleInput
from map_reduce.client.shipping import pickle_items
from map_reduce.client.text import TextBlock, file_blocks
from map_reduce.core.messages import InlineItems, Split
from map_reduce.errors import InputError

RECORDS_MAX = 4096
BYTES_MAX = 1 << 20
PLACES = 32
"""Places in text from which lines are taken."""

UNPACKED_MAX = 8
"""Compressed files that are looked into."""

RING_SPLITS_MAX = 8
"""Splits that are looked into of an input that lies in the ring."""

INPUTS_MAX = 32

_SEED = 1
_BYTES_GUESSED = 1 << 10


def picking(
    sources: Sequence[Source | SampleInput],
) -> tuple[list[Source | SampleInput], Callable[[], tuple[Split, ...]]]:
    """The inputs to be read in place of these, and what gives the records once they were read: as
    splits, some of each input's."""
    read: list[Source | SampleInput] = []
    picks: list[Callable[[], tuple[Split, ...]]] = []
    for source in sources:
        if isinstance(source, ItemInput):
            picker = ItemPicker(source)
            source = picker.items
            picks.append(picker.picked)
        elif isinstance(source, FileInput):
            picks.append(partial(picked_lines, source))
        elif isinstance(source, RingInput):
            picks.append(partial(_spread, source.splits))
        else:
            picks.append(partial(picked_of_sample, source))
        read.append(source)
    return read, lambda: _spread(tuple(split for pick in picks for split in pick()), INPUTS_MAX)


def _spread(splits: tuple[Split, ...], most: int = RING_SPLITS_MAX) -> tuple[Split, ...]:
    """A few, from all over: of each its beginning is looked at."""
    return splits[:: -(-len(splits) // most) or 1]


class ItemPicker:
    """Keeps some of the items that go through :attr:`items`.

    Attributes:
        items: the input, to be read in place of the one given.
    """

    def __init__(self, source: ItemInput) -> None:
        self._kept: list[tuple[Any, int]] = []  # (key, value) pairs with their sizes
        self._kept_bytes = 0
        self._every = 1
        self._keyed = source.keyed
        self.items = msgspec.structs.replace(source, records=self._through(source))

    def _through(self, source: ItemInput) -> Iterator[Any]:
        records = iter(source.records)
        index = 0
        for record in records:
            self._keep(record if self._keyed else (index, record))
            yield record
            every = self._every
            yield from islice(records, every - 1)
            index += every

    def _keep(self, pair: Any) -> None:
        size = _size_bytes(pair)
        self._kept.append((pair, size))
        self._kept_bytes += size
        while len(self._kept) > RECORDS_MAX or self._kept_bytes > BYTES_MAX:
            if len(self._kept) == 1:
                break
            del self._kept[1::2]
            self._kept_bytes = sum(size for _, size in self._kept)
            self._every *= 2

    def picked(self) -> tuple[InlineItems]:
        """The records, of what has gone through."""
        return _packed([pair for pair, _ in self._kept])


def picked_of_sample(sample: SampleInput) -> tuple[Split, ...]:
    """Records of what is itself a sample: its pieces are from all over the input."""
    splits: list[Split] = []
    pairs: list[tuple[int, str]] = []
    for piece in sample.pieces:
        if isinstance(piece, TextBlock):
            data = piece.data[: BYTES_MAX // PLACES]
            pairs += _lines(data, piece.format.encoding, piece.first_line)
        else:
            splits.append(piece)
    return (*splits, *(_packed(pairs[:: -(-len(pairs) // RECORDS_MAX) or 1]) if pairs else ()))


def picked_lines(files: FileInput) -> tuple[InlineItems]:
    """Lines of files. What cannot be read is left out: the job will say so."""
    pairs: list[tuple[int, str]] = []
    with contextlib.suppress(InputError, OSError):
        sizes = {path: stat_file(path).st_size for path in files.paths}
        total = sum(sizes.values())
        cut = [path for path in sizes if _is_cut(files, path)]
        for number, path in enumerate(cut):
            if number % -(-len(cut) // PLACES) == 0:
                places = max(1, round(PLACES * sizes[path] / max(1, total)))
                pairs += _lines_of(files, path, sizes[path], places)
        packed = [path for path in sizes if path not in cut]
        for path in packed[:: -(-len(packed) // UNPACKED_MAX) or 1]:
            block = next(file_blocks(msgspec.structs.replace(files, paths=(path,)), 1), None)
            if block is not None:
                pairs += _lines(block.data[: BYTES_MAX // PLACES], block.format.encoding, 0)
    step = -(-len(pairs) // RECORDS_MAX) or 1
    return _packed(pairs[::step])


def _is_cut(files: FileInput, path: str) -> bool:
    """Whether a file's lines can be told from anywhere in it."""
    format_ = files.format_of(path)
    return not format_.compression and format_.has_byte_lines


def _lines_of(files: FileInput, path: str, size: int, places: int) -> Iterator[tuple[int, str]]:
    length = BYTES_MAX // PLACES
    with open(path, "rb") as file:
        for place in range(places):
            start = size * place // places
            file.seek(start)
            data = file.read(length)
            if start:  # in the middle of a line
                data = data[data.find(b"\n") + 1 :]
            many = data.count(b"\n")
            first = start * many // len(data) if data else 0
            yield from _lines(data, files.encoding, first)


def _lines(data: bytes, encoding: str, first_line: int) -> list[tuple[int, str]]:
    """Whole lines, numbered; the only one where there is none that ends."""
    end = data.rfind(b"\n") + 1
    text = (data[:end] if end else data).decode(encoding, "replace").replace("\r\n", "\n")
    lines = text.split("\n")
    return list(enumerate(lines[:-1] if end else lines, first_line)) if text else []


def _size_bytes(pair: Any) -> int:
    try:
        return len(pickle.dumps(pair, pickle.HIGHEST_PROTOCOL))
    except Exception:  # noqa: BLE001  what plain pickle does not take is measured when it is sent
        return _BYTES_GUESSED


def _packed(pairs: list[tuple[Any, Any]]) -> tuple[InlineItems]:
    random.Random(_SEED).shuffle(pairs)
    return (InlineItems(pickle_items(pairs, 0, keyed=True), len(pairs), 0, True),)
