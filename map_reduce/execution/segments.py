"""The file between map and reduce.

A map task's output has its partitions one after another, each a segment, or nothing where the
partition is empty. A reduce task gets the segments of neighbouring partitions in one piece.

    ┌ header ─────────────────────────────────────────────┐┌ body ──────────────────────────┐
    │ "MRs1"  partition  keys  values  hashes  bytes  crc ││ pickled (keys, counts, values) │
    └─────────────────────────────────────────────────────┘└────────────────────────────────┘

``values`` holds the values of all keys one after another, ``counts`` how many there are of each
(None: one of each, as after a combiner). Two flat lists pickle several times faster than a list
for each key.

``hashes`` is the fingerprint (``keys.py``), modulo 2**64, of the keys in the process that wrote
them. A reader for which it is another has keys whose hash differs between processes, and knows that
equal keys may have gone to different partitions.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple

from map_reduce.errors import BlockCorruptError
from map_reduce.execution.keys import fingerprint_of
from map_reduce.execution.pickles import dump_lists, load

MAGIC, ADDED = b"MRs1", b"MRs+"
"""What a segment begins with; ADDED: ints were added up, by nobody's order (``summing.py``)."""

HEADER = struct.Struct("<4sIQQQQI")
_COVERED = struct.Struct("<4sIQQQQ")  # what the checksum covers, besides the body
HASHES = 1 << 64


class Header(NamedTuple):
    partition: int
    keys: int
    values: int
    hashes: int
    body_bytes: int
    crc: int
    added: bool = False


class Segment(NamedTuple):
    """``counts[i]`` values of ``values`` belong to ``keys[i]``; None: one each."""

    keys: list[Any]
    counts: list[int] | None
    values: list[Any]


def encoded(
    partition: int, keys: list[Any], counts: list[int], values: list[Any], *, added: bool = False
) -> bytes:
    """Header and body of a partition with these keys, of which ``counts`` tells how many of the
    ``values`` belong to each; it may be empty where each has one. No key is there twice.

    Raises:
        Exception: whatever user classes raise on being pickled.
    """
    if len(values) == len(keys):  # and no key is without any
        counts = []
    body = dump_lists(keys, counts, values, apart=1)
    fields = (partition, len(keys), len(values), fingerprint_of(keys) % HASHES, len(body))
    magic = ADDED if added else MAGIC
    return HEADER.pack(magic, *fields, _checksum(magic, fields, body)) + body


def header_of(data: bytes, source: str) -> Header:
    """The header that ``data`` begins with.

    Raises:
        BlockCorruptError: it does not.
    """
    if len(data) < HEADER.size:
        raise BlockCorruptError(f"{source} ends within the header of a segment")
    magic, *fields = HEADER.unpack_from(data)
    if magic not in (MAGIC, ADDED):
        raise BlockCorruptError(f"{source} has no segment where one should begin")
    return Header._make((*fields, magic == ADDED))


def decoded(header: Header, body: bytes | memoryview, source: str) -> Segment:
    """A segment's lists.

    Raises:
        BlockCorruptError: header and body do not match their checksum.
        FunctionError: a key or a value does not unpickle in this process.
    """
    magic, fields = ADDED if header.added else MAGIC, header[:5]
    if _checksum(magic, fields, body) != header.crc:
        raise BlockCorruptError(
            f"partition {header.partition} of {source} does not match its checksum"
        )
    keys, counts, values = load(body, "keys or values of the job")
    return Segment(keys, counts or None, values)


def _checksum(magic: bytes, fields: tuple[int, ...], body: bytes | memoryview) -> int:
    return zlib.crc32(body, zlib.crc32(_COVERED.pack(magic, *fields)))
