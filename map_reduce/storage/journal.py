"""The format of a replica's journal: bytes and what they mean.

::

    0      magic, with the version of this format
    64     length and CRC-32 of the header, and the header: identity and incarnation (msgpack)
    4096   how many bytes of the file are known to be on disk, and a CRC-32: the *mark*
    8192   entries, one after the other: length, CRC-32 of length and bytes, bytes (msgpack)

Pages are apart so that writing the mark cannot tear the header, nor an append the mark. The mark is
one write within a sector, made after each synchronisation and before anybody is told of it.

**A torn tail or damage?** Reading ends at the first entry that is not whole. If that lies at or
behind the mark, it had never been synchronised, so nobody was told that it had happened: it is a
torn tail, and what comes before it is the journal. If it lies before the mark, something that
others may rely on is gone: the journal is damaged, and this memory is lost as a whole.

The mark itself is not waited for. A killed process loses none of it; a power cut may set it back by
one synchronisation. So there is one damage that would be taken for a torn tail: to exactly what was
written last before a power cut.
"""

from __future__ import annotations

import zlib
from struct import Struct
from typing import NamedTuple

import msgspec

from map_reduce.core.messages.base import NOT_DECODABLE
from map_reduce.core.registers.acceptor import Held
from map_reduce.errors import ConfigError

MAGIC = b"map-reduce records "
VERSION = b"1\n"
HEADER_AT = 64
MARK_AT = 4096
ENTRIES_AT = 8192

_FRAME = Struct("<II")  # length, CRC-32
_LENGTH = Struct("<I")
_MARK = Struct("<QI")  # bytes, CRC-32 of the eight bytes before
_encoder = msgspec.msgpack.Encoder()
_entries = msgspec.msgpack.Decoder(Held)


class Header(msgspec.Struct, frozen=True, array_like=True):
    """Whose memory it is, and the last incarnation of the node that had it."""

    identity: int
    incarnation: int


_headers = msgspec.msgpack.Decoder(Header)


class DamagedJournal(Exception):
    """Something that was known to be on disk is not there."""


class Journal(NamedTuple):
    """What a journal says. ``cut_bytes`` of its end were torn."""

    header: Header
    held: tuple[Held, ...]  # the last of each name
    cut_bytes: int


def encode_start(header: Header) -> bytes:
    """Everything before the entries, but for the mark."""
    start = bytearray(ENTRIES_AT)
    start[: len(MAGIC + VERSION)] = MAGIC + VERSION
    framed = _framed(_encoder.encode(header))
    start[HEADER_AT : HEADER_AT + len(framed)] = framed
    return bytes(start)


def encode_entry(held: Held) -> bytes:
    return _framed(_encoder.encode(held))


def encode_mark(size_bytes: int) -> bytes:
    """To be written at ``MARK_AT``."""
    data = _MARK.pack(size_bytes, 0)[: -_LENGTH.size]
    return _MARK.pack(size_bytes, zlib.crc32(data))


def decode(data: bytes) -> Journal:
    """Read a journal.

    Raises:
        DamagedJournal: see there.
        ConfigError: it was written by another version of map-reduce.
    """
    if not data.startswith(MAGIC) or len(data) < ENTRIES_AT:
        raise DamagedJournal("it does not begin as a journal does")
    if not data.startswith(MAGIC + VERSION):
        raise ConfigError("it was written by another version of map-reduce")
    framed = _unframed(data, HEADER_AT, MARK_AT)
    if framed is None:
        raise DamagedJournal("its header is damaged")
    size_bytes, _ = _MARK.unpack_from(data, MARK_AT)
    if encode_mark(size_bytes) != data[MARK_AT : MARK_AT + _MARK.size]:
        raise DamagedJournal("the mark of what is on disk is damaged")
    try:
        header = _headers.decode(framed)
        held, end = _decode_entries(data)
    except NOT_DECODABLE as error:  # whole, by its checksum, but not what we write
        raise DamagedJournal(f"it cannot be understood: {error}") from error
    if end < size_bytes:
        raise DamagedJournal(f"byte {end} is damaged; {size_bytes} bytes had been on disk")
    return Journal(header, tuple(held.values()), len(data) - end)


def _decode_entries(data: bytes) -> tuple[dict[str, Held], int]:
    """What is held, and where the whole entries end."""
    held: dict[str, Held] = {}
    at = ENTRIES_AT
    while (entry := _unframed(data, at, len(data))) is not None:
        one = _entries.decode(entry)
        held.pop(one.name, None)
        if not one.is_nothing:
            held[one.name] = one
        at += _FRAME.size + len(entry)
    return held, at


def _framed(data: bytes) -> bytes:
    length = _LENGTH.pack(len(data))
    return _FRAME.pack(len(data), zlib.crc32(length + data)) + data


def _unframed(data: bytes, at: int, end: int) -> bytes | None:
    """The bytes of a frame that begins at ``at``; None where no whole one does."""
    if at + _FRAME.size > end:
        return None
    length, checksum = _FRAME.unpack_from(data, at)
    start = at + _FRAME.size
    if length == 0 or start + length > end:
        return None
    framed = data[start : start + length]
    return framed if zlib.crc32(_LENGTH.pack(length) + framed) == checksum else None
