"""Connections that only take room: silent, slow, reset, too many. Others are still answered."""

from __future__ import annotations

import random
import resource
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pyro_by_hand import (
    CALL,
    FEW,
    GREETING_SENT,
    INVOKE,
    PATIENCE_S,
    PIECE_REQUEST,
    PING_REQUEST,
    Hand,
    Hands,
    Node,
    Transports,
    Until,
)

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import Done
from map_reduce.errors import ClusterError, Unreachable
from map_reduce.transport import wire
from map_reduce.transport.pyro import PyroTransport
from map_reduce.transport.pyro_channel import BODY_BYTES_MAX
from map_reduce.transport.pyro_server import ConnectionServer, Limits, ServedChannel, Stage


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


def test_who_has_its_reply_counts_as_idle(node: Node, client: PyroTransport, until: Until) -> None:
    client.call(node.address, PING_REQUEST, PATIENCE_S)
    until(lambda: node.stages() == [Stage.IDLE])


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


def hand_from(host: str, address: Address, hands: Hands) -> Hand:
    """One that has connected from an address of loopback of its own."""
    hand = hands(address)
    hand.close()
    hand.sock = socket.create_connection(
        (address.host, address.port), PATIENCE_S, source_address=(host, 0)
    )
    return hand


def greeted(hand: Hand) -> Hand:
    assert hand.greet()
    return hand


ONLY_LINUX = pytest.mark.skipif(
    not hasattr(socket, "SO_BINDTODEVICE"), reason="127.0.0.2 is Linux's alone"
)


@ONLY_LINUX
def test_a_flood_from_one_address_leaves_others_the_time_to_greet(
    hands: Hands, transport: Transports
) -> None:
    node = transport(limits=Limits(greetings_per_address_max=3, greeting_s_max=PATIENCE_S))
    address = node.listen(Address("127.0.0.1", 0))
    node.serve(lambda request: Done())
    slow = hand_from("127.0.0.3", address, hands)
    settled = greeted(hand_from("127.0.0.2", address, hands))
    flood = [hand_from("127.0.0.2", address, hands) for _ in range(10)]
    for hand in flood[:7]:
        assert hand.receive() == b""
    for hand in (settled, greeted(slow), greeted(flood[-1])):
        hand.send(Hand.frame(INVOKE, CALL + wire.encode_request(PING_REQUEST)))
        assert wire.decode_reply(hand.receive()[25:]) == Done()


def test_bounds_for_each_address_are_for_networks() -> None:
    assert Limits.at(Address("127.0.0.1", 1)) == Limits.at(Address("localhost", 1)) == Limits()
    away = Limits.at(Address("10.0.0.5", 1))
    assert away.greetings_per_address_max < away.connections_per_address_max < 256


@ONLY_LINUX
def test_an_address_at_its_bound_pushes_out_only_its_own(
    hands: Hands, transport: Transports
) -> None:
    node = transport(request_handlers_max=4, limits=Limits(connections_per_address_max=2))
    address = node.listen(Address("127.0.0.1", 0))
    node.serve(lambda request: Done())

    others = greeted(hand_from("127.0.0.3", address, hands))
    greedy = [greeted(hand_from("127.0.0.2", address, hands)) for _ in range(6)]
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
