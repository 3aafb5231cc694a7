"""The Transport port, over every implementation."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from message_samples import sample
from transport_world import ALICE, PATIENCE_S, World, ask

from map_reduce.core.messages import (
    MESSAGES,
    BlockRef,
    Done,
    GetNode,
    GetPiece,
    Message,
    No,
    Piece,
    PieceStored,
    Ping,
    Pong,
    PutPiece,
    Request,
)
from map_reduce.errors import ConfigError, PortTakenError, ProtocolError, Unreachable
from map_reduce.ports import Handler, Transport
from map_reduce.transport.wire import MESSAGE_BYTES_MAX

PIECE_BYTES = 1 << 20
REF = BlockRef("a block", PIECE_BYTES, b"digest")


def always(reply: Message) -> Handler:
    return lambda request: reply


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_every_message_arrives_as_request_and_as_reply(world: World, kind: type[Message]) -> None:
    seen: list[Request] = []

    def echo(request: Request) -> Message:
        seen.append(request)
        return request.body

    _, address = world.node(echo)
    body = sample(kind)
    reply = world.transport().call(address, ask(body), PATIENCE_S)
    assert reply == body
    assert type(reply) is kind
    assert seen == [ask(body)]


def test_a_client_has_no_cluster_and_no_sender(world: World) -> None:
    seen: list[Request] = []

    def handler(request: Request) -> Message:
        seen.append(request)
        return Done()

    _, address = world.node(handler)
    world.transport().call(address, Request("", None, Ping()), PATIENCE_S)
    assert seen == [Request("", None, Ping())]


def test_the_two_ends_share_no_object(world: World) -> None:
    kept = Pong(ALICE)
    _, address = world.node(always(kept))
    reply = world.transport().call(address, ask(Ping()), PATIENCE_S)
    assert reply == kept
    assert reply is not kept


def test_a_node_can_call_itself_and_others(world: World) -> None:
    one, at_one = world.node(always(No("one")))
    two, at_two = world.node(always(No("two")))
    assert at_one != at_two
    for caller in (one, two):
        assert caller.call(at_one, ask(Ping()), PATIENCE_S) == No("one")
        assert caller.call(at_two, ask(Ping()), PATIENCE_S) == No("two")


@pytest.mark.parametrize("body", [Ping(), GetPiece("a block", 0, 1)], ids=["control", "bulk"])
def test_requests_are_handled_at_the_same_time(world: World, body: Message) -> None:
    callers = 8
    together = threading.Barrier(callers)

    def meet(request: Request) -> Message:
        together.wait(PATIENCE_S)
        return Done()

    _, address = world.node(meet)
    transport = world.transport()
    with ThreadPoolExecutor(callers) as threads:
        replies = [
            threads.submit(transport.call, address, ask(body), PATIENCE_S) for _ in range(callers)
        ]
        assert [reply.result(PATIENCE_S) for reply in replies] == [Done()] * callers


def test_replies_are_never_exchanged(world: World) -> None:
    _, address = world.node(lambda request: request.body)
    transport = world.transport()

    def call(number: int) -> bool:
        body = No(f"caller {number}")
        return all(transport.call(address, ask(body), PATIENCE_S) == body for _ in range(50))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(call, range(8)))


@pytest.mark.parametrize("body", [Ping(), GetPiece("a block", 0, 1)], ids=["control", "bulk"])
def test_a_call_ends_at_its_deadline_though_the_handler_does_not(
    world: World, body: Message
) -> None:
    release = threading.Event()

    def handler(request: Request) -> Message:
        if request.body == body:
            release.wait(PATIENCE_S)
        return Done()

    _, address = world.node(handler)
    transport = world.transport()
    try:
        with pytest.raises(Unreachable, match=str(address.port)):
            transport.call(address, ask(body), 0.1)
        assert not release.is_set()
        assert transport.call(address, ask(GetNode()), PATIENCE_S) == Done()
    finally:
        release.set()
    assert transport.call(address, ask(body), PATIENCE_S) == Done()


def test_a_reply_may_take_all_the_time_there_is(world: World) -> None:
    def slow(request: Request) -> Message:
        threading.Event().wait(0.3)
        return Done()

    _, address = world.node(slow)
    assert world.transport().call(address, ask(Ping()), PATIENCE_S) == Done()


def test_a_late_reply_is_not_taken_for_the_next(world: World) -> None:
    release = threading.Event()
    answered = threading.Event()

    def handler(request: Request) -> Message:
        if isinstance(request.body, Ping):
            release.wait(PATIENCE_S)
            answered.set()
        return No(type(request.body).__name__)

    _, address = world.node(handler)
    transport = world.transport()
    with pytest.raises(Unreachable):
        transport.call(address, ask(Ping()), 0.1)
    release.set()
    assert answered.wait(PATIENCE_S)
    assert transport.call(address, ask(GetNode()), PATIENCE_S) == No("GetNode")


def test_no_time_is_no_reply(world: World) -> None:
    _, address = world.node(always(Done()))
    release = threading.Event()

    def slow_handler(request: Request) -> Message:
        release.wait(PATIENCE_S)
        return Done()

    _, slow = world.node(slow_handler)
    transport = world.transport()
    for timeout_s in (0.0, -1.0):
        with pytest.raises(Unreachable):
            transport.call(slow, ask(Ping()), timeout_s)
    release.set()
    assert transport.call(address, ask(Ping()), PATIENCE_S) == Done()


def test_nobody_is_there(world: World) -> None:
    gone, address = world.node(always(Done()))
    gone.close()
    for body in (Ping(), GetPiece("a block", 0, 1)):
        with pytest.raises(Unreachable, match=str(address.port)):
            world.transport().call(address, ask(body), PATIENCE_S)


def test_nothing_is_answered_before_serve(world: World) -> None:
    node = world.transport()
    address = node.listen(world.anywhere)
    transport = world.transport()
    with pytest.raises(Unreachable):
        transport.call(address, ask(Ping()), 0.1)
    with ThreadPoolExecutor(1) as threads:
        early = threads.submit(transport.call, address, ask(Ping()), PATIENCE_S)
        node.serve(always(Done()))
        assert early.result(PATIENCE_S) == Done()


def test_pieces_of_a_mebibyte_go_both_ways(world: World) -> None:
    data = bytes(range(256)) * (PIECE_BYTES // 256)
    seen: list[bytes] = []

    def handler(request: Request) -> Message:
        if isinstance(request.body, PutPiece):
            seen.append(request.body.data)
            return PieceStored(True)
        return Piece(data, len(data))

    _, address = world.node(handler)
    transport = world.transport()
    stored = transport.call(address, ask(PutPiece(REF, 0, data)), PATIENCE_S)
    assert stored == PieceStored(True)
    assert seen == [data]
    assert type(seen[0]) is bytes
    fetched = transport.call(address, ask(GetPiece(REF.name, 0, PIECE_BYTES)), PATIENCE_S)
    assert fetched == Piece(data, len(data))


def test_a_message_of_exactly_the_greatest_length(world: World) -> None:
    head_bytes = (
        len(msgspec.msgpack.encode(ask(PutPiece(REF, 0, b"x" * PIECE_BYTES)))) - PIECE_BYTES
    )
    data = b"x" * (MESSAGE_BYTES_MAX - head_bytes)
    _, address = world.node(always(Done()))
    transport = world.transport()
    assert transport.call(address, ask(PutPiece(REF, 0, data)), PATIENCE_S) == Done()
    with pytest.raises(ProtocolError, match=f"PutPiece of {MESSAGE_BYTES_MAX + 1} bytes"):
        transport.call(address, ask(PutPiece(REF, 0, data + b"x")), PATIENCE_S)


def test_a_reply_that_is_too_large_is_an_internal_error(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    _, address = world.node(always(Piece(b"x" * (MESSAGE_BYTES_MAX + 1), 1)))
    with caplog.at_level(logging.ERROR, "map_reduce.transport"):
        reply = world.transport().call(address, ask(GetPiece("a block", 0, 1)), PATIENCE_S)
    assert isinstance(reply, No)
    assert reply.reason.startswith("internal error")
    assert f"{MESSAGE_BYTES_MAX}" in caplog.text


def test_a_fault_of_the_handler_stays_in_its_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(request: Request) -> Message:
        raise ValueError("the secret of line 7")

    _, address = world.node(faulty)
    transport = world.transport()
    with caplog.at_level(logging.ERROR, "map_reduce.transport"):
        replies = [transport.call(address, ask(Ping()), PATIENCE_S) for _ in range(3)]
    for reply in replies:
        assert isinstance(reply, No)
        assert reply.reason.startswith("internal error")
        assert "secret" not in reply.reason
    assert "the secret of line 7" in caplog.text


def test_what_has_no_encoding_is_not_sent(world: World) -> None:
    _, address = world.node(always(Done()))
    for body in (No("\ud800"), GetPiece("a block", 1 << 70, 1), No(object())):  # type: ignore[arg-type]
        with pytest.raises(ProtocolError, match=type(body).__name__):
            world.transport().call(address, ask(body), PATIENCE_S)


def test_an_address_is_taken_while_somebody_listens(world: World) -> None:
    one, address = world.node(always(Done()))
    with pytest.raises(PortTakenError, match=str(address.port)):
        world.transport().listen(address)
    one.close()
    _, again = world.node(always(Done()), address)
    assert again == address


def test_the_order_of_calls(world: World) -> None:
    transport = world.transport()
    with pytest.raises(ConfigError, match="listen"):
        transport.serve(always(Done()))
    transport.listen(world.anywhere)
    with pytest.raises(ConfigError, match="listens already"):
        transport.listen(world.anywhere)


@pytest.mark.parametrize("body", [Ping(), GetPiece("a block", 0, 1)], ids=["control", "bulk"])
def test_a_node_that_restarts_at_its_address_is_found_again(world: World, body: Message) -> None:
    caller = world.transport()
    first, address = world.node(always(No("first")))
    assert caller.call(address, ask(body), PATIENCE_S) == No("first")
    assert caller.call(address, ask(body), PATIENCE_S) == No("first")
    first.close()
    world.node(always(No("second")), address)
    assert caller.call(address, ask(body), PATIENCE_S) == No("second")


def test_closing_a_node_ends_the_calls_to_it(world: World) -> None:
    release = threading.Event()
    arrived = threading.Event()

    def handler(request: Request) -> Message:
        arrived.set()
        release.wait(PATIENCE_S)
        return Done()

    node, address = world.node(handler)
    transport = world.transport()
    with ThreadPoolExecutor(2) as threads:
        call = threads.submit(transport.call, address, ask(Ping()), 10 * PATIENCE_S)
        assert arrived.wait(PATIENCE_S)
        closing = threads.submit(node.close)
        with pytest.raises(Unreachable):
            call.result(PATIENCE_S)
        release.set()
        closing.result(PATIENCE_S)


@pytest.mark.parametrize("serving", [True, False], ids=["asked", "waiting"])
def test_closing_the_caller_ends_its_calls(world: World, serving: bool) -> None:
    release = threading.Event()
    arrived = threading.Event()

    def handler(request: Request) -> Message:
        arrived.set()
        release.wait(PATIENCE_S)
        return Done()

    node = world.transport()
    address = node.listen(world.anywhere)
    if serving:
        node.serve(handler)
    transport = world.transport()
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(transport.call, address, ask(Ping()), 10 * PATIENCE_S)
        if serving:
            assert arrived.wait(PATIENCE_S)
        transport.close()
        with pytest.raises(Unreachable):
            call.result(PATIENCE_S)
        release.set()


def test_a_closed_transport_calls_nobody(world: World) -> None:
    _, address = world.node(always(Done()))
    transport = world.transport()
    transport.call(address, ask(Ping()), PATIENCE_S)
    transport.close()
    with pytest.raises(Unreachable, match="closed"):
        transport.call(address, ask(Ping()), PATIENCE_S)


def test_close_leaves_nothing_and_may_be_repeated(world: World) -> None:
    before = set(threading.enumerate())
    node, address = world.node(always(Done()))
    client = world.transport()
    for body in (Ping(), GetPiece("a block", 0, 1)):
        client.call(address, ask(body), PATIENCE_S)
    node.close()
    client.close()
    assert set(threading.enumerate()) == before
    node.close()
    client.close()


def test_close_without_serving_and_without_anything(world: World) -> None:
    listening = world.transport()
    address = listening.listen(world.anywhere)
    listening.close()
    world.transport().close()
    _, again = world.node(always(Done()), address)
    assert again == address


def test_a_handler_may_close_its_own_transport(world: World) -> None:
    nodes: list[Transport] = []
    closed = threading.Event()

    def stop(request: Request) -> Message:
        nodes[0].close()
        closed.set()
        return Done()

    node, address = world.node(stop)
    nodes.append(node)
    with pytest.raises(Unreachable):
        world.transport().call(address, ask(Ping()), PATIENCE_S)
    assert closed.wait(PATIENCE_S)
