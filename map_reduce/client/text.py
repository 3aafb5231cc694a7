"""Files of text into splits, cut at line ends, with true line numbers.

A line ends at a line feed byte, so a file can be cut without decoding it, as long as its
encoding uses that byte for nothing else. Where it does not (UTF-16 and others), and where the
file is compressed, a node that opens the file itself gets all of it as one split. What goes to
nodes that cannot open it is decompressed, and re-encoded in UTF-8 where it could not be cut.
Where there are many small files, a node that opens them itself gets several as one split
(``combining.py``).

Cutting a file into n splits means to count its lines (``line_starts.py``): a pass of a tenth to a
quarter of a second per gigabyte and processor, and none over a file that is one split.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import itertools
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import msgspec

from map_reduce.client.combining import shared
from map_reduce.client.inputs import FileInput, stat_file, unreadable
from map_reduce.client.line_starts import line_starts
from map_reduce.core.messages import FileStamp, FileText, FileTexts, TextFormat
from map_reduce.errors import InputEncodingError, InputUnreadableError
from map_reduce.kernel import count_line_ends

SPLITS_PER_SLOT = 4
"""How many splits a slot sees, as far as the two bounds below allow."""

SPLIT_BYTES_MIN = 1 << 20
SPLIT_BYTES_MAX = 64 << 20
BLOCK_BYTES_MIN = 4 << 20
BLOCK_BYTES_MAX = 16 << 20

_ARCHIVES: dict[str, Callable[[BinaryIO], Any]] = {
    "gzip": lambda file: gzip.GzipFile(fileobj=file),
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}


class FilePlan(msgspec.Struct, frozen=True):
    """The splits of some files, in order, for nodes that open the files themselves.

    ``stamps`` tell each file once, for nodes to check that they see the same one. A file
    without any byte has a stamp and no split.
    """

    splits: tuple[FileText | FileTexts, ...]
    stamps: tuple[FileStamp, ...]
    total_bytes: int

    def texts(self) -> Iterator[FileText]:
        """The files, and the parts of those that are cut."""
        for split in self.splits:
            if isinstance(split, FileTexts):
                yield from split.texts()
            else:
                yield split


class TextBlock(msgspec.Struct, frozen=True):
    """Whole lines of a file: ``data``, uncompressed, starting at byte ``start`` of the file as
    decompressed (or re-encoded), with line ``first_line`` (from 0). Fields are as BlockText's.
    """

    data: bytes
    path: str
    start: int
    first_line: int
    format: TextFormat


def file_plan(files: FileInput, slots: int) -> FilePlan:
    """Cut the files into splits, a handful for each of ``slots``; reads most of each file once.

    Raises:
        InputMissingError, InputUnreadableError: a file cannot be opened or read.
        InputChangedError: a file became shorter while it was read.
    """
    sizes = [stat_file(path).st_size for path in files.paths]
    wanted = _bounded(sum(sizes) // (slots * SPLITS_PER_SLOT), SPLIT_BYTES_MIN, SPLIT_BYTES_MAX)
    splits: list[FileText] = []
    stamps: dict[str, FileStamp] = {}
    total_bytes = 0
    for path in files.paths:
        with _opened(path) as file:
            status = os.fstat(file.fileno())
            size, mtime_ns = status.st_size, status.st_mtime_ns
            format_ = files.format_of(path)
            pieces = 1
            if not format_.compression and format_.has_byte_lines:
                pieces = max(1, round(size / wanted))
            starts = [(0, 0)]
            if pieces > 1:
                starts = line_starts(file.fileno(), path, size, pieces)
        stamps[path] = FileStamp(path, status.st_dev, status.st_ino, size, mtime_ns)
        total_bytes += size
        if size:
            ends = [start for start, _ in starts[1:]] + [size]
            splits += [
                FileText(path, start, end, line, size, mtime_ns, format_)
                for (start, line), end in zip(starts, ends, strict=True)
            ]
    return FilePlan(_combined(splits, wanted, slots), tuple(stamps.values()), total_bytes)


def _combined(texts: list[FileText], wanted: int, slots: int) -> tuple[FileText | FileTexts, ...]:
    """The same, in which neighbours that are whole files share splits (``combining.py``)."""
    sizes = [text.end - text.start for text in texts]
    run_ends: list[int] = []
    for whole, run in itertools.groupby(
        texts, lambda text: text.end - text.start == text.file_size
    ):
        length = len(list(run))
        first = len(run_ends)
        run_ends += [first + length] * length if whole else range(first + 1, first + length + 1)
    as_one_file = round(sum(min(size, wanted) for size in sizes) / wanted)
    stretches = shared(
        sizes,
        run_ends,
        bytes_max=wanted * 3 // 2,  # a longer file is cut
        splits_min=max(as_one_file, slots * SPLITS_PER_SLOT),
    )
    return tuple(
        FileTexts.of([texts[at] for at in stretch]) if len(stretch) > 1 else texts[stretch.start]
        for stretch in stretches
    )


def file_blocks(files: FileInput, slots: int) -> Iterator[TextBlock]:
    """The files' text in order, decompressed, in blocks of whole lines; reads as it is asked.

    Raises:
        InputMissingError, InputUnreadableError: a file cannot be opened, read or unpacked.
        InputEncodingError: a file that has to be re-encoded is not in its encoding; names the
            byte (of the decompressed file).
    """
    total_bytes = sum(stat_file(path).st_size for path in files.paths)
    wanted = _bounded(total_bytes // (slots * SPLITS_PER_SLOT), BLOCK_BYTES_MIN, BLOCK_BYTES_MAX)
    for path in files.paths:
        format_ = files.format_of(path)
        pieces = _unpacked(path, format_.compression, wanted)
        if format_.has_byte_lines:
            format_ = TextFormat(format_.encoding, format_.errors)
        else:
            pieces = _recoded(path, format_, pieces)
            format_ = TextFormat("utf-8", "surrogatepass")  # lone surrogates must survive
        start = first_line = 0
        for data in _whole_lines(pieces):
            yield TextBlock(data, path, start, first_line, format_)
            start += len(data)
            first_line += count_line_ends(data, 0, len(data))


def _whole_lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, cut after the last line end of each piece."""
    rest: list[bytes] = []
    for piece in pieces:
        cut = piece.rfind(b"\n") + 1
        if cut:
            yield b"".join([*rest, piece[:cut]])
            rest = []
        if cut < len(piece):
            rest.append(piece[cut:])
    if rest:
        yield b"".join(rest)


def _unpacked(path: str, compression: str, piece_bytes: int) -> Iterator[bytes]:
    with _opened(path) as file, _decompressing(path, file, compression) as stream:
        while piece := stream.read(piece_bytes):
            yield piece


def _recoded(path: str, format_: TextFormat, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The text of ``pieces`` in UTF-8."""
    decoder = codecs.getincrementaldecoder(format_.encoding)(format_.errors)
    taken = 0
    while True:
        piece = next(pieces, b"")
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            offset = taken - pending + error.start
            raise InputEncodingError(
                f"{path!r} is not {format_.encoding} text: {error.reason} at byte {offset}; pass "
                f"Files({os.path.basename(path)!r}, encoding=...) with its encoding, "
                "or errors='replace'"
            ) from None
        taken += len(piece)
        if text:
            yield text.encode("utf-8", "surrogatepass")
        if not piece:
            return


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    try:
        with open(path, "rb", buffering=0) as file:
            yield cast(BinaryIO, file)
    except OSError as error:
        raise unreadable(path, error) from error


@contextmanager
def _decompressing(path: str, file: BinaryIO, compression: str) -> Iterator[BinaryIO]:
    if not compression:
        yield file
        return
    try:
        with _ARCHIVES[compression](file) as stream:
            yield stream
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the file's, not the archive's
        raise InputUnreadableError(
            f"{path!r} is a damaged {compression} archive: {error}"
        ) from error


def _bounded(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))
