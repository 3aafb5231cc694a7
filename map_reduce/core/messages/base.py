"""What every message is, and the replies that any request may get."""

from __future__ import annotations

from typing import Annotated

import msgspec

NOT_DECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not what they should be: text that is not UTF-8 and
arrays too deep in one another have errors of Python's own."""

COUNT_MAX = 1 << 41
"""Of bytes and records in one block, split or attempt. As many of these as a specification may name
add up to less than 2^63, which is what a message can carry."""

Priority = Annotated[float, msgspec.Meta(ge=0.01, le=100.0)]
"""A job's share of the slots against that of others: a weight to divide by."""

Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=366 * 86400.0)]
MebiBytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 20)]
Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
"""A number of bytes, or a place among them."""

Bytes20 = bytes  # an identifier, big-endian: msgpack has no 160-bit integers


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Base of all messages."""


class Done(Message, frozen=True):
    """It is done; there is nothing to tell."""


class Busy(Message, frozen=True):
    """Alive, but in the middle of something that must not be seen half done. Ask again."""


class No(Message, frozen=True):
    """Understood and refused; ``reason`` is a sentence for people."""

    reason: str


class WrongCluster(Message, frozen=True):
    """The request named another cluster than this node's."""

    cluster_id: str


def identifier_bytes(identifier: int) -> Bytes20:
    return identifier.to_bytes(20, "big")
