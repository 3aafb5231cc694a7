"""Servers that a client must survive: what they send is refused, and they cannot hold it."""

from __future__ import annotations

import pickle
import socket
import threading
import zlib
from collections.abc import Callable

import pytest
from pyro_by_hand import (
    COMPRESSED,
    CONNECTFAIL,
    CONNECTOK,
    EXCEPTION,
    GREETING_SENT,
    ITEMSTREAM,
    META_ON_CONNECT,
    PATIENCE_S,
    PIECE_REQUEST,
    PING_REQUEST,
    RESULT,
    Hand,
    Impostor,
    greet_well,
    prove_as_daemon,
)

from map_reduce.core.messages import Done, Piece, Request
from map_reduce.errors import ProtocolError, Unreachable
from map_reduce.transport import wire
from map_reduce.transport.pyro import PyroTransport
from map_reduce.transport.pyro_channel import BODY_BYTES_MAX


def instead_of_a_greeting(answer: bytes, proves: bool) -> Callable[[socket.socket], None]:
    def behave(sock: socket.socket) -> None:
        if proves:
            prove_as_daemon(sock)
        else:
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
        Hand.frame(CONNECTOK, b"hmap-reduce/3 bulk 9 token", flags=META_ON_CONNECT),
        Hand.frame(CONNECTOK, b"hmap-reduce/3 bulk 9 token", annotations=b"CORR\x00\x00"),
        Hand.frame(CONNECTOK, b"hmap-reduce/1 bulk 9 token"),
        Hand.frame(CONNECTOK, b"hmap-reduce/3 bulk -9 token"),
        Hand.frame(CONNECTOK, b"hmap-reduce/3"),
        Hand.frame(CONNECTOK, b"h" + b"x" * 1000),
        Hand.frame(CONNECTOK, size=0x7FFFFFFF),
        Hand.frame(CONNECTFAIL, b"hgo away"),
        Hand.frame(CONNECTFAIL, PICKLED, serializer=4),
        Hand.frame(RESULT, b"b"),
        b"",
    ],
)
@pytest.mark.parametrize("request_", [PING_REQUEST, PIECE_REQUEST], ids=["control", "bulk"])
@pytest.mark.parametrize("proves", [False, True], ids=["stranger", "with the token"])
def test_greetings_of_impostors(
    client: PyroTransport,
    impostor: Impostor,
    trap: list[str],
    answer: bytes,
    proves: bool,
    request_: Request,
) -> None:
    address = impostor(instead_of_a_greeting(answer, proves))
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
        Hand.frame(RESULT, b"hmap-reduce/3", sequence=1),
        Hand.frame(RESULT, b"b" + wire.encode_reply(Done()), sequence=2),
        Hand.frame(RESULT, b"b", flags=ITEMSTREAM, sequence=1),
        Hand.frame(RESULT, zlib.compress(bytes(1 << 26)), flags=COMPRESSED, sequence=1),
        Hand.frame(RESULT, b"", size=BODY_BYTES_MAX + 1, sequence=1),
        Hand.frame(CONNECTOK, b"hmap-reduce/3 bulk 9 token"),
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
