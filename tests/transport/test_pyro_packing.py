"""Deflated frames: when they are sent, what is measured for that, and what is refused."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyro_by_hand import INVOKE, RESULT, Hand

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import (
    BlockRef,
    GetPiece,
    Message,
    Piece,
    PieceStored,
    PutPiece,
    Request,
)
from map_reduce.errors import ProtocolError
from map_reduce.transport import pyro_channel, pyro_packing
from map_reduce.transport.pyro import PyroTransport
from map_reduce.transport.pyro_channel import BODY_BYTES_MAX, Channel
from map_reduce.transport.pyro_packing import (
    FASTEST_S_PER_BYTE,
    PACED_BYTES_MIN,
    SKIPPED_MAX,
    UNMEASURED_BYTES_MAX,
    Pace,
    Paces,
    Packer,
    Sharing,
    read_gauge,
    unpack,
)

COMPRESSED = 2
PATIENCE_S = 60.0
MIB = 1 << 20
SLOW_S_PER_BYTE = 1 / 1e6
SO_MAX_PACING_RATE = 47  # of asm-generic/socket.h; the kernel then sends no faster, on loopback too
SLOW_BYTES_PER_S = 2_000_000

on_linux = pytest.mark.skipif(
    not hasattr(socket, "TCP_INFO"), reason="nothing tells how slow the network is"
)


def soon() -> float:
    return time.monotonic() + PATIENCE_S


def slow_pace() -> Pace:
    pace = Pace("somewhere", Sharing())
    pace.took(MIB, MIB * SLOW_S_PER_BYTE, 0.0)
    return pace


# ------------------------------------------------------------------ when it pays


def test_nothing_is_tried_where_nothing_is_known() -> None:
    assert not Pace("somewhere", Sharing()).try_packing(4 * MIB)


@given(st.integers(1, 4 * MIB), st.floats(0, FASTEST_S_PER_BYTE * 0.99))
def test_nothing_is_tried_in_a_fast_network(size_bytes: int, s_per_byte: float) -> None:
    pace = Pace("somewhere", Sharing())
    pace.took(MIB, MIB * s_per_byte, 0.0)
    assert not pace.try_packing(size_bytes)


def test_a_step_of_the_kernels_clock_is_not_a_slow_network() -> None:
    pace = Pace("somewhere", Sharing())
    for network_s in [0.01, 0.0, 0.01, 0.01, 0.0]:
        pace.took(MIB, network_s, 0.0)
        assert not pace.try_packing(4 * MIB)
    pace = Pace("somewhere", Sharing())
    pace.took(MIB // 4, 0.01, 0.0)
    assert not pace.try_packing(4 * MIB)


def test_what_is_over_in_a_moment_is_not_tried() -> None:
    assert slow_pace().try_packing(2000)
    assert not slow_pace().try_packing(500)


@given(st.floats(0.01, 0.9), st.floats(0.0, 0.5))
def test_it_goes_on_while_it_pays(ratio: float, cost_share: float) -> None:
    pace = slow_pace()
    saved_s = MIB * (1 - ratio) * SLOW_S_PER_BYTE
    for _ in range(UNMEASURED_BYTES_MAX // MIB):
        assert pace.try_packing(MIB)
        assert pace.packed(MIB, int(MIB * ratio), saved_s * cost_share)


@pytest.mark.parametrize("size_bytes", [MIB // 4, MIB])
def test_what_deflates_to_next_to_nothing_does_not_hide_that_the_network_recovers(
    monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    """Such frames are too short to tell anything of the network."""
    s_per_byte, told = SLOW_S_PER_BYTE, pyro_packing.Reading(0, 0.0)
    monkeypatch.setattr(pyro_packing, "read_gauge", lambda sock: told)
    packer = Packer(Pace("somewhere", Sharing()))

    def deflated() -> bool:
        nonlocal told
        packed = packer.pack(cast(socket.socket, None), b"", bytes(size_bytes))
        length = size_bytes if packed is None else len(packed)
        assert packed is None or length < PACED_BYTES_MIN
        told = pyro_packing.Reading(told.acked_bytes + length, told.network_s + length * s_per_byte)
        return packed is not None

    while not deflated():
        pass
    per_round = UNMEASURED_BYTES_MAX // size_bytes
    many = [deflated() for _ in range(3 * per_round)]
    assert 3 * per_round * 0.9 < sum(many) < 3 * per_round  # looked at again now and then
    s_per_byte = FASTEST_S_PER_BYTE / 10
    assert sum(deflated() for _ in range(3 * per_round)) <= per_round


def skipped(pace: Pace) -> int:
    count = 0
    while not pace.try_packing(MIB):
        count += 1
    return count


@pytest.mark.parametrize(
    ("packed_bytes", "cost_s"),
    [(MIB + 100, 0.02), (MIB - 100, 0.02), (MIB // 2, 100.0)],
    ids=["longer", "hardly shorter", "processors are busy"],
)
def test_what_does_not_pay_is_tried_ever_more_rarely(packed_bytes: int, cost_s: float) -> None:
    pace = slow_pace()
    pauses = []
    for _ in range(8):
        pauses.append(skipped(pace))
        assert not pace.packed(MIB, packed_bytes, cost_s)
    assert pauses == [0, 2, 4, 8, 16, 32, 64, SKIPPED_MAX]
    skipped(pace)
    assert pace.packed(MIB, 1000, 0.001)  # the data changes, or the load
    assert skipped(pace) == 0


def test_what_is_made_already_is_sent_if_that_alone_pays() -> None:
    assert slow_pace().packed(MIB, MIB // 2, cost_s=0.5)  # saves 0.52 s, cost 0.5 + 0.17
    assert not slow_pace().packed(MIB, MIB // 2, cost_s=1.7)


@given(st.lists(st.tuples(st.integers(1, 4 * MIB), st.floats(0, 10)), min_size=1))
def test_the_pace_lies_between_what_was_measured(measured: list[tuple[int, float]]) -> None:
    pace = Pace("somewhere", Sharing())
    for number, (size_bytes, network_s) in enumerate(measured):
        pace.took(size_bytes, network_s, number * 100.0)
    pace.took(MIB, 1.0, 1e6)
    measured.append((MIB, 1.0))
    each = [network_s / size_bytes for size_bytes, network_s in measured]
    assert min(each) * 0.999 <= pace.network_s(1) <= max(each) * 1.001


def test_a_network_that_recovers_is_noticed() -> None:
    pace = slow_pace()
    for _ in range(20):
        pace.took(MIB, 0.0, 0.0)
    assert not pace.try_packing(MIB)


@pytest.mark.parametrize("connections", [1, 2, 7])
def test_those_that_send_at_the_same_time_are_counted(connections: int) -> None:
    sharing = Sharing()
    assert sharing.count() == 1
    for turn in range(100):
        for number in range(connections):
            sharing.took(turn + number * 1e-6, 0.9)
    assert sharing.count() == pytest.approx(connections, rel=0.01)
    for turn in range(200, 400):  # from now on one
        sharing.took(float(turn), 0.9)
    assert sharing.count() == pytest.approx(1, rel=0.05)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=50))
def test_never_less_than_one_is_counted(frames: list[tuple[float, float]]) -> None:
    sharing = Sharing()
    for began_s, network_s in frames:
        sharing.took(began_s, network_s)
    assert sharing.count() >= 1


def test_what_many_share_is_saved_once() -> None:
    """A connection of four that share 20 MB/s has 5: what it saves is not the time it waits."""
    sharing = Sharing()
    pace = Pace("somewhere", sharing)
    for turn in range(100):
        for _ in range(4):
            pace.took(MIB, MIB / 5e6, turn * MIB / 5e6)
    assert pace.network_s(20_000_000) == pytest.approx(1, rel=0.01)


def test_a_host_is_one_whatever_its_connections() -> None:
    paces = Paces()
    for host in [*map(str, range(5000)), "here"]:
        assert paces.packer(host)._pace is paces.packer(host)._pace
    assert len(paces._paces) <= 1024


# ------------------------------------------------------------------ what the kernel says


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname(), PATIENCE_S)
        other, _ = listener.accept()
    other.settimeout(PATIENCE_S)
    with one, other:
        yield one, other


def read_all(sock: socket.socket, size: int) -> None:
    while size:
        size -= len(sock.recv(size))


@on_linux
def test_a_slow_network_is_told(sockets: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = sockets
    sender.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, SLOW_BYTES_PER_S)
    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read_all, receiver, MIB)
        sender.sendall(bytes(MIB))
        reading.result(PATIENCE_S)
    told = read_gauge(sender)
    assert told is not None
    assert told.acked_bytes >= MIB - 65536  # of the last the acknowledgement may be on its way
    assert told.network_s > 0.5 * MIB / SLOW_BYTES_PER_S


@on_linux
def test_a_receiver_that_does_not_read_is_no_slow_network(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    sender, receiver = sockets
    size = 32 * MIB  # more than both ends keep
    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(sender.sendall, bytes(size))
        until_s, waited_s = soon(), 0.0
        while waited_s < 0.5 and time.monotonic() < until_s:
            told = sender.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
            waited_s = int.from_bytes(told[176:184], "little") / 1e6  # for the receiver
        read_all(receiver, size)
        sending.result(PATIENCE_S)
    told_at_end = read_gauge(sender)
    assert told_at_end is not None
    assert told_at_end.network_s < waited_s


def test_a_socket_that_is_gone_tells_nothing(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    sockets[0].close()
    assert read_gauge(sockets[0]) is None


# ------------------------------------------------------------------ frames


@pytest.fixture
def ends(sockets: tuple[socket.socket, socket.socket]) -> tuple[Channel, Channel]:
    """The first deflates all that it sends."""
    sender, receiver = map(Channel, sockets)
    sender.pack_by(_Always())
    receiver.pack_by(Packer(None))
    return sender, receiver


class _Always(Packer):
    def __init__(self) -> None:
        super().__init__(None)

    def pack(self, sock: socket.socket, head: bytes, body: bytes | memoryview) -> bytes | None:
        return zlib.compress(head + bytes(body), 1)


@pytest.mark.parametrize(
    "body",
    [b"", b"x", bytes(BODY_BYTES_MAX), os.urandom(MIB)],
    ids=["empty", "short", "longest", "random"],
)
def test_what_was_deflated_arrives_as_it_was(ends: tuple[Channel, Channel], body: bytes) -> None:
    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(ends[0].send, INVOKE, 7, body[:3], body[3:], soon())
        frame = ends[1].receive((INVOKE,), soon())
        sending.result(PATIENCE_S)
    assert tuple(frame) == (INVOKE, 7, body)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (zlib.compress(bytes(BODY_BYTES_MAX + 1)), "inflates to more than"),
        (zlib.compress(bytes(1 << 26)), "inflates to more than"),
        (zlib.compress(b"x" * 1000)[:-1], "ends too early"),
        (zlib.compress(bytes(BODY_BYTES_MAX))[:-1], "ends too early"),
        (zlib.compress(b"x" * 1000) + b"!", "something behind it"),
        (b"not deflated", "does not inflate"),
        (b"", "ends too early"),
    ],
    ids=["one too long", "bomb", "cut", "longest, cut", "more", "plain", "nothing"],
)
def test_what_is_refused(ends: tuple[Channel, Channel], body: bytes, why: str) -> None:
    ends[0].sock.sendall(Hand.frame(INVOKE, body, flags=COMPRESSED))
    with pytest.raises(ProtocolError, match=why):
        ends[1].receive((INVOKE,), soon())


def test_who_has_not_agreed_to_it_is_sent_none_and_takes_none(
    ends: tuple[Channel, Channel],
) -> None:
    bare = Channel(ends[1].sock)
    ends[0].send(RESULT, 1, b"", b"body", soon())
    with pytest.raises(ProtocolError, match="flags 0x2"):
        bare.receive((RESULT,), soon())


@given(st.binary(max_size=2000), st.integers(0, 2000))
def test_a_body_up_to_its_bound_is_inflated(body: bytes, bound: int) -> None:
    packed = bytearray(zlib.compress(body))
    if len(body) > bound:
        with pytest.raises(ProtocolError):
            unpack(packed, bound)
    else:
        assert unpack(packed, bound) == body


@given(st.binary(max_size=200) | st.binary(max_size=200).map(zlib.compress), st.integers(0, 300))
def test_any_bytes_inflate_or_are_refused(packed: bytes, cut: int) -> None:
    with contextlib.suppress(ProtocolError):
        assert len(unpack(bytearray(packed[:cut]), 100)) <= 100


# ------------------------------------------------------------------ between nodes


@pytest.fixture
def inflated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The length of each deflated frame that arrives in this process, as it came."""
    lengths: list[int] = []

    def counting(packed: bytearray, size_bytes_max: int) -> bytearray:
        lengths.append(len(packed))
        return unpack(packed, size_bytes_max)

    monkeypatch.setattr(pyro_channel, "unpack", counting)
    return lengths


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets that the kernel sends no faster from than from a slow network's."""
    before = Channel._set_options

    def paced(channel: Channel) -> None:
        before(channel)
        channel.sock.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, SLOW_BYTES_PER_S)

    monkeypatch.setattr(Channel, "_set_options", paced)


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on loopback counts as another machine."""
    monkeypatch.setattr(pyro_packing, "Address", _Elsewhere)


class _Elsewhere(NamedTuple):
    host: str
    port: int
    is_loopback: bool = False


def serving(transport: Callable[..., PyroTransport], **settings: Any) -> Address:
    """The address of a node that takes and gives the same block."""
    made = transport(**settings)
    address = made.listen(Address("127.0.0.1", 0))
    made.serve(put_or_get)
    return address


TEXT = b"what goes over a slow network, and deflates well; " * 5243  # 256 KiB


def put_or_get(request: Request) -> Message:
    if isinstance(request.body, PutPiece):
        assert request.body.data == TEXT
        return PieceStored(True)
    return Piece(TEXT, len(TEXT))


MESSAGES: dict[str, Message] = {
    "put": PutPiece(BlockRef("block", len(TEXT), b""), 0, TEXT),
    "get": GetPiece("block", 0, len(TEXT)),
}


@pytest.fixture
def client(transport: Callable[..., PyroTransport]) -> PyroTransport:
    return transport()


@on_linux
@pytest.mark.usefixtures("slow", "far_away")
@pytest.mark.parametrize("way", ["put", "get"])
def test_where_the_network_is_slow_frames_are_deflated(
    way: str, client: PyroTransport, transport: Callable[..., PyroTransport], inflated: list[int]
) -> None:
    node = serving(transport)
    until_s = soon()
    while not inflated and time.monotonic() < until_s:
        reply = client.call(node, Request("c", None, MESSAGES[way]), PATIENCE_S)
        assert reply == put_or_get(Request("c", None, MESSAGES[way]))
    assert inflated
    assert inflated[0] < len(TEXT) / 10


@on_linux
@pytest.mark.usefixtures("slow", "far_away")
def test_nothing_is_deflated_where_that_is_not_wanted(
    transport: Callable[..., PyroTransport], inflated: list[int]
) -> None:
    node = serving(transport, packing=False)
    client = transport(packing=False)
    for way in ["put", "get", "put", "get", "put", "get", "put", "get", "put", "get"]:
        client.call(node, Request("c", None, MESSAGES[way]), PATIENCE_S)
    assert not inflated


@on_linux
@pytest.mark.usefixtures("slow")
def test_nothing_is_deflated_on_one_machine(
    client: PyroTransport, transport: Callable[..., PyroTransport], inflated: list[int]
) -> None:
    node = serving(transport)
    for _ in range(5):
        client.call(node, Request("c", None, MESSAGES["get"]), PATIENCE_S)
    assert not inflated
