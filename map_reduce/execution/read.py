"""A split as batches of records.

Text is read in pieces, and what is left of a piece after its last line end goes in front of
the next, so memory is bounded by the piece and the longest line. Pieces are decoded whole and
split by C code; a ``\\r\\n`` becomes ``\\n`` before that, and only then.

That bytes can be cut at the byte ``\\n`` holds for encodings in which this byte is a line feed
wherever it stands: UTF-8, the ISO and Windows code pages, the East Asian multi-byte ones. Text
in any other (UTF-16, EBCDIC, the ones with shift states) is one split, and is decoded as a
stream from its start.
"""

from __future__ import annotations

import codecs
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from map_reduce.core.messages import (
    BlockItems,
    BlockText,
    FileText,
    FileTexts,
    InlineItems,
    PartItems,
    Split,
    TextFormat,
)
from map_reduce.errors import (
    InputChangedError,
    InputEncodingError,
    InputMissingError,
    InputUnreadableError,
)
from map_reduce.execution.failures import shown
from map_reduce.execution.pickles import load
from map_reduce.kernel import lines_of, split_lines

PIECE_BYTES = 1 << 18


class Batch(NamedTuple):
    """Records: ``keys[i]`` and ``values[i]`` are what map is called with."""

    positions: Sequence[int]
    """By which to find a record again in the same split: those that are keys, where numbers are."""

    keys: Sequence[Any]  # a range where they are line numbers or indexes
    values: list[Any]
    bytes_in: int
    """Bytes of the split read up to the end of this batch."""

    path: str = ""
    """The file that they are lines of, where they are."""


class _Piece(NamedTuple):
    data: bytes
    bytes_in: int


class Undecodable(NamedTuple):
    """Stands for a line that is not valid in its encoding."""

    data: bytes
    reason: str


def batches_of(split: Split, block: Path | None, *, keep_bad: bool = False) -> Iterator[Batch]:
    """The records of a split; ``block`` is the file with its bytes, where it is a block's.

    ``keep_bad``: lines that cannot be decoded are given as :class:`Undecodable`, where they can be
    told apart, which takes an encoding in which a byte 0x0a is a line feed.

    Raises:
        InputMissingError, InputUnreadableError, InputChangedError, InputEncodingError: as the
            names say; each message names the file.
    """
    if isinstance(split, FileTexts):
        return _of_files(split, keep_bad)
    if isinstance(split, FileText):
        return _numbered(_file_pieces(split), split, keep_bad)
    if isinstance(split, BlockText):
        return _numbered(_block_pieces(_given(block)), split, keep_bad)
    if isinstance(split, PartItems):
        return _parts(io.BytesIO(split.inline) if split.ref is None else open(_given(block), "rb"))
    data = split.data if isinstance(split, InlineItems) else _given(block).read_bytes()
    return _items(split, data)


def name_of(split: Split, batch: Batch, at: int) -> str:
    """A record in words: number ``at`` of a batch of the split."""
    key = batch.keys[at]
    if isinstance(split, FileText | FileTexts | BlockText):
        return f"line {key} of {batch.path}"
    keyed = isinstance(split, PartItems) or split.keyed
    return f"key {shown(key)}" if keyed else f"item {key}"


def _given(block: Path | None) -> Path:
    if block is None:
        raise ValueError("the split is a block, and no file with its bytes was handed in")
    return block


def _items(split: InlineItems | BlockItems, data: bytes) -> Iterator[Batch]:
    items = load(data, "the items of the input", InputUnreadableError)
    if split.keyed:
        keys, values = [key for key, _ in items], [value for _, value in items]
        yield Batch(range(len(items)), keys, values, len(data))
    else:
        numbers = range(split.first_index, split.first_index + len(items))
        yield Batch(numbers, numbers, items, len(data))


def _parts(file: BinaryIO) -> Iterator[Batch]:
    """Pickled ([keys], [values]), one after another (``results.py``)."""
    with file:
        end = file.seek(0, io.SEEK_END)
        file.seek(0)
        position = 0
        while file.tell() < end:
            what = "the results of the job that is the input"
            keys, values = load(file, what, InputUnreadableError)
            yield Batch(range(position, position + len(keys)), keys, values, file.tell())
            position += len(keys)


def _numbered(
    pieces: Iterator[_Piece], split: FileText | BlockText, keep_bad: bool
) -> Iterator[Batch]:
    first_line = split.first_line
    for lines, bytes_in in _lines(pieces, _text_of(split, keep_bad)):
        if lines:
            numbers = range(first_line, first_line + len(lines))
            yield Batch(numbers, numbers, lines, bytes_in, split.path)
            first_line += len(lines)


def _of_files(split: FileTexts, keep_bad: bool) -> Iterator[Batch]:
    """One file after another; positions go on, whereas the numbers of lines begin anew."""
    position = bytes_before = 0
    for text in split.texts():
        for batch in _numbered(_file_pieces(text), text, keep_bad):
            positions = range(position, position + len(batch.values))
            position = positions.stop
            yield batch._replace(positions=positions, bytes_in=bytes_before + batch.bytes_in)
        bytes_before += text.file_size


# ---------------------------------------------------------------------- bytes


def _file_pieces(split: FileText) -> Iterator[_Piece]:
    path = split.path
    try:
        _check_unchanged(split, os.stat(path))
        with open(path, "rb", buffering=0) as file:
            if split.format.compression:
                yield from _unpacked(split, file)
            else:
                yield from _range(split, file)
            _check_unchanged(split, os.fstat(file.fileno()))
    except FileNotFoundError as error:
        raise InputMissingError(
            f"there is no file {path} on this node, though there was when the job was submitted"
        ) from error
    except OSError as error:
        raise InputUnreadableError(f"cannot read {path}: {error.strerror or error}") from error


def _check_unchanged(split: FileText, now: os.stat_result) -> None:
    if not stat.S_ISREG(now.st_mode):
        raise InputUnreadableError(f"{split.path} is not a regular file")
    if now.st_size != split.file_size:
        what = f"it had {split.file_size} bytes and has {now.st_size}"
    elif now.st_mtime_ns != split.file_mtime_ns:
        what = "it was written to"
    else:
        return
    raise InputChangedError(
        f"{split.path} has changed since the job was submitted: {what}; submit the job again"
    )


def _range(split: FileText, file: BinaryIO) -> Iterator[_Piece]:
    file.seek(split.start)
    position = split.start
    while position < split.end:
        data = file.read(min(PIECE_BYTES, split.end - position))
        if not data:
            raise InputChangedError(f"{split.path} became shorter while it was read")
        position += len(data)
        yield _Piece(data, position - split.start)


def _unpacked(split: FileText, file: BinaryIO) -> Iterator[_Piece]:
    import bz2  # late, these four: no worker needs them before it reads a compressed file
    import gzip
    import lzma
    import zlib

    unpackers: dict[str, Callable[[BinaryIO], Any]] = {
        "gzip": lambda file: gzip.GzipFile(fileobj=file),
        "bz2": bz2.BZ2File,
        "xz": lzma.LZMAFile,
    }
    stream = unpackers[split.format.compression](file)
    while True:
        try:
            data = stream.read(PIECE_BYTES)
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise InputUnreadableError(
                f"{split.path} is a damaged {split.format.compression} file: {error}; "
                "whatever comes before the damage has not been used either"
            ) from error
        if not data:
            return
        yield _Piece(data, file.tell())


def _block_pieces(block: Path) -> Iterator[_Piece]:
    position = 0
    with open(block, "rb", buffering=0) as file:
        while data := file.read(PIECE_BYTES):
            position += len(data)
            yield _Piece(data, position)


# ---------------------------------------------------------------------- text


class _Text(NamedTuple):
    """What decoding needs to know, for itself and for its messages."""

    path: str
    offset: int  # of the first byte in the (decompressed) file
    format: TextFormat
    whole: bool  # all of the file, so that it can be decoded as a stream
    keep_bad: bool  # lines that cannot be decoded are given as Undecodable

    def undecodable(self, error: UnicodeDecodeError, offset: int) -> InputEncodingError:
        packed = " of its decompressed text" if self.format.compression else ""
        return InputEncodingError(
            f"{self.path} is not {self.format.encoding}: byte 0x{error.object[error.start]:02x} "
            f"at offset {offset + error.start}{packed}: {error.reason}. If it is in another "
            f'encoding, say which, as in Files({self.path!r}, encoding="latin-1"); to read on '
            'over such bytes, pass errors="replace"'
        )


def _text_of(split: FileText | BlockText, keep_bad: bool) -> _Text:
    whole = split.start == 0 and (isinstance(split, BlockText) or split.end == split.file_size)
    return _Text(split.path, split.start, split.format, whole, keep_bad)


def _lines(pieces: Iterator[_Piece], text: _Text) -> Iterator[tuple[list[Any], int]]:
    """Lists of lines, with how many bytes were read up to there."""
    try:
        if text.whole and not text.format.has_byte_lines:
            yield from _lines_of_stream(pieces, text)
        else:
            yield from _lines_of_bytes(pieces, text)
    except (LookupError, UnicodeError) as error:  # no such encoding; UTF-16 without its mark
        raise InputEncodingError(
            f"{text.path} cannot be decoded as {text.format.encoding}: {error}"
        ) from error


def _lines_of_bytes(pieces: Iterator[_Piece], text: _Text) -> Iterator[tuple[list[Any], int]]:
    encoding, errors = text.format.encoding, text.format.errors
    plain = errors == "strict" and codecs.lookup(encoding).name == "utf-8"
    offset = text.offset
    rest: list[bytes] = []

    def split_up(data: bytes) -> list[Any]:
        try:
            return lines_of(data) if plain else split_lines(data.decode(encoding, errors))
        except UnicodeDecodeError as error:
            if text.keep_bad:
                return [_decoded(line, text.format) for line in _byte_lines(data)]
            raise text.undecodable(error, offset) from error

    bytes_in = 0
    for data, bytes_in in pieces:
        cut = data.rfind(b"\n") + 1
        if not cut:
            rest.append(data)
            continue
        head = b"".join((*rest, memoryview(data)[:cut]))
        rest = [data[cut:]]
        yield split_up(head), bytes_in
        offset += len(head)
    if tail := b"".join(rest):
        yield split_up(tail), bytes_in


def _byte_lines(data: bytes) -> list[bytes]:
    """Each with its line end."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _decoded(line: bytes, form: TextFormat) -> str | Undecodable:
    try:
        [text] = split_lines(line.decode(form.encoding, form.errors))
    except UnicodeDecodeError as error:
        where = f"byte 0x{error.object[error.start]:02x} at offset {error.start} of the line"
        return Undecodable(line.rstrip(b"\r\n"), f"not {form.encoding}: {where}: {error.reason}")
    return text


def _lines_of_stream(pieces: Iterator[_Piece], text: _Text) -> Iterator[tuple[list[str], int]]:
    decoder = codecs.getincrementaldecoder(text.format.encoding)(text.format.errors)
    offset = text.offset
    rest: list[str] = []

    def decode(data: bytes, final: bool = False) -> str:
        pending = len(decoder.getstate()[0])
        try:
            return decoder.decode(data, final)
        except UnicodeDecodeError as error:
            raise text.undecodable(error, offset - pending) from error

    bytes_in = 0
    for data, bytes_in in pieces:
        part = decode(data)
        offset += len(data)
        cut = part.rfind("\n") + 1
        if cut:
            head = "".join((*rest, part[:cut]))
            rest = []
            yield split_lines(head), bytes_in
        rest.append(part[cut:])
    rest.append(decode(b"", final=True))
    yield split_lines("".join(rest)), bytes_in
