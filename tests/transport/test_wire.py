"""Messages as bytes: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
import types
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.messages import (
    MESSAGES,
    RANGES_MAX,
    BlockRef,
    GetPiece,
    GetRanges,
    Message,
    No,
    Piece,
    Ping,
    PutPiece,
    ReduceWork,
    Request,
)
from map_reduce.core.messages.blocks import PIECE_BYTES_MAX
from map_reduce.errors import ProtocolError
from map_reduce.transport import wire


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that occurs in messages."""
    plain = {
        int: st.integers(-(1 << 63), (1 << 64) - 1),
        str: st.text(max_size=20),
        bytes: st.binary(max_size=50),
        bool: st.booleans(),
        float: st.floats(allow_nan=False),
        type(None): st.none(),
    }
    if kind in plain:
        return plain[kind]
    if get_origin(kind) is Annotated:
        bare, bounds = get_args(kind)
        if bounds.max_length is not None:
            return values(bare)  # which are short, all of them
        if bare is float:
            return st.floats(bounds.ge, bounds.le)
        return st.integers(bounds.ge, (1 << 63) - 1 if bounds.le is None else bounds.le)
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return st.one_of(*map(values, get_args(kind)))
    if get_origin(kind) is tuple and get_args(kind)[-1] is not Ellipsis:
        return st.tuples(*map(values, get_args(kind)))
    if get_origin(kind) is tuple:
        return st.lists(values(get_args(kind)[0]), max_size=3).map(tuple)
    if get_origin(kind) is dict:
        return st.dictionaries(*map(values, get_args(kind)), max_size=3)
    assert issubclass(kind, msgspec.Struct), kind
    hints = get_type_hints(kind, include_extras=True)
    made = {ReduceWork: reduce_work, GetRanges: get_ranges}.get(kind, kind)
    return st.builds(made, **{name: values(hints[name]) for name in kind.__struct_fields__})


def reduce_work(nodes: Any, rows: Any, **rest: Any) -> ReduceWork:
    """Its rows name nodes by their place: what is drawn for that is brought into range."""
    named = tuple((row[0] % len(nodes), *row[1:]) for row in rows) if nodes else ()
    return ReduceWork(nodes=nodes, rows=named, **rest)


def get_ranges(prefix: str, rows: Any) -> GetRanges:
    """The lengths of its three rows have a bound together, into which they are brought."""
    return GetRanges(prefix, tuple((*row[:2], row[2] % (PIECE_BYTES_MAX // 3)) for row in rows))


messages = st.one_of(*map(values, MESSAGES))
requests = st.builds(
    Request, st.text(max_size=20), values(get_type_hints(Request)["sender"]), messages
)


@given(requests)
def test_a_request_comes_out_as_it_went_in(request: Request) -> None:
    back = wire.decode_request(wire.encode_request(request))
    assert back == request
    assert type(back) is Request
    assert type(back.body) is type(request.body)


@given(messages)
def test_a_reply_comes_out_as_it_went_in(reply: Message) -> None:
    for data in (wire.encode_reply(reply), memoryview(wire.encode_reply(reply))):
        back = wire.decode_reply(data)
        assert back == reply
        assert type(back) is type(reply)


def check_request_or_protocol_error(data: bytes) -> None:
    try:
        request = wire.decode_request(data)
    except ProtocolError:
        return
    assert isinstance(request, Request)
    assert type(request.body) in MESSAGES
    encoded = wire.encode_request(request)  # compared, as what is damaged may hold a NaN
    assert wire.encode_request(wire.decode_request(encoded)) == encoded


@given(st.binary(max_size=200))
def test_garbage_is_a_protocol_error(data: bytes) -> None:
    check_request_or_protocol_error(data)
    with contextlib.suppress(ProtocolError):
        assert type(wire.decode_reply(data)) in MESSAGES


@given(requests, st.data())
def test_damaged_requests_are_protocol_errors_or_other_requests(
    request: Request, data: st.DataObject
) -> None:
    encoded = bytearray(wire.encode_request(request))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] = data.draw(st.integers(0, 255))
    check_request_or_protocol_error(bytes(encoded))


@given(requests, st.data())
def test_a_request_cut_short_is_a_protocol_error(request: Request, data: st.DataObject) -> None:
    encoded = wire.encode_request(request)
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    with pytest.raises(ProtocolError):
        wire.decode_request(cut)


def packed(*values: Any) -> bytes:
    return msgspec.msgpack.encode(values)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        packed("c", None),
        packed("c", None, ["Nothing"]),
        packed("c", None, ["Message"]),
        packed("c", None, ["Request", "c", None, ["Ping"]]),
        packed("c", None, ["No"]),
        packed("c", None, ["No", 5]),
        packed("c", None, ["No", b"bytes"]),
        packed(5, None, ["Ping"]),
        packed("c", ["127.0.0.1", 1], ["Ping"]),
        packed("c", None, {"type": "Ping"}),
        packed("c", None, ["Ping"]) + b"\x00",
        b"\x93\xa1c\xc0\x92\xa2No\xa1\xff",  # not UTF-8
        b"\x94" + packed("c", None, ["Ping"])[1:] + b"\x91" * 500_000 + b"\xc0",  # deep
    ],
    ids=range(14),
)
def test_what_is_not_a_request(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="bytes are not a request"):
        wire.decode_request(data)


@pytest.mark.parametrize("length", [1 << 20, 1 << 28, (1 << 32) - 1])
@pytest.mark.parametrize("opener", [b"\xdd", b"\xdf", b"\xdb", b"\xc6"], ids=lambda b: b.hex())
@pytest.mark.parametrize(
    "before",
    [b"", b"\x93\xa1c\xc0", b"\x93\xa1c\xc0\x95\xa7Cluster\xa1c", b"\x93\xa1c\xc0\x92\xa2No"],
)
def test_a_claimed_length_takes_no_memory(before: bytes, opener: bytes, length: int) -> None:
    data = before + opener + struct.pack(">I", length)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            wire.decode_request(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_fields_of_a_later_version_are_passed_over() -> None:
    later = packed("c", None, ["No", "why", "and more"], "and more")
    assert wire.decode_request(later) == Request("c", None, No("why"))


def test_the_length_is_bounded_in_both_directions() -> None:
    with pytest.raises(ProtocolError, match=r"Piece of 4194.* bytes was not sent.* 4194304 bytes"):
        wire.encode_reply(Piece(b"x" * wire.MESSAGE_BYTES_MAX, 1))
    long = b"\x00" * (wire.MESSAGE_BYTES_MAX + 1)
    for decode in (wire.decode_request, wire.decode_reply):
        with pytest.raises(ProtocolError, match="it may have 4194304"):
            decode(long)


@pytest.mark.parametrize(
    "body",
    [No("\ud800"), No(cast(str, object())), Piece(b"", 1 << 64)],
    ids=["surrogate", "object", "int"],
)
def test_what_has_no_encoding_is_refused_at_the_sender(body: Message) -> None:
    with pytest.raises(ProtocolError, match=f"a {type(body).__name__} cannot be encoded"):
        wire.encode_request(Request("c", None, body))


def test_the_bytes_of_one_request() -> None:
    """They are what nodes of one version agree on; a change here is a change of PROTOCOL."""
    assert wire.encode_request(Request("c", None, Ping())) == b"\x93\xa1c\xc0\x91\xa4Ping"


@pytest.mark.parametrize(
    "body",
    [
        GetPiece("a", -1, 1),
        GetPiece("a", 0, -1),
        GetPiece("a", 0, 1 << 40),
        GetRanges("", (("a", -1, 1),)),
        GetRanges("", (("a", 0, -1),)),
        GetRanges("", (("a", 0, 0),) * (RANGES_MAX + 1)),
        PutPiece(BlockRef("a", -1, b""), 0, b""),
        PutPiece(BlockRef("a", 1, b""), -1, b""),
    ],
)
def test_places_and_lengths_that_no_peer_asks_for(body: Message) -> None:
    data = wire.encode_request(Request("", None, body))
    with pytest.raises(ProtocolError):
        wire.decode_request(data)


def test_ranges_that_are_too_much_together_are_no_request() -> None:
    """Each by itself would be none too long."""
    right = Request("", None, GetRanges("p/", (("a", 0, PIECE_BYTES_MAX), ("b", 1 << 40, 0))))
    data = wire.encode_request(right)
    assert wire.decode_request(data) == right
    wrong = data.removesuffix(b"\x00") + b"\x01"  # the last length
    with pytest.raises(ProtocolError, match=str(PIECE_BYTES_MAX)):
        wire.decode_request(wrong)
