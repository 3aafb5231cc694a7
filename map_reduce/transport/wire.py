"""Messages as bytes: msgpack, checked against the types of ``core/messages``.

A request is the array ``[cluster_id, sender, body]``, a body or a reply the array
``[name of its type, fields...]``. Reading checks every type and length; bytes that are not a
message raise :class:`~map_reduce.errors.ProtocolError` and nothing else. No size that the bytes
claim is believed before as many bytes are there, so a few bytes cannot ask for much memory.

Elements after the last known field of a message are ignored: a later version may append fields.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, TypeVar

import msgspec

from map_reduce.core.identifiers import Member
from map_reduce.core.messages import MESSAGES, Message, Request
from map_reduce.core.messages.base import NOT_DECODABLE
from map_reduce.errors import ProtocolError

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""The longest encoded request or reply that is sent or read."""

if TYPE_CHECKING:
    _AnyMessage = Message
else:
    _AnyMessage = reduce(or_, MESSAGES)


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A Request as it is read: msgspec looks for a tag only where it knows the choices."""

    cluster_id: str
    sender: Member | None
    body: _AnyMessage


Readable = TypeVar("Readable")

_encoder = msgspec.msgpack.Encoder()
_request_decoder = msgspec.msgpack.Decoder(_Envelope)
_reply_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(_AnyMessage)


def encode_request(request: Request) -> bytes:
    """The bytes of a request.

    Raises:
        ProtocolError: it is longer than MESSAGE_BYTES_MAX, or a field's value has no encoding.
    """
    return _encode(request, type(request.body).__name__)


def decode_request(data: bytes | memoryview) -> Request:
    """The request that stands in the bytes.

    Raises:
        ProtocolError: they are not a request.
    """
    envelope = _decode(_request_decoder, data, "request")
    return Request(envelope.cluster_id, envelope.sender, envelope.body)


def encode_reply(reply: Message) -> bytes:
    """The bytes of a reply.

    Raises:
        ProtocolError: as by :func:`encode_request`.
    """
    return _encode(reply, type(reply).__name__)


def decode_reply(data: bytes | memoryview) -> Message:
    """The reply that stands in the bytes.

    Raises:
        ProtocolError: they are not a message.
    """
    return _decode(_reply_decoder, data, "reply")


def _encode(value: Request | Message, name: str) -> bytes:
    try:
        data = _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ProtocolError(f"a {name} cannot be encoded: {error}") from error
    if len(data) > MESSAGE_BYTES_MAX:
        raise ProtocolError(
            f"a {name} of {len(data)} bytes was not sent: a message may have "
            f"{MESSAGE_BYTES_MAX} bytes; what is larger travels as a block, in pieces"
        )
    return data


def _decode(
    decoder: msgspec.msgpack.Decoder[Readable], data: bytes | memoryview, noun: str
) -> Readable:
    if len(data) > MESSAGE_BYTES_MAX:
        raise ProtocolError(f"a {noun} of {len(data)} bytes; it may have {MESSAGE_BYTES_MAX}")
    try:
        return decoder.decode(data)
    except NOT_DECODABLE as error:
        raise ProtocolError(f"{len(data)} bytes are not a {noun}: {error}") from error
