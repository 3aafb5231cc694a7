"""Frames that a node must not read.

They are made by hand. After each the node still answers others, its loops live, and nothing of what
came was decoded by anything but our own cutting of bytes.
"""

from __future__ import annotations

import json
import marshal
import pickle
import random
import struct
import zlib
from itertools import product

import cloudpickle
import msgspec
import pytest
import serpent
from pyro_by_hand import (
    BATCH,
    CALL,
    COMPRESSED,
    CONNECT,
    CONNECTFAIL,
    CONNECTOK,
    EXCEPTION,
    INVOKE,
    ITEMSTREAM,
    KEEPSERIALIZED,
    META_ON_CONNECT,
    ONEWAY,
    OURS,
    PING,
    PING_REQUEST,
    RESULT,
    Hand,
    Hands,
    Node,
)

from map_reduce.core.identifiers import Address
from map_reduce.transport import wire
from map_reduce.transport.pyro_channel import BODY_BYTES_MAX


def encoded(value: dict[str, str] | list[object]) -> dict[int, bytes]:
    """A value as Pyro4's serializers would send it, by their numbers."""
    by_pickle = pickle.dumps(value)
    return {
        1: serpent.dumps(value),
        2: json.dumps(value).encode(),
        3: marshal.dumps(value),
        4: by_pickle,
        5: by_pickle,
        6: msgspec.msgpack.encode(value),
        7: cloudpickle.dumps(value),
        8: by_pickle,
    }


GREETINGS = encoded({"handshake": "map-reduce/3", "object": "Pyro.Daemon"})
HELLO = b"hmap-reduce/3 control " + b"1" * 32
CALLS = {
    **encoded(["map_reduce", "rpc", ["data"], {}]),
    2: json.dumps({"object": "x", "method": "rpc", "params": ["data"], "kwargs": {}}).encode(),
}


@pytest.mark.parametrize("serializer", [*range(1, 9), 0, 42, 65535])
def test_other_serializers_are_never_asked(
    node: Node, hands: Hands, trap: list[str], serializer: int
) -> None:
    newcomer = hands(node.address)
    newcomer.send(Hand.frame(CONNECT, GREETINGS.get(serializer, b""), serializer=serializer))
    assert newcomer.receive() == b""
    greeted = hands(node.address)
    assert greeted.greet()[24:].startswith(b"hmap-reduce/3 bulk")
    body = CALLS.get(serializer, b"")
    greeted.send(Hand.frame(INVOKE, body, serializer=serializer))
    assert greeted.receive() == b""
    node.assert_unharmed()


@pytest.mark.parametrize("body", [*CALLS.values(), CALL, b"", b"c", b"h", b"b"])
def test_their_bytes_under_our_number_stay_bytes(
    node: Node, hands: Hands, trap: list[str], body: bytes
) -> None:
    newcomer = hands(node.address)
    newcomer.send(Hand.frame(CONNECT, body))
    assert newcomer.receive()[6:8] in (b"", struct.pack("!H", CONNECTFAIL))
    greeted = hands(node.address)
    greeted.greet()
    greeted.send(Hand.frame(INVOKE, CALL + body))
    reply = wire.decode_reply(greeted.receive()[25:])
    assert "request not understood" in str(reply)
    greeted.send(Hand.frame(INVOKE, b"x" + body))
    assert greeted.receive() == b""
    assert node.handled == []
    node.assert_unharmed()


@pytest.mark.parametrize(
    "flag", [EXCEPTION, COMPRESSED, ONEWAY, BATCH, META_ON_CONNECT, ITEMSTREAM, KEEPSERIALIZED, 128]
)
def test_no_flag_is_understood(node: Node, hands: Hands, trap: list[str], flag: int) -> None:
    request = CALL + wire.encode_request(PING_REQUEST)
    bodies = {COMPRESSED: zlib.compress(request)}
    newcomer = hands(node.address)
    newcomer.send(Hand.frame(CONNECT, HELLO, flags=flag))
    assert newcomer.receive() == b""
    greeted = hands(node.address)
    greeted.greet()
    greeted.send(Hand.frame(INVOKE, bodies.get(flag, request), flags=flag))
    assert greeted.receive() == b""
    assert node.handled == []
    node.assert_unharmed()


def test_a_small_frame_that_would_inflate_is_refused(
    node: Node, hands: Hands, trap: list[str]
) -> None:
    bomb = zlib.compress(bytes(1 << 26), 9)
    for kind, flags in product((CONNECT, INVOKE), (0, COMPRESSED)):
        hand = hands(node.address)
        if kind == INVOKE:
            hand.greet()
        hand.send(Hand.frame(kind, bomb, flags=flags))
        assert hand.receive() == b""
    node.assert_unharmed()


def test_no_annotation_is_read(node: Node, hands: Hands, trap: list[str]) -> None:
    blob = marshal.dumps(("info", "map_reduce", "rpc"))
    for name, value in ((b"BLBI", blob), (b"CORR", bytes(16)), (b"HMAC", bytes(20))):
        annotation = struct.pack("!4sH", name, len(value)) + value
        for flags in (0, KEEPSERIALIZED):
            hand = hands(node.address)
            hand.greet()
            hand.send(Hand.frame(INVOKE, CALL, flags=flags, annotations=annotation))
            assert hand.receive() == b""
    node.assert_unharmed()


@pytest.mark.parametrize(
    ("target", "method"),
    [
        *product(["Pyro.Daemon"], ["registered", "info", "ping", "get_metadata", "close_stream"]),
        *product(["map_reduce"], ["__getattr__", "__init__", "_handler", "rpc.__func__", "", "x"]),
        ("", "rpc"),
        ("x" * 60, "rpc"),
        ("map_reduce", "rpc\r"),
        ("map_reduce", "\xe4"),
    ],
)
def test_only_one_method_of_one_object_is_there(
    node: Node, hands: Hands, caplog: pytest.LogCaptureFixture, target: str, method: str
) -> None:
    hand = hands(node.address)
    hand.greet()
    hand.send(Hand.frame(INVOKE, f"c{target}\n{method}\nmap_reduce".encode()))
    assert hand.receive() == b""
    assert node.handled == []
    assert "Traceback" not in caplog.text  # refused, rather than called and failed
    node.assert_unharmed()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"!" * 24,
        Hand.frame(CONNECT, HELLO, tag=b"pyro"),
        Hand.frame(CONNECT, HELLO, version=47),
        Hand.frame(CONNECT, HELLO)[:-14] + b"\xff" * 14,
        Hand.frame(INVOKE, CALL + wire.encode_request(PING_REQUEST)),  # without a greeting
        Hand.frame(PING, b"ping"),
        Hand.frame(RESULT, b"b"),
        Hand.frame(CONNECT, size=513),
        Hand.frame(CONNECT, size=-1),
        Hand.frame(CONNECT, size=0x7FFFFFFF),
    ],
    ids=range(11),
)
def test_who_does_not_greet_in_order_hears_nothing(node: Node, hands: Hands, data: bytes) -> None:
    hand = hands(node.address)
    hand.send(data)
    assert hand.receive() == b""
    assert node.handled == []
    node.assert_unharmed()


@pytest.mark.parametrize(
    "hello",
    [
        *(b"hhello", b"h", b"hmap-reduce/3", b"bmap-reduce/3"),
        *(b"hmap-reduce/1 control", b"hmap-reduce/3 control", b"hmap-reduce/3 control 1"),
        *(b"hmap-reduce/1" + HELLO[13:], HELLO + b"1", HELLO + b" 1", HELLO.replace(b"con", b"")),
    ],
)
def test_the_wrong_greeting_gets_no_further(node: Node, hands: Hands, hello: bytes) -> None:
    hand = hands(node.address)
    hand.send(Hand.frame(CONNECT, hello))
    reply = hand.receive()
    assert reply[6:8] in (b"", struct.pack("!H", CONNECTFAIL))
    assert b"bulk" not in reply
    hand.send(Hand.frame(INVOKE, CALL + wire.encode_request(PING_REQUEST)))
    assert hand.receive() == b""
    assert node.handled == []
    node.assert_unharmed()


def test_the_bulk_daemon_wants_to_be_the_one_that_is_meant(node: Node, hands: Hands) -> None:
    _, _, port, instance = hands(node.address).greet()[25:].decode().split()
    bulk = Address(node.address.host, int(port))
    for plane in ("control", "", instance[:-1]):
        hand = hands(bulk)
        assert hand.greet(plane)[6:8] == struct.pack("!H", CONNECTFAIL)
        assert hand.receive() == b""
    assert hands(bulk).greet(instance)[6:8] == struct.pack("!H", CONNECTOK)
    node.assert_unharmed()


@pytest.mark.parametrize("size", [BODY_BYTES_MAX + 1, 0x7FFFFFFF, -1])
def test_a_frame_that_is_too_long_is_not_read(node: Node, hands: Hands, size: int) -> None:
    hand = hands(node.address)
    hand.greet()
    hand.send(Hand.frame(INVOKE, CALL, size=size))
    assert hand.receive() == b""
    node.assert_unharmed()


def test_random_frames(node: Node, hands: Hands) -> None:
    """Headers whose sum is right and whose rest is not, greeted or not."""
    draw = random.Random(4)
    for number in range(200):
        hand = hands(node.address)
        if number % 2:
            hand.greet()
        frame = Hand.frame(
            draw.choice([CONNECT, INVOKE, draw.randrange(1 << 16)]),
            draw.randbytes(draw.randrange(80)),
            flags=draw.choice([0, draw.randrange(1 << 16)]),
            serializer=draw.choice([OURS, draw.randrange(1 << 16)]),
            annotations=draw.choice([b"", draw.randbytes(8)]),
        )
        hand.send(draw.choice([frame, draw.randbytes(len(frame))]))
        hand.close()
    assert node.handled == []
    node.assert_unharmed()
