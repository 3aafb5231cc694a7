"""Frames over a pair of sockets: lengths, memory, time, and what each end is told."""

from __future__ import annotations

import socket
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from Pyro4.message import Message as PyroMessage
from pyro_by_hand import INVOKE, RESULT, Hand

from map_reduce.errors import ProtocolError
from map_reduce.transport.pyro_channel import BODY_BYTES_MAX, FIRST_STEP_BYTES, Channel, Cut

PATIENCE_S = 30.0


def soon() -> float:
    return time.monotonic() + PATIENCE_S


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """Two channels that are connected to each other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname(), PATIENCE_S)
        other, _ = listener.accept()
    channels = Channel(one), Channel(other)
    yield channels
    for channel in channels:
        channel.close()


@pytest.mark.parametrize(
    "length",
    [
        *(0, 1, FIRST_STEP_BYTES - 1, FIRST_STEP_BYTES, FIRST_STEP_BYTES + 1),
        *(2 * FIRST_STEP_BYTES, 3 * FIRST_STEP_BYTES + 7, BODY_BYTES_MAX),
    ],
)
def test_bodies_of_any_length(ends: tuple[Channel, Channel], length: int) -> None:
    body = (bytes(range(256)) * (length // 256 + 1))[:length]
    ends[0].sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)  # so: in many parts
    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(ends[0].send, INVOKE, 65535, body[:10], body[10:], soon())
        frame = ends[1].receive((RESULT, INVOKE), soon())
        sending.result(PATIENCE_S)
    assert tuple(frame) == (INVOKE, 65535, body)


def test_frames_are_those_of_pyro4(ends: tuple[Channel, Channel]) -> None:
    ends[0].send(INVOKE, 3, b"head ", b"body", soon())
    by_pyro4 = PyroMessage(INVOKE, b"head body", 77, 0, 3).to_bytes()
    assert ends[1].sock.recv(100) == by_pyro4
    assert by_pyro4 == Hand.frame(INVOKE, b"head body", sequence=3)


def test_frames_one_after_another_are_told_apart(ends: tuple[Channel, Channel]) -> None:
    for number in range(5):
        ends[0].send(INVOKE, number, b"", b"x" * number, soon())
    for number in range(5):
        assert tuple(ends[1].receive((INVOKE,), soon())) == (INVOKE, number, b"x" * number)


def test_memory_is_taken_as_bytes_come(ends: tuple[Channel, Channel]) -> None:
    ends[0].sock.sendall(Hand.frame(INVOKE, bytes(FIRST_STEP_BYTES), size=BODY_BYTES_MAX))
    ends[0].sock.shutdown(socket.SHUT_WR)
    tracemalloc.start()
    try:
        with pytest.raises(Cut):
            ends[1].receive((INVOKE,), soon())
        assert tracemalloc.get_traced_memory()[1] < 4 * FIRST_STEP_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sent", [0, 1, 23, 24, 30])
def test_an_end_is_told_as_before_or_midway(ends: tuple[Channel, Channel], sent: int) -> None:
    ends[0].sock.sendall(Hand.frame(INVOKE, b"0123456789")[:sent])
    ends[0].close()
    with pytest.raises(Cut) as caught:
        ends[1].receive((INVOKE,), soon())
    assert caught.value.midway is (sent > 0)


def test_a_cut_wakes_who_waits(ends: tuple[Channel, Channel]) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(ends[1].receive, (INVOKE,), soon())
        ends[1].cut()
        with pytest.raises(Cut):
            waiting.result(PATIENCE_S)


def test_the_time_of_a_frame_starts_with_its_first_byte(ends: tuple[Channel, Channel]) -> None:
    ends[0].sock.sendall(Hand.frame(INVOKE, b"0123456789")[:-1])
    with pytest.raises(TimeoutError):
        ends[1].receive((INVOKE,), soon(), frame_s_max=0.05)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (Hand.frame(INVOKE, b"rest", serializer=4), "serializer 4"),
        (Hand.frame(INVOKE, b"rest", flags=2), "flags 0x2"),
        (Hand.frame(INVOKE, annotations=b"rest"), "4 bytes of annotations"),
        (Hand.frame(INVOKE, b"rest", size=11), "11 of body"),
        (Hand.frame(INVOKE, b"rest", size=-1), "-1 of body"),
        (Hand.frame(RESULT, b"rest"), "type 5"),
        (Hand.frame(INVOKE, b"rest", tag=b"JRMI"), "invalid data"),
        (Hand.frame(INVOKE, b"rest", version=47), "protocol version"),
        (Hand.frame(INVOKE)[:-1] + b"!rest", "checksum"),
    ],
)
def test_what_follows_a_refused_header_stays_unread(
    ends: tuple[Channel, Channel], frame: bytes, why: str
) -> None:
    ends[0].sock.sendall(frame)
    with pytest.raises(ProtocolError, match=why):
        ends[1].receive((INVOKE,), soon(), body_bytes_max=10)
    assert ends[1].sock.recv(100) == b"rest"
