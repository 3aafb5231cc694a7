"""What a block procedure asks of its driver, besides messages to peers.

A driver carries out one effect at a time, answers it or throws the error named, and holds no lock
meanwhile. "Here" is whatever it moves bytes for: a node's store, or a client's memory or file.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import msgspec

from map_reduce.core.messages import BlockRef, EndedJob
from map_reduce.core.procedure import Ask, understood


class Load(msgspec.Struct, frozen=True):
    """Read a piece of a block that is here: ``length_bytes``, or what is left of it. -> bytes

    Raises:
        BlockMissingError: it is not here any more, or cannot be read.
    """

    ref: BlockRef
    offset: int
    length_bytes: int


class Keep(msgspec.Struct, frozen=True):
    """Keep a piece here. -> bool: whether the block is whole now, and safe.

    Raises:
        BlockCorruptError: all bytes came and do not match the digest; none are kept.
        Refused: there is no room.
    """

    ref: BlockRef
    offset: int
    data: bytes


class TakeOwn(msgspec.Struct, frozen=True):
    """Use the copy of this node's own store, where there is a sound one. -> bool

    Raises:
        BlockCorruptError: there is one, and it is damaged.
    """

    ref: BlockRef


class Adopt(msgspec.Struct, frozen=True):
    """Put what is here into this node's own store as a whole block; it is used up. -> None"""

    ref: BlockRef


class Verify(msgspec.Struct, frozen=True):
    """Check a block here against its digest. -> BlockRef | None: what it should have been, where
    it was damaged and is set aside now."""

    name: str


class Discard(msgspec.Struct, frozen=True):
    """Delete a block here. -> None"""

    ref: BlockRef


class End(msgspec.Struct, frozen=True):
    """Stop a job here, and delete its blocks. -> None"""

    job: EndedJob


class Allow(msgspec.Struct, frozen=True):
    """Answer when so many bytes may be moved. -> None

    Raises:
        Unreachable: no more are to be moved.
    """

    size_bytes: int


class Wait(msgspec.Struct, frozen=True):
    """Let time pass. -> None"""

    seconds: float


Effect = Ask | Load | Keep | TakeOwn | Adopt | Verify | Discard | End | Allow | Wait

T = TypeVar("T")

BlockProcedure = Generator[Effect, Any, T]
"""As a Procedure (``core/procedure.py``), with these effects."""


def request(ask: Ask, *kinds: type[Any]) -> BlockProcedure[Any]:
    """Ask, for a reply of one of ``kinds``.

    Raises:
        Unreachable: none came in time.
        Refused, ProtocolError: it is another one (``understood``).
    """
    reply = yield ask
    return understood(ask, reply, *kinds)
