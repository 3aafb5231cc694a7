"""Splits: what a map task reads."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import takewhile

import msgspec

from map_reduce.core.messages.blocks import BlockRef


class InlineItems(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A few items inside the job's specification. ``data`` is a pickled list of items
    (``keyed`` false: keys are first_index, first_index + 1, …) or of (key, value)."""

    data: bytes
    count: int
    first_index: int
    keyed: bool


class BlockItems(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """As InlineItems, the pickled list being a block of the ring.

    ``lasting``: the block outlives the job, and others read it, too: it is worth keeping.
    """

    ref: BlockRef
    count: int
    first_index: int
    keyed: bool
    lasting: bool = False


class PartItems(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """(key, result) pairs that other jobs have made: pickled ([keys], [values]), one after
    another, inline or a block of the ring, which is not the job's own."""

    inline: bytes
    ref: BlockRef | None
    count: int


SHIFTING_ENCODINGS = ("utf_7", "hz", "iso2022")
"""How the names of encodings begin in which a byte's meaning depends on those before it."""


class TextFormat(msgspec.Struct, frozen=True, array_like=True):
    """How the bytes of a file become lines."""

    encoding: str = "utf-8"
    errors: str = "strict"
    compression: str = ""  # "", "gzip", "bz2" or "xz"

    @property
    def has_byte_lines(self) -> bool:
        """Whether a byte 0x0a is a line feed wherever it stands, so that text can be cut there.

        Raises:
            LookupError: there is no such encoding.
        """
        return _has_byte_lines(self.encoding)


@lru_cache(maxsize=64)
def _has_byte_lines(encoding: str) -> bool:
    if codecs.lookup(encoding).name.replace("-", "_").startswith(SHIFTING_ENCODINGS):
        return False
    return all(letter.encode(encoding) == letter.encode("ascii") for letter in "\na")


class FileText(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Lines of a file that the node opens itself: its bytes start … end, cut at line ends.

    ``file_size`` and ``file_mtime_ns`` are as at submission; a file that differs was changed.
    A compressed file is one split, with start 0 and end = file_size.
    """

    path: str  # absolute
    start: int
    end: int
    first_line: int  # the number, from 0, of the line at start
    file_size: int
    file_mtime_ns: int
    format: TextFormat


class SmallFile(msgspec.Struct, frozen=True, array_like=True):
    """One of FileTexts'; size and time are as at submission."""

    name: str  # what its path has after the prefix
    size: int
    mtime_ns: int
    compression: str  # as TextFormat's


class FileTexts(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Lines of several files that the node opens itself: all of each, one file after another.

    What they have in common is there once, so that a job may have very many of them.
    """

    prefix: str  # what all their paths begin with
    encoding: str
    errors: str
    files: tuple[SmallFile, ...]

    @classmethod
    def of(cls, texts: Sequence[FileText]) -> FileTexts:
        """These, each of which is all of a file, and all of one encoding."""
        first, last = min(text.path for text in texts), max(text.path for text in texts)
        common = takewhile(lambda letters: letters[0] == letters[1], zip(first, last, strict=False))
        prefix = first[: len(list(common))]
        files = (
            SmallFile(
                text.path[len(prefix) :],
                text.file_size,
                text.file_mtime_ns,
                text.format.compression,
            )
            for text in texts
        )
        return cls(prefix, texts[0].format.encoding, texts[0].format.errors, tuple(files))

    def texts(self) -> Iterator[FileText]:
        """Each as a split of its own."""
        for file in self.files:
            path = self.prefix + file.name
            form = TextFormat(self.encoding, self.errors, file.compression)
            yield FileText(path, 0, file.size, 0, file.size, file.mtime_ns, form)


class BlockText(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """As FileText, the (decompressed) bytes being a block of the ring; path is for messages."""

    ref: BlockRef
    path: str
    start: int  # where the block's first byte stands in the decompressed file
    first_line: int
    format: TextFormat
    lasting: bool = False  # as BlockItems'


Split = InlineItems | BlockItems | FileText | FileTexts | BlockText | PartItems


def block_of(split: Split) -> BlockRef | None:
    """The block that a split is read from; None where it is inline, or in files."""
    return split.ref if isinstance(split, BlockItems | BlockText | PartItems) else None


def path_of(split: Split) -> str:
    """The file that a node has to see to read the split, or the first of several; "" where none."""
    if isinstance(split, FileTexts):
        return split.prefix + split.files[0].name if split.files else split.prefix
    return split.path if isinstance(split, FileText) else ""


def size_bytes_of(split: Split) -> int:
    """The bytes that a split is read from."""
    if isinstance(split, FileText):
        return split.end - split.start
    if isinstance(split, FileTexts):
        return sum(file.size for file in split.files)
    if (block := block_of(split)) is not None:
        return block.size_bytes
    return len(split.data if isinstance(split, InlineItems) else split.inline)  # type: ignore[union-attr]
