"""Held requests over Pyro4: signs of life, silence, and callers that go."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from Pyro4 import message
from pyro_by_hand import (
    CALL,
    FEW,
    INVOKE,
    PATIENCE_S,
    PING,
    PING_REQUEST,
    RESULT,
    TOKEN,
    Hand,
    Hands,
    Impostor,
    Transports,
    Until,
    greet_well,
)

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import Done, GetJob, Message, Ping, Request
from map_reduce.errors import ProtocolError, Unreachable
from map_reduce.runtime.changes import Changes
from map_reduce.runtime.holds import Holds
from map_reduce.transport import pyro_holding, pyro_pool, wire
from map_reduce.transport.pyro import PyroTransport
from map_reduce.transport.pyro_channel import Frame
from map_reduce.transport.pyro_pool import Connection
from map_reduce.transport.pyro_server import Limits

LONG_S = 3600.0
HELD = Request("", None, GetJob("a job", hold_s=LONG_S))
ASKED_AT_WORK = Hand.frame(INVOKE, CALL + wire.encode_request(PING_REQUEST))
ASKED = Hand.frame(INVOKE, CALL + wire.encode_request(HELD), sequence=5)


class HoldingNode:
    """It holds whatever asks for a job, until it is told of news."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.holds = Holds(self.changes, lambda message: False, lambda name: False, holds_max=9)
        self.transport = PyroTransport(TOKEN)
        self.address = self.transport.listen(Address("127.0.0.1", 0))
        self.transport.serve(lambda request: Done(), self.holds.to_hold)


@pytest.fixture
def holding() -> Iterator[HoldingNode]:
    node = HoldingNode()
    yield node
    node.transport.close()


def kind_of(frame: bytes) -> int:
    return int.from_bytes(frame[6:8], "big")


def test_the_node_shows_that_it_is_there_and_then_answers(
    holding: HoldingNode, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyro_holding, "SIGN_OF_LIFE_S", 0.01)
    hand = hands(holding.address)
    hand.greet()
    hand.send(ASKED)
    frame_bytes = len(Hand.frame(PING))
    for _ in range(3):
        sign = hand.sock.recv(frame_bytes, socket.MSG_WAITALL)
        assert kind_of(sign) == PING
        assert sign == Hand.frame(PING, sequence=5)
    holding.changes.note("a job")
    while kind_of(frame := hand.sock.recv(frame_bytes, socket.MSG_WAITALL)) == PING:
        pass
    assert kind_of(frame) == RESULT


@pytest.mark.parametrize("leave", [Hand.close, Hand.reset, lambda hand: hand.send(ASKED)])
def test_a_caller_that_goes_is_held_no_longer(
    holding: HoldingNode,
    hands: Hands,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    leave: Callable[[Hand], None],
) -> None:
    monkeypatch.setattr(pyro_holding, "SIGN_OF_LIFE_S", 0.05)
    hand = hands(holding.address)
    hand.greet()
    hand.send(ASKED)
    until(lambda: len(holding.holds._open) == 1)
    leave(hand)
    until(lambda: not holding.holds._open)
    assert not holding.changes._waiting


def test_those_that_are_held_take_no_room_from_others_and_are_not_given_up_for_them(
    hands: Hands, transport: Transports, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than there may be connections otherwise, all from one address."""
    monkeypatch.setattr(pyro_holding, "SIGN_OF_LIFE_S", LONG_S)  # only replies are to come
    changes = Changes()
    holds = Holds(changes, lambda message: False, lambda name: False, holds_max=100)
    node = transport(request_handlers_max=FEW, limits=Limits(connections_per_address_max=FEW))
    address = node.listen(Address("127.0.0.1", 0))
    at_work, go_on = threading.Semaphore(0), threading.Event()

    def handle(request: Request) -> Message:
        at_work.release()
        if isinstance(request.body, Ping):
            go_on.wait(PATIENCE_S)
        return Done()

    def asking(frame: bytes) -> Hand:
        hand = hands(address)
        hand.greet()
        hand.send(frame)
        return hand

    node.serve(handle, holds.to_hold)
    held = [asking(ASKED) for _ in range(FEW)]
    until(lambda: len(holds._open) == FEW)
    held += [asking(ASKED) for _ in range(FEW)]
    until(lambda: len(holds._open) == 2 * FEW)
    busy = [asking(ASKED_AT_WORK) for _ in range(FEW)]
    for _ in range(FEW):
        assert at_work.acquire(timeout=PATIENCE_S)
    assert hands(address).receive() == b""  # everybody is at work or held: turned away
    assert len(holds._open) == 2 * FEW
    go_on.set()
    changes.note("a job")
    for hand in held + busy:
        assert wire.decode_reply(hand.receive()[25:]) == Done()


def in_a_thread(caller: PyroTransport, address: Address, timeout_s: float) -> None:
    """A call that is to end by itself, and long before the request is held no longer."""
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(caller.call, address, HELD, timeout_s)
        try:
            call.result(PATIENCE_S)
        finally:
            caller.close()


def test_a_node_that_falls_silent_is_not_waited_for(
    impostor: Impostor, transport: Transports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyro_pool, "SIGN_OF_LIFE_S", 0.05)
    over = threading.Event()

    def silent(sock: socket.socket) -> None:
        greet_well(sock)
        sock.sendall(Hand.frame(PING, sequence=1) * 3)
        over.wait(PATIENCE_S)

    address = impostor(silent)
    try:
        with pytest.raises(Unreachable, match="nor a sign of life"):
            in_a_thread(transport(), address, 0.5)
    finally:
        over.set()


@pytest.mark.parametrize("sequence", [1, 2])
def test_signs_of_life_are_no_reply(
    impostor: Impostor, transport: Transports, sequence: int
) -> None:
    def alive(sock: socket.socket) -> None:
        greet_well(sock)
        result = Hand.frame(RESULT, b"b" + wire.encode_reply(Done()), sequence=sequence)
        sock.sendall(Hand.frame(PING, sequence=1) * 3 + result)

    address = impostor(alive)
    if sequence == 1:
        assert transport().call(address, HELD, PATIENCE_S) == Done()
    else:
        with pytest.raises(ProtocolError, match="reply 2 to request 1"):
            transport().call(address, HELD, PATIENCE_S)


def test_each_sign_of_life_gives_as_much_time_again_until_the_hold_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now_s=100.0)
    deadlines = []

    class Scripted(Connection):
        def send(self, *args: object) -> None:
            pass

        def receive(self, kinds: object, deadline: float, *rest: object) -> Frame:
            deadlines.append(deadline)
            clock.now_s += 1.0
            if len(deadlines) < 5:
                return Frame(message.MSG_PING, 1, bytearray())
            raise TimeoutError("the time is up")

    monkeypatch.setattr(pyro_pool, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
    with socket.socket() as sock:
        connection = Scripted(Address("127.0.0.1", 1), sock)
        with pytest.raises(TimeoutError):
            connection.ask(b"", 100.5, 3.0)
    assert deadlines == [101.5, 102.5, 103.5, 103.5, 103.5]
