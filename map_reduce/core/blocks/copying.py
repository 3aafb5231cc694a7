"""One block on its way between here and a peer, piece by piece.

One piece is under way at a time, and each waits until it is allowed (``Allow``), so whoever
drives these bounds how many bytes move in a second.
"""

from __future__ import annotations

from collections.abc import Sequence

from map_reduce.core.blocks.effects import Allow, BlockProcedure, Keep, Load, request
from map_reduce.core.digests import PIECE_BYTES, new_digest
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import (
    BlockRef,
    DamagedBlock,
    Done,
    GetPiece,
    NoBlock,
    Piece,
    PieceStored,
    PutPiece,
)
from map_reduce.core.procedure import Ask
from map_reduce.errors import (
    BlockCorruptError,
    BlockMissingError,
    ClusterError,
    Refused,
    Unreachable,
)


class NoRoomHere(Refused):
    """A piece that came cannot be kept, wherever it came from."""


def send(ref: BlockRef, peer: Member, *, piece_bytes: int = PIECE_BYTES) -> BlockProcedure[None]:
    """Give the peer a block that is here. It has it whole, checked and kept, when this returns.

    Raises:
        BlockMissingError: it is not here any more, or cannot be read.
        Unreachable: the peer does not answer.
        Refused: it does not take the block.
    """
    offset = 0
    while True:
        data: bytes = yield Load(ref, offset, piece_bytes)
        yield Allow(len(data))
        reply = yield from request(Ask(peer, PutPiece(ref, offset, data)), PieceStored)
        offset += len(data)
        if reply.complete:
            return
        if not data or offset >= ref.size_bytes:
            raise Refused(f"{peer} got all of block {ref.name} and is still waiting")


def receive(
    ref: BlockRef, source: Member, *, piece_bytes: int = PIECE_BYTES
) -> BlockProcedure[bool]:
    """Get a block of the peer, and keep it here; whether ``Keep`` called it whole.

    Raises:
        BlockMissingError: the peer does not have it.
        BlockCorruptError: its copy does not match the digest.
        Unreachable: the peer does not answer.
        Refused: it won't give it.
        NoRoomHere: there is no room here.
    """
    offset, digest = 0, new_digest()
    whole: bool = ref.size_bytes == 0 and (yield from _keep(ref, 0, b""))
    while offset < ref.size_bytes and not whole:
        length_bytes = min(piece_bytes, ref.size_bytes - offset)
        yield Allow(length_bytes)
        ask = Ask(source, GetPiece(ref.name, offset, length_bytes))
        reply = yield from request(ask, Piece, NoBlock)
        if isinstance(reply, NoBlock):
            raise BlockMissingError(f"{source} does not have block {ref.name}")
        if not reply.data or len(reply.data) > length_bytes:
            raise BlockCorruptError(f"{source} has another length of block {ref.name}")
        digest.update(reply.data)
        whole = yield from _keep(ref, offset, reply.data)
        offset += len(reply.data)
    if not whole and digest.digest() != ref.digest:
        raise BlockCorruptError(f"{source} has other bytes of block {ref.name}")
    return whole


def _keep(ref: BlockRef, offset: int, data: bytes) -> BlockProcedure[bool]:
    try:
        whole: bool = yield Keep(ref, offset, data)
    except Refused as error:
        raise NoRoomHere(str(error)) from error
    return whole


def fetch(
    ref: BlockRef,
    sources: Sequence[Member],
    silent: set[Member],
    *,
    piece_bytes: int = PIECE_BYTES,
) -> BlockProcedure[None]:
    """Get a block from the first of ``sources`` that gives it sound, and keep it here.

    ``silent`` are not asked, and who does not answer becomes one of them.

    Raises:
        BlockMissingError: none does; names what each said.
        NoRoomHere: there is no room here.
    """
    problems = []
    for source in sources:
        if source in silent:
            problems.append(f"{source} does not answer")
            continue
        try:
            whole = yield from receive(ref, source, piece_bytes=piece_bytes)
        except NoRoomHere:
            raise
        except BlockCorruptError:
            problems.append(f"{source} has a damaged copy")
            yield from tell_of_damage(ref, source)
        except ClusterError as error:
            if isinstance(error, Unreachable):
                silent.add(source)
            problems.append(str(error))
        else:
            if whole:
                return
            problems.append(f"what {source} gave of block {ref.name} is not whole")
    raise BlockMissingError(f"nobody gave block {ref.name}: {'; '.join(problems)}")


def tell_of_damage(ref: BlockRef, holder: Member) -> BlockProcedure[None]:
    """Have a holder look at its copy and mend it; a message that may be lost, for whoever
    reads there next will tell again."""
    try:
        yield from request(Ask(holder, DamagedBlock(ref)), Done)
    except ClusterError:
        return
