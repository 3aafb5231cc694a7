"""Blocks: stored and read in pieces (the bulk plane), compared and repaired."""

from __future__ import annotations

from typing import Annotated

import msgspec

from map_reduce.core.messages.base import Bytes20, Count, Message

PIECE_BYTES_MAX = 4_000_000
"""The most that one may ask for at once: a reply with it fits a message of the transport."""


class BlockRef(msgspec.Struct, frozen=True, array_like=True):
    """A block's name, its length and the digest of its bytes (``core/digests.py``)."""

    name: str
    size_bytes: Count
    digest: bytes


class PutPiece(Message, frozen=True):
    """Store a piece; the block exists once all its bytes are there and match. -> PieceStored"""

    ref: BlockRef
    offset: Count
    data: bytes


class PieceStored(Message, frozen=True):
    complete: bool


class GetPiece(Message, frozen=True):
    """Read ``length_bytes`` of a block or of a map output from ``offset``. -> Piece, NoBlock"""

    name: str
    offset: Count
    length_bytes: Annotated[int, msgspec.Meta(ge=0, le=PIECE_BYTES_MAX)]


class Piece(Message, frozen=True):
    data: bytes
    size_bytes: int  # of the whole block


class NoBlock(Message, frozen=True):
    name: str


RANGES_MAX = 1024
"""The most ranges in one request: a node may have to open a file for each."""


class GetRanges(Message, frozen=True):
    """Read ranges of map outputs, of each of which ``rows`` has the name without the ``prefix``,
    the offset and the length. -> Ranges, NoBlock: the first that is not there, or not all of it"""

    prefix: str
    rows: Annotated[tuple[tuple[str, Count, Count], ...], msgspec.Meta(max_length=RANGES_MAX)]

    def __post_init__(self) -> None:
        if sum(length_bytes for _, _, length_bytes in self.rows) > PIECE_BYTES_MAX:
            raise ValueError(f"more than {PIECE_BYTES_MAX} bytes in one request")


class Ranges(Message, frozen=True):
    """What was asked for, one after another."""

    data: bytes


class GetFiles(Message, frozen=True):
    """In which files do you have these map outputs? ``names`` are without the ``prefix``. From
    a node on the same machine. -> Files"""

    prefix: str
    names: Annotated[tuple[str, ...], msgspec.Meta(max_length=RANGES_MAX)]


class FilePlace(msgspec.Struct, frozen=True, array_like=True):
    """Where a map output is. ``path`` "": in no file, or not there at all."""

    path: str
    device: int
    inode: int
    size_bytes: int


class Files(Message, frozen=True):
    files: tuple[FilePlace, ...]  # in the order of the question


# ------------------------------------------------------------------ repair


class CompareArc(Message, frozen=True):
    """My blocks in the arc (after, upto] have this digest; what are yours?
    -> ArcEqual, ArcBlocks, ArcParts. See ``core/repair``."""

    after: Bytes20
    upto: Bytes20
    digest: bytes


class ArcEqual(Message, frozen=True):
    """The same digest: the same blocks."""


class ArcBlocks(Message, frozen=True):
    """Another one; these few are all I have there."""

    refs: tuple[BlockRef, ...]


class ArcParts(Message, frozen=True):
    """Another one, and too many to list: the digest of each of so many equal parts."""

    digests: tuple[bytes, ...]


class ArcEnds(msgspec.Struct, frozen=True, array_like=True):
    after: Bytes20
    upto: Bytes20


class GetArcs(Message, frozen=True):
    """How much do you hold in each of these arcs? -> ArcSummaries"""

    arcs: tuple[ArcEnds, ...]


class ArcSummary(msgspec.Struct, frozen=True, array_like=True):
    blocks: int
    size_bytes: int
    digest: bytes  # as in CompareArc: equal where the blocks are


class ArcSummaries(Message, frozen=True):
    arcs: tuple[ArcSummary, ...]  # in the order of the question


class WhichMissing(Message, frozen=True):
    """Which of these blocks do you not hold whole? -> MissingBlocks"""

    refs: tuple[BlockRef, ...]


class EndedJob(msgspec.Struct, frozen=True, array_like=True):
    """A job whose blocks were deleted: all, or those that only a running job needs."""

    job_id: str
    blocks: bool


class MissingBlocks(Message, frozen=True):
    missing: tuple[int, ...]  # which of those asked for, counted from 0
    different: tuple[int, ...]  # those under whose name other bytes are held
    surplus: tuple[int, ...]  # those that are held, and may be deleted at any moment
    ended: tuple[EndedJob, ...]  # jobs of theirs that were deleted here lately


class DamagedBlock(Message, frozen=True):
    """Your copy does not have the bytes that I was promised: see to it. -> Done"""

    ref: BlockRef
