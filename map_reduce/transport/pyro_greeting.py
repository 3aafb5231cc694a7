"""What the two ends of a connection say first, and how each comes to know who the other one is.

A node has two daemons. The one for control, at the node's address, says on greeting where the
other one is; that one, for bulk data, has a port of its own and is greeted with the number that
it drew when it began to listen. So whoever sends or asks for pieces of blocks cannot land at
another node that was given the port after a restart. Both daemons want the same proof.

With certificates, the proof is the TLS handshake that comes before:

    caller                              control daemon             bulk daemon
      ◀═ TLS 1.3, both certificates ═════▶
      ── "map-reduce/3 control" ─────────▶
      ◀─ "map-reduce/3 bulk 4711 7f3a…" ──
      ◀═ TLS 1.3, both certificates ════════════════════════════════▶
      ── "map-reduce/3 7f3a…" ──────────────────────────────────────▶
      ◀─ "map-reduce/3" ─────────────────────────────────────────────

With a token it is a challenge in both directions. Each end draws a nonce, and shows that it has
the token by an HMAC-SHA256 over all that was said, both nonces, the daemon's address and port as
each end sees them, and who is speaking:

      ── "map-reduce/3 control NONCE" ───▶
      ◀─ "map-reduce/3 NONCE PROOF" ──────   and from now on the caller trusts the daemon
      ── PROOF ──────────────────────────▶   and the daemon the caller
      ◀─ "map-reduce/3 bulk 4711 7f3a…" ──

The nonces keep a proof from being used twice; who is speaking keeps it from being sent back; and
the address keeps whoever sits at a port that a node once had from passing everything on to a node
and being let in on the caller's proof. What comes after is not encrypted, so this is for
loopback, where nobody but the system sees it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import ssl
from typing import NamedTuple

from Pyro4 import message

from map_reduce.core.identifiers import Address
from map_reduce.core.roles import Caller, Role
from map_reduce.errors import NotTrusted, ProtocolError
from map_reduce.transport.credentials import (
    Certificates,
    Credentials,
    Token,
    caller_of,
    why_failed,
)
from map_reduce.transport.pyro_channel import Channel, Cut
from map_reduce.transport.pyro_serializer import GREETING_BYTES_MAX, OpaqueSerializer

PROTOCOL = "map-reduce/3"
"""The number changes with what is understood."""

CONTROL = "control"
"""What a node's control daemon is greeted as."""

NONCE_CHARACTERS = 32

_serializer = OpaqueSerializer()

_BY_TOKEN = Caller(Role.NODE, "of this user")


class GreetingRefused(ConnectionError):
    """Somebody listens there, but not the daemon that was meant, or it does not want us."""


class Rejected(ConnectionError):
    """Whoever connected has not shown that it belongs here. ``hint`` may be told to it."""

    def __init__(self, hint: str) -> None:
        super().__init__(hint)
        self.hint = hint


class BulkPlane(NamedTuple):
    """Where a node's bulk daemon is, as its control daemon says on greeting."""

    port: int
    instance: str

    def __str__(self) -> str:
        return f"{PROTOCOL} bulk {self.port} {self.instance}"

    def at(self, peer: Address) -> Address:
        """The bulk daemon's address, given the control daemon's."""
        return Address(peer.host, self.port)

    @classmethod
    def parse(cls, text: object) -> BulkPlane:
        """Raises ProtocolError: the text is not what a control daemon answers."""
        words = text.split(" ") if isinstance(text, str) else []
        if len(words) == 4 and words[:2] == [PROTOCOL, "bulk"]:
            port, instance = words[2:]
            if port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536 and instance:
                return cls(int(port), instance)
        raise ProtocolError(f"not the greeting of a node of this version: {text!r}")


# ------------------------------------------------------------------ the answering side


def let_in(channel: Channel, credentials: Credentials, plane: str, deadline: float) -> Caller:
    """Find out who has connected to the daemon called ``plane``; the caller of :func:`welcome`.

    Raises:
        Rejected: it did not show that it belongs here.
        TimeoutError, ConnectionError, ProtocolError: as the channel does.
    """
    if isinstance(credentials, Certificates):
        return _let_in_by_certificate(channel, credentials, plane, deadline)
    hello = receive_text(channel, (message.MSG_CONNECT,), deadline)
    nonce = _check_hello(hello, plane, words_max=3)
    if len(nonce) != NONCE_CHARACTERS:
        raise Rejected("this node wants the token of its user, or runs another version")
    challenge = secrets.token_hex(NONCE_CHARACTERS // 2)
    said = (hello, challenge, _daemon_end(channel.sock.getsockname()))
    answer = f"{PROTOCOL} {challenge} {_proof(credentials, 'daemon', said)}"
    send_text(channel, message.MSG_CONNECTOK, answer, deadline)
    proof = receive_text(channel, (message.MSG_CONNECT,), deadline)
    if not hmac.compare_digest(proof, _proof(credentials, "caller", said)):
        raise Rejected("wrong token: this node is another user's, or was started with another one")
    return _BY_TOKEN


def _let_in_by_certificate(
    channel: Channel, certificates: Certificates, plane: str, deadline: float
) -> Caller:
    try:
        channel.encrypt(certificates.loaded.server, deadline, server_side=True)
    except ssl.SSLError as error:
        raise Rejected(why_failed(error)) from error
    caller = caller_of(channel.certificate())
    hello = receive_text(channel, (message.MSG_CONNECT,), deadline)
    _check_hello(hello, plane, words_max=2)
    if caller is None:
        raise Rejected("the certificate names no role in a cluster")
    return caller


def _check_hello(hello: str, plane: str, words_max: int) -> str:
    """The third word of a hello, or "". Raises Rejected: it is not meant for this daemon."""
    words = hello.split(" ")
    if words[0] != PROTOCOL or len(words) > words_max:
        raise Rejected(f"this node speaks {PROTOCOL}: another program, version or proof")
    if len(words) < 2 or not hmac.compare_digest(words[1], plane):
        raise Rejected("another node than the one that was meant")
    return words[2] if len(words) == 3 else ""


# ------------------------------------------------------------------ the calling side


def introduce(
    channel: Channel, credentials: Credentials, address: Address, plane: str, deadline: float
) -> str:
    """Greet the daemon called ``plane`` at ``address``, and hear its welcome.

    Raises:
        NotTrusted: one of the two ends does not convince the other.
        GreetingRefused: another daemon listens there, by its own word.
        TimeoutError, ConnectionError, ProtocolError: as the channel does.
    """
    try:
        if isinstance(credentials, Certificates):
            _introduce_by_certificate(channel, credentials, address, plane, deadline)
        else:
            _introduce_by_token(channel, credentials, address, plane, deadline)
        return _welcomed(channel, deadline)
    except Cut as error:
        if isinstance(error.__cause__, ssl.SSLError):
            raise NotTrusted(f"{address}: {why_failed(error.__cause__)}") from error
        raise


def _introduce_by_certificate(
    channel: Channel, certificates: Certificates, address: Address, plane: str, deadline: float
) -> None:
    try:
        channel.encrypt(certificates.loaded.client, deadline, host=address.host)
    except ssl.SSLError as error:
        raise NotTrusted(f"{address}: {why_failed(error)}") from error
    node = caller_of(channel.certificate())
    if node is None or node.role is not Role.NODE:
        raise NotTrusted(f"{address}: the certificate is not one of a node")
    with contextlib.suppress(Cut):  # then what can still be received says why
        send_text(channel, message.MSG_CONNECT, f"{PROTOCOL} {plane}", deadline)


def _introduce_by_token(
    channel: Channel, token: Token, address: Address, plane: str, deadline: float
) -> None:
    hello = f"{PROTOCOL} {plane} {secrets.token_hex(NONCE_CHARACTERS // 2)}"
    send_text(channel, message.MSG_CONNECT, hello, deadline)
    try:
        words = _welcomed(channel, deadline).split(" ")
    except Cut as error:
        if error.midway:
            raise
        hint = "if it wants certificates, name the folder of yours by MR_CERTS_FOLDER"
        raise Cut(f"{error} on being greeted; {hint}", midway=False) from error
    if len(words) != 3 or words[0] != PROTOCOL or len(words[1]) != NONCE_CHARACTERS:
        raise ProtocolError("not the greeting of a node of this version")
    said = (hello, words[1], _daemon_end(channel.sock.getpeername()))
    if not hmac.compare_digest(words[2], _proof(token, "daemon", said)):
        raise NotTrusted(
            f"{address}: it does not have this user's token: another user's node, or one that "
            "was started with another MAP_REDUCE_TOKEN_FILE"
        )
    send_text(channel, message.MSG_CONNECT, _proof(token, "caller", said), deadline)


def _welcomed(channel: Channel, deadline: float) -> str:
    kinds = (message.MSG_CONNECTOK, message.MSG_CONNECTFAIL)
    frame = channel.receive(kinds, deadline, body_bytes_max=GREETING_BYTES_MAX)
    text = _text(frame.body)
    if frame.kind == message.MSG_CONNECTFAIL:
        raise GreetingRefused(f"it refused the greeting: {text[:200]!r}")
    return text


# ------------------------------------------------------------------ both


def send_text(channel: Channel, kind: int, text: str, deadline: float) -> None:
    """Send a frame of the greeting."""
    channel.send(kind, 0, b"", _serializer.dumps({"handshake": text}), deadline)


def receive_text(channel: Channel, kinds: tuple[int, ...], deadline: float) -> str:
    """Receive a frame of the greeting. Raises as the channel does."""
    return _text(channel.receive(kinds, deadline, body_bytes_max=GREETING_BYTES_MAX).body)


def _text(body: bytearray) -> str:
    text = _serializer.loads(body)
    if not isinstance(text, str):
        raise ProtocolError("bytes instead of a greeting")
    return text


def _daemon_end(name: tuple[object, ...]) -> str:
    """A socket's address in the form that both ends see alike."""
    return f"{name[0]} {name[1]}"


def _proof(token: Token, speaker: str, said: tuple[str, str, str]) -> str:
    text = "\n".join((PROTOCOL, speaker, *said))
    return hmac.new(token.secret, text.encode(), hashlib.sha256).hexdigest()
