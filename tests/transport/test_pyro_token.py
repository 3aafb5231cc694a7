"""The token: who has it is let in, who has not is not, and hearing it used is of no use."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading

import pytest
from pyro_by_hand import (
    CALL,
    CONNECT,
    CONNECTFAIL,
    INVOKE,
    PATIENCE_S,
    PIECE_REQUEST,
    PING_REQUEST,
    TOKEN,
    Hand,
    Hands,
    Impostor,
    Node,
    Transports,
    proof_by_hand,
)

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import Done
from map_reduce.errors import ConfigError, NotTrusted, Unreachable
from map_reduce.transport import wire
from map_reduce.transport.credentials import Token

OTHER = Token(bytes(32))


def test_who_has_another_token_is_told_so(node: Node, transport: Transports) -> None:
    stranger = transport(OTHER)
    for request in (PING_REQUEST, PIECE_REQUEST):
        with pytest.raises(NotTrusted, match=r"does not have this user's token"):
            stranger.call(node.address, request, PATIENCE_S)
    assert node.handled == []
    node.assert_unharmed()


def test_a_wrong_proof_is_the_end(node: Node, hands: Hands) -> None:
    hand = hands(node.address)
    assert hand.greet(secret=OTHER.secret)[6:8] == struct.pack("!H", CONNECTFAIL)
    hand.send(Hand.frame(INVOKE, CALL + wire.encode_request(PING_REQUEST)))
    assert hand.receive() == b""
    assert node.handled == []


def test_a_proof_that_was_heard_is_of_no_use(node: Node, hands: Hands) -> None:
    """All that an honest caller sent, sent once more."""
    heard: list[bytes] = []
    honest = hands(node.address)
    honest.send = lambda data: heard.append(data) or Hand.send(honest, data)  # type: ignore[method-assign,func-returns-value]
    assert b"bulk" in honest.greet()
    again = hands(node.address)
    again.send(heard[0])
    assert b"map-reduce/3" in again.receive()
    again.send(heard[1])
    assert again.receive()[6:8] == struct.pack("!H", CONNECTFAIL)


def test_the_daemons_own_proof_is_of_no_use_to_a_caller(node: Node, hands: Hands) -> None:
    hand = hands(node.address)
    hand.send(Hand.frame(CONNECT, b"hmap-reduce/3 control " + b"1" * 32))
    proof = hand.receive()[25:].split(b" ")[2]
    hand.send(Hand.frame(CONNECT, b"h" + proof))
    assert hand.receive()[6:8] == struct.pack("!H", CONNECTFAIL)


def test_an_empty_proof_and_no_proof(node: Node, hands: Hands) -> None:
    for second in (
        Hand.frame(CONNECT, b"h"),
        Hand.frame(CONNECT, b"h" + b"0" * 64),
        Hand.frame(INVOKE, CALL + wire.encode_request(PING_REQUEST)),
    ):
        hand = hands(node.address)
        hand.send(Hand.frame(CONNECT, b"hmap-reduce/3 control " + b"1" * 32) + second)
        hand.receive()
        assert b"bulk" not in hand.receive()
    assert node.handled == []


def test_whoever_sits_at_an_old_port_cannot_pass_everything_on(
    node: Node, transport: Transports, impostor: Impostor
) -> None:
    """A caller is tricked to an impostor, who forwards each byte to the real node and back."""
    carried: list[bytes] = []

    def forward(sock: socket.socket) -> None:
        upstream = socket.create_connection((node.address.host, node.address.port), PATIENCE_S)

        def pump(source: socket.socket, target: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    carried.append(data)
                    target.sendall(data)
                target.shutdown(socket.SHUT_RDWR)

        with upstream:
            back = threading.Thread(target=pump, args=(upstream, sock), daemon=True)
            back.start()
            pump(sock, upstream)
            back.join(PATIENCE_S)

    address = impostor(forward)
    with pytest.raises(NotTrusted):
        transport().call(address, PING_REQUEST, PATIENCE_S)
    assert node.handled == []
    assert b"bulk" not in b"".join(carried)


def test_the_token_is_not_sent_and_not_shown(
    node: Node, hands: Hands, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        hand = hands(node.address)
        said: list[bytes] = []
        hand.send = lambda data: said.append(data) or Hand.send(hand, data)  # type: ignore[method-assign,func-returns-value]
        said.append(hand.greet())
        said.append(hands(node.address).greet(secret=OTHER.secret))
    text = caplog.text + repr(TOKEN) + str(TOKEN)
    for secret in (TOKEN.secret, TOKEN.secret.hex().encode(), repr(TOKEN.secret).encode()):
        assert secret not in b"".join(said) + text.encode()


def test_a_token_is_for_loopback(transport: Transports) -> None:
    with pytest.raises(ConfigError) as caught:
        transport().listen(Address("10.0.0.5", 0))
    assert "map-reduce certs init" in str(caught.value)
    assert "map-reduce certs issue NAME --host 10.0.0.5" in str(caught.value)
    with pytest.raises(Unreachable, match="only nodes on this machine"):
        transport().call(Address("10.0.0.5", 1), PING_REQUEST, PATIENCE_S)


def test_a_short_token_is_none() -> None:
    with pytest.raises(ConfigError, match="32 bytes"):
        Token(b"secret")


def test_a_proof_by_hand_is_as_good(node: Node, hands: Hands) -> None:
    """So that the tests above fail for their own reason."""
    hand = hands(node.address)
    hand.greet()
    hand.send(Hand.frame(INVOKE, CALL + wire.encode_request(PING_REQUEST)))
    assert wire.decode_reply(hand.receive()[25:]) == Done()
    assert len(proof_by_hand(TOKEN.secret, "caller", "", "", ("", 0))) == 64
