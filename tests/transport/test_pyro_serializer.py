"""The three kinds of values that stand in a frame, as Pyro4 itself would ask for them."""

from __future__ import annotations

import pickle
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.errors import ProtocolError
from map_reduce.transport.pyro_serializer import OpaqueSerializer, call_head

opaque = OpaqueSerializer()
names = st.text("abcdefghijklmnopqrstuvwxyz_.0123456789", max_size=20)


@given(names, names, st.binary(max_size=200))
def test_calls(target: str, method: str, argument: bytes) -> None:
    data, compressed = opaque.serializeCall(target, method, (argument,), {}, compress=False)
    assert data == call_head(target, method) + argument
    assert not compressed
    back = opaque.deserializeCall(data)
    assert back == (target, method, (argument,), {})


@given(st.binary(max_size=200))
def test_results_and_greetings(data: bytes) -> None:
    assert opaque.deserializeData(opaque.serializeData(data)[0]) == data
    text = data.hex()
    assert opaque.loads(opaque.dumps(text)) == text
    assert opaque.loads(opaque.dumps({"handshake": text})) == text


@given(st.binary(max_size=200))
def test_anything_else_is_a_protocol_error_or_still_bytes(data: bytes) -> None:
    for load in (opaque.loads, opaque.loadsCall):
        try:
            value = load(data)
        except ProtocolError:
            continue
        if isinstance(value, tuple):
            assert call_head(*value[:2]) + bytes(value[2][0]) == data
        else:
            assert opaque.dumps(value if isinstance(value, str) else bytes(value)) == data


def test_nothing_is_inflated() -> None:
    for load in (opaque.deserializeCall, opaque.deserializeData):
        with pytest.raises(ProtocolError, match="compressed"):
            load(zlib.compress(b"b" * 100), compressed=True)


@pytest.mark.parametrize("value", [1, None, [b"x"], {"a": "b"}, ValueError("x"), bytearray(b"x")])
def test_no_other_value_travels(value: object) -> None:
    with pytest.raises(ProtocolError, match=f"a {type(value).__name__} does not travel"):
        opaque.dumps(value)


def test_names_are_short_ascii_text() -> None:
    for data in (b"c" + b"x" * 70 + b"\nrpc\n", b"cmap\xff\nrpc\n", b"c", b"\n\n", pickle.dumps(1)):
        with pytest.raises(ProtocolError):
            opaque.loadsCall(data)
