"""Peers that mean harm, or are broken: what they send to a node, and what they answer to it.

The frames are made by hand (conftest.py). After each attack the node still answers others, its
loop lives, and nothing of what came was decoded by anything but our own cutting of bytes.
"""

from __future__ import annotations

import contextlib
import json
import marshal
import pickle
import random
import resource
import socket
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import cloudpickle
import msgspec
import pytest
import serpent
from conftest import (
    BATCH,
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
    RESULT,
    Hand,
)

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import Done, GetPiece, Message, Piece, Ping, Request
from map_reduce.errors import ClusterError, ProtocolError, Unreachable
from map_reduce.transport import wire
from map_reduce.transport.pyro import PyroTransport
from map_reduce.transport.pyro_channel import BODY_BYTES_MAX
from map_reduce.transport.pyro_server import ConnectionServer, Limits, ServedChannel, Stage

PATIENCE_S = 30.0
PING_REQUEST = Request("", None, Ping())
PIECE_REQUEST = Request("", None, GetPiece("a block", 0, 1))
CALL = b"cmap_reduce\nrpc\n"
FEW = 4  # handlers of the node under attack
GREETING_SENT = Hand.frame(CONNECT, b"hmap-reduce/1")

Hands = Callable[[Address], Hand]
Impostor = Callable[[Callable[[socket.socket], None]], Address]
Transports = Callable[..., PyroTransport]
Until = Callable[[Callable[[], bool]], None]


class Node:
    """A node under attack, and somebody else who needs it."""

    def __init__(self) -> None:
        self.handled: list[Message] = []
        self.pause = threading.Event()
        self.pause.set()
        limits = Limits(greeting_s_max=PATIENCE_S, frame_s_max=PATIENCE_S)
        self.transport = PyroTransport(
            request_handlers_max=FEW, bulk_handlers_max=FEW, limits=limits
        )
        self.address = self.transport.listen(Address("127.0.0.1", 0))
        self.transport.serve(self._handle)

    def _handle(self, request: Request) -> Message:
        self.handled.append(request.body)
        self.pause.wait(PATIENCE_S)
        return Piece(bytes(1 << 20), 1) if isinstance(request.body, GetPiece) else Done()

    def loops(self) -> int:
        return sum(thread.name.endswith(" loop") for thread in threading.enumerate())

    def stages(self) -> list[Stage]:
        """What the connections to the control daemon are doing."""
        served = self.transport._daemons[0].transportServer._served
        return [channel.stage_since[0] for channel in served.values()]

    def threads(self) -> int:
        """Connections that are being served."""
        return sum(" connection from " in thread.name for thread in threading.enumerate())

    def assert_unharmed(self) -> None:
        """It answers who calls it for the first time, on both planes."""
        with contextlib.closing(PyroTransport()) as other:
            assert other.call(self.address, PING_REQUEST, PATIENCE_S) == Done()
            assert other.call(self.address, PIECE_REQUEST, PATIENCE_S) == Piece(bytes(1 << 20), 1)
        assert self.loops() == 2


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.pause.set()
    node.transport.close()


@pytest.fixture
def client(transport: Transports) -> PyroTransport:
    return transport()


@pytest.fixture
def trap(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Springs where anything decodes by what Pyro4 knows, in the node or in the client."""
    sprung: list[str] = []

    def set_trap(module: object, name: str) -> None:
        original = getattr(module, name)

        def trapped(*args: object, **kwargs: object) -> object:
            caller = sys._getframe(1).f_globals["__name__"]
            if not caller.startswith("importlib"):  # which reads compiled modules by marshal
                sprung.append(f"{caller}: {module}.{name}")
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, trapped)

    for module, name in [
        (pickle, "loads"),
        (marshal, "loads"),
        (cloudpickle, "loads"),
        (serpent, "loads"),
        (json, "loads"),
        (zlib, "decompress"),
    ]:
        set_trap(module, name)
    yield sprung
    assert sprung == []


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


GREETINGS = encoded({"handshake": "map-reduce/1", "object": "Pyro.Daemon"})
CALLS = {
    **encoded(["map_reduce", "rpc", ["data"], {}]),
    2: json.dumps({"object": "x", "method": "rpc", "params": ["data"], "kwargs": {}}).encode(),
}


# ---------------------------------------------------- frames that a node must not read


@pytest.mark.parametrize("serializer", [*range(1, 9), 0, 42, 65535])
def test_other_serializers_are_never_asked(
    node: Node, hands: Hands, trap: list[str], serializer: int
) -> None:
    newcomer = hands(node.address)
    newcomer.send(Hand.frame(CONNECT, GREETINGS.get(serializer, b""), serializer=serializer))
    assert newcomer.receive() == b""
    greeted = hands(node.address)
    assert greeted.greet()[24:].startswith(b"hmap-reduce/1 bulk")
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
    newcomer.send(Hand.frame(CONNECT, b"hmap-reduce/1", flags=flag))
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
    node: Node, hands: Hands, target: str, method: str
) -> None:
    hand = hands(node.address)
    hand.greet()
    hand.send(Hand.frame(INVOKE, f"c{target}\n{method}\nmap_reduce".encode()))
    assert hand.receive() == b""
    assert node.handled == []
    node.assert_unharmed()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"!" * 24,
        Hand.frame(CONNECT, b"hmap-reduce/1", tag=b"pyro"),
        Hand.frame(CONNECT, b"hmap-reduce/1", version=47),
        Hand.frame(CONNECT, b"hmap-reduce/1")[:-14] + b"\xff" * 14,
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


@pytest.mark.parametrize("greeting", [b"hhello", b"h", b"hmap-reduce/2", b"bmap-reduce/1"])
def test_the_wrong_greeting_gets_no_further(node: Node, hands: Hands, greeting: bytes) -> None:
    hand = hands(node.address)
    reply = hand.greet(greeting)
    assert reply[6:8] in (b"", struct.pack("!H", CONNECTFAIL))
    assert b"bulk" not in reply
    hand.send(Hand.frame(INVOKE, CALL + wire.encode_request(PING_REQUEST)))
    assert hand.receive() == b""
    node.assert_unharmed()


def test_the_bulk_daemon_wants_its_token(node: Node, hands: Hands) -> None:
    _, _, port, token = hands(node.address).greet()[25:].decode().split()
    bulk = Address(node.address.host, int(port))
    for greeting in (b"hmap-reduce/1", b"h", b"h" + token[:-1].encode()):
        hand = hands(bulk)
        assert hand.greet(greeting)[6:8] == struct.pack("!H", CONNECTFAIL)
        assert hand.receive() == b""
    assert hands(bulk).greet(b"h" + token.encode())[6:8] == struct.pack("!H", CONNECTOK)
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


# ---------------------------------------------------- connections that only take room


def silent(hand: Hand) -> None:
    pass


def half_a_header(hand: Hand) -> None:
    hand.send(GREETING_SENT[:5])


def half_a_greeting(hand: Hand) -> None:
    hand.send(GREETING_SENT[:-3])


def greeted_and_idle(hand: Hand) -> None:
    hand.greet()


def half_a_request(hand: Hand) -> None:
    hand.greet()
    hand.send(Hand.frame(INVOKE, CALL, size=BODY_BYTES_MAX))


def never_reads_its_replies(hand: Hand) -> None:
    hand.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    hand.greet()
    ask = Hand.frame(INVOKE, CALL + wire.encode_request(PIECE_REQUEST))
    hand.send(ask * 8)


@pytest.mark.parametrize(
    "behave",
    [
        silent,
        half_a_header,
        half_a_greeting,
        greeted_and_idle,
        half_a_request,
        never_reads_its_replies,
    ],
    ids=lambda behave: behave.__name__,
)
def test_idlers_beyond_the_bound_keep_nobody_out(
    node: Node, hands: Hands, until: Until, behave: Callable[[Hand], None]
) -> None:
    for _ in range(5 * FEW):
        behave(hands(node.address))
    until(lambda: node.threads() >= FEW)
    node.assert_unharmed()
    until(lambda: node.threads() <= FEW)


def test_reset_after_garbage_while_the_pool_is_full(node: Node, hands: Hands) -> None:
    for _ in range(FEW):
        hands(node.address).greet()
    for number in range(200):
        hand = hands(node.address)
        hand.send(b"\xff" * (number % 25))
        hand.reset()
    node.assert_unharmed()


def test_resets_while_every_handler_is_at_work(
    node: Node, client: PyroTransport, hands: Hands, until: Until
) -> None:
    node.pause.clear()
    busy = [hands(node.address) for _ in range(FEW)]
    for hand in busy:
        hand.greet()
        hand.send(Hand.frame(INVOKE, CALL + wire.encode_request(PING_REQUEST)))
    until(lambda: len(node.handled) == FEW)
    for number in range(200):
        hand = hands(node.address)
        hand.send(b"\xff" * (number % 25))
        hand.reset()
    turned_away = hands(node.address)
    assert turned_away.receive() == b""
    with pytest.raises(Unreachable):
        client.call(node.address, PING_REQUEST, PATIENCE_S)
    node.pause.set()
    for hand in busy:  # none of those at work was given up
        assert wire.decode_reply(hand.receive()[25:]) == Done()
    node.assert_unharmed()


def test_a_newcomer_for_whom_there_is_no_memory_costs_nobody_else(
    node: Node,
    hands: Hands,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = ConnectionServer._admit
    failures = iter([MemoryError(), OSError("odd"), RuntimeError("can't start new thread")])

    def admit(server: ConnectionServer, channel: ServedChannel) -> bool:
        for failure in failures:
            raise failure
        return real(server, channel)

    monkeypatch.setattr(ConnectionServer, "_admit", admit)
    for _ in range(3):
        assert hands(node.address).receive() == b""
    until(lambda: caplog.text.count("a connection could not be taken") == 3)
    node.assert_unharmed()


def test_a_process_out_of_descriptors_accepts_again_later(
    node: Node, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as newcomer:
        resource.setrlimit(resource.RLIMIT_NOFILE, (newcomer.fileno() + 1, hard))
        try:
            newcomer.connect((node.address.host, node.address.port))
            until(lambda: "cannot accept a connection" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    node.assert_unharmed()


def test_who_works_is_kept_and_the_longest_idle_goes(
    node: Node, hands: Hands, until: Until
) -> None:
    node.pause.clear()
    working = hands(node.address)
    working.greet()
    working.send(Hand.frame(INVOKE, CALL + wire.encode_request(PING_REQUEST)))
    until(lambda: len(node.handled) == 1)
    sending = hands(node.address)
    half_a_request(sending)
    until(lambda: Stage.RECEIVING in node.stages())
    idle = [hands(node.address) for _ in range(FEW - 2)]
    for number, hand in enumerate(idle, 1):
        hand.greet()
        until(lambda expected=number: node.stages().count(Stage.IDLE) == expected)  # type: ignore[misc]
    quiet = hands(node.address)
    assert idle[0].receive() == b""  # it made room for the quiet one
    hands(node.address).greet()
    assert quiet.receive() == b""  # which had not greeted, and so went before idle[1]
    node.pause.set()
    assert wire.decode_reply(working.receive()[25:]) == Done()
    idle[1].send(Hand.frame(INVOKE, CALL + wire.encode_request(PING_REQUEST)))
    assert wire.decode_reply(idle[1].receive()[25:]) == Done()


@pytest.mark.skipif(not hasattr(socket, "SO_BINDTODEVICE"), reason="127.0.0.2 is Linux's alone")
def test_an_address_at_its_bound_pushes_out_only_its_own(
    hands: Hands, transport: Transports
) -> None:
    node = transport(request_handlers_max=4, limits=Limits(connections_per_address_max=2))
    address = node.listen(Address("127.0.0.1", 0))
    node.serve(lambda request: Done())

    def connect_from(host: str) -> Hand:
        hand = hands(address)
        hand.close()
        hand.sock = socket.create_connection(
            (address.host, address.port), PATIENCE_S, source_address=(host, 0)
        )
        assert hand.greet()
        return hand

    others = connect_from("127.0.0.3")
    greedy = [connect_from("127.0.0.2") for _ in range(6)]
    for hand in greedy[:4]:
        assert hand.receive() == b""
    for hand in (others, *greedy[4:]):
        hand.send(Hand.frame(INVOKE, CALL + wire.encode_request(PING_REQUEST)))
        assert wire.decode_reply(hand.receive()[25:]) == Done()
        hand.close()


@pytest.mark.parametrize("stage", ["greeting", "idle", "frame"])
def test_each_stage_has_its_time(hands: Hands, transport: Transports, stage: str) -> None:
    short: dict[str, float] = {f"{stage}_s_max": 0.1}
    node = transport(limits=Limits(**short))  # type: ignore[arg-type]
    address = node.listen(Address("127.0.0.1", 0))
    node.serve(lambda request: Done())
    hand = hands(address)
    if stage != "greeting":
        assert hand.greet() != b""
    if stage == "frame":
        hand.send(Hand.frame(INVOKE, CALL, size=1000))
    assert hand.receive() == b""


@pytest.mark.parametrize("stage", ["greeting", "frame"])
def test_a_drop_now_and_then_does_not_keep_a_connection(
    hands: Hands, transport: Transports, stage: str
) -> None:
    node = transport(limits=Limits(greeting_s_max=0.2, frame_s_max=0.2))
    address = node.listen(Address("127.0.0.1", 0))
    node.serve(lambda request: Done())
    hand = hands(address)
    data = GREETING_SENT
    if stage == "frame":
        assert hand.greet() != b""
        data = Hand.frame(INVOKE, CALL, size=1 << 20) + bytes(1 << 20)
    hand.sock.settimeout(0.02)
    ended = False
    for place in range(len(data)):
        try:
            hand.sock.send(data[place : place + 1])
            ended = hand.sock.recv(100) == b""
        except TimeoutError:
            continue
        except ConnectionError:
            ended = True
        break
    assert ended


# ---------------------------------------------------- servers that a client must survive


def greet_well(sock: socket.socket) -> None:
    sock.recv(65536)
    sock.sendall(Hand.frame(CONNECTOK, b"hmap-reduce/1 bulk 9 token"))
    sock.recv(65536)


def instead_of_a_greeting(answer: bytes) -> Callable[[socket.socket], None]:
    def behave(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(answer)
        sock.recv(65536)

    return behave


def instead_of_a_reply(answer: bytes) -> Callable[[socket.socket], None]:
    def behave(sock: socket.socket) -> None:
        greet_well(sock)
        sock.sendall(answer)
        sock.recv(65536)

    return behave


PICKLED = pickle.dumps(ValueError("hello"))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        *(Hand.frame(CONNECTOK, PICKLED, serializer=number) for number in range(9)),
        Hand.frame(CONNECTOK, PICKLED),
        Hand.frame(CONNECTOK, zlib.compress(PICKLED), flags=COMPRESSED),
        Hand.frame(CONNECTOK, b"hmap-reduce/1 bulk 9 token", flags=META_ON_CONNECT),
        Hand.frame(CONNECTOK, b"hmap-reduce/1 bulk 9 token", annotations=b"CORR\x00\x00"),
        Hand.frame(CONNECTOK, b"hmap-reduce/2 bulk 9 token"),
        Hand.frame(CONNECTOK, b"hmap-reduce/1 bulk -9 token"),
        Hand.frame(CONNECTOK, b"hmap-reduce/1"),
        Hand.frame(CONNECTOK, b"h" + b"x" * 1000),
        Hand.frame(CONNECTOK, size=0x7FFFFFFF),
        Hand.frame(CONNECTFAIL, b"hgo away"),
        Hand.frame(CONNECTFAIL, PICKLED, serializer=4),
        Hand.frame(RESULT, b"b"),
        b"",
    ],
)
@pytest.mark.parametrize("request_", [PING_REQUEST, PIECE_REQUEST], ids=["control", "bulk"])
def test_greetings_of_impostors(
    client: PyroTransport, impostor: Impostor, trap: list[str], answer: bytes, request_: Request
) -> None:
    address = impostor(instead_of_a_greeting(answer))
    with pytest.raises((ProtocolError, Unreachable), match=str(address)):
        client.call(address, request_, PATIENCE_S if answer else 0.1)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        *(Hand.frame(RESULT, PICKLED, serializer=number, sequence=1) for number in range(9)),
        Hand.frame(RESULT, PICKLED, flags=EXCEPTION, sequence=1),
        Hand.frame(RESULT, PICKLED, flags=EXCEPTION, sequence=1, serializer=4),
        Hand.frame(RESULT, PICKLED, sequence=1),
        Hand.frame(RESULT, b"b" + PICKLED, sequence=1),
        Hand.frame(RESULT, b"b" + b"\x91" * 100_000, sequence=1),
        Hand.frame(RESULT, b"hmap-reduce/1", sequence=1),
        Hand.frame(RESULT, b"b" + wire.encode_reply(Done()), sequence=2),
        Hand.frame(RESULT, b"b", flags=ITEMSTREAM, sequence=1),
        Hand.frame(RESULT, zlib.compress(bytes(1 << 26)), flags=COMPRESSED, sequence=1),
        Hand.frame(RESULT, b"", size=BODY_BYTES_MAX + 1, sequence=1),
        Hand.frame(CONNECTOK, b"hmap-reduce/1 bulk 9 token"),
    ],
)
def test_replies_of_impostors(
    client: PyroTransport, impostor: Impostor, trap: list[str], answer: bytes
) -> None:
    address = impostor(instead_of_a_reply(answer))
    with pytest.raises(ProtocolError, match=str(address)):
        client.call(address, PING_REQUEST, PATIENCE_S)


def test_an_honest_answer_by_hand_is_taken(client: PyroTransport, impostor: Impostor) -> None:
    """So that the tests above fail for their own reason."""
    answer = Hand.frame(RESULT, b"b" + wire.encode_reply(Done()), sequence=1)
    address = impostor(instead_of_a_reply(answer))
    assert client.call(address, PING_REQUEST, PATIENCE_S) == Done()


def trickle(data: bytes) -> Callable[[socket.socket], None]:
    def behave(sock: socket.socket) -> None:
        pause = threading.Event()
        for place in range(len(data)):
            sock.sendall(data[place : place + 1])
            pause.wait(0.01)

    return behave


def greet_and_trickle(sock: socket.socket) -> None:
    greet_well(sock)
    trickle(Hand.frame(RESULT, b"b" + bytes(100_000), sequence=1))(sock)


@pytest.mark.parametrize(
    "behave", [trickle(GREETING_SENT * 1000), greet_and_trickle], ids=["greeting", "reply"]
)
def test_a_server_that_trickles_is_left_at_the_deadline(
    client: PyroTransport, impostor: Impostor, behave: Callable[[socket.socket], None]
) -> None:
    address = impostor(behave)
    with pytest.raises((Unreachable, ProtocolError)):
        client.call(address, PING_REQUEST, 0.3)


def test_a_server_that_does_not_read_is_left_at_the_deadline(
    client: PyroTransport, impostor: Impostor
) -> None:
    release = threading.Event()

    def behave(sock: socket.socket) -> None:
        greet_well(sock)
        release.wait(PATIENCE_S)

    address = impostor(behave)
    body = Request("", None, Piece(bytes(4_000_000), 1))
    with pytest.raises(Unreachable, match=r"within 0\.3 s"):
        client.call(address, body, 0.3)
    release.set()


def test_a_reply_that_breaks_off_is_not_asked_for_again(
    client: PyroTransport, impostor: Impostor
) -> None:
    asked: list[int] = []

    def behave(sock: socket.socket) -> None:
        greet_well(sock)
        sock.sendall(Hand.frame(RESULT, b"b" + wire.encode_reply(Done()), sequence=1))
        sock.recv(65536)
        asked.append(1)
        sock.sendall(Hand.frame(RESULT, b"b" + wire.encode_reply(Done()), sequence=2)[:20])

    address = impostor(behave)
    assert client.call(address, PING_REQUEST, PATIENCE_S) == Done()
    with pytest.raises(Unreachable, match="closed the connection"):
        client.call(address, PING_REQUEST, PATIENCE_S)
    assert asked == [1]


def test_many_attackers_at_once(node: Node, client: PyroTransport) -> None:
    """All of the above connections together, from several threads, while others call."""
    draw = random.Random(5)
    behaviours = [silent, half_a_header, half_a_greeting, greeted_and_idle, half_a_request]
    made: list[Hand] = []

    def attack(number: int) -> None:
        hand = Hand(node.address)
        made.append(hand)
        behaviours[number % len(behaviours)](hand)
        if draw.random() < 0.5:
            hand.reset()

    answered = 0
    with ThreadPoolExecutor(4) as threads:
        attacks = [threads.submit(attack, number) for number in range(200)]
        while not all(attack.done() for attack in attacks):
            try:
                answered += client.call(node.address, PING_REQUEST, PATIENCE_S) == Done()
            except ClusterError:
                continue  # it may be turned away now and then, but not for long
    for hand in made:
        hand.close()
    assert answered
    node.assert_unharmed()
