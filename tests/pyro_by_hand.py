"""A raw end to set against the transport: frames made by hand; and a node that they are sent to."""

from __future__ import annotations

import contextlib
import hmac
import secrets
import socket
import struct
import threading
from collections.abc import Callable

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import Done, GetPiece, Message, Piece, Ping, Request
from map_reduce.transport.credentials import Token
from map_reduce.transport.pyro import PyroTransport
from map_reduce.transport.pyro_server import Limits, Stage

PATIENCE_S = 30.0

CONNECT, CONNECTOK, CONNECTFAIL, INVOKE, RESULT, PING = range(1, 7)
EXCEPTION, COMPRESSED, ONEWAY, BATCH, META_ON_CONNECT, ITEMSTREAM, KEEPSERIALIZED = (
    1 << bit for bit in range(7)
)
OURS = 77

TOKEN = Token(bytes(range(32)))


class Hand:
    """Speaks to a daemon byte by byte."""

    def __init__(self, address: Address) -> None:
        self.sock = socket.create_connection((address.host, address.port), PATIENCE_S)

    @staticmethod
    def frame(
        kind: int,
        body: bytes = b"",
        *,
        flags: int = 0,
        serializer: int = OURS,
        sequence: int = 0,
        annotations: bytes = b"",
        size: int | None = None,
        tag: bytes = b"PYRO",
        version: int = 48,
    ) -> bytes:
        """A frame by the book: 24 bytes of header with a sum, annotations, body."""
        size = len(body) if size is None else size
        fields = (version, kind, flags, sequence, size, serializer, len(annotations), 0)
        total = (sum(fields) + 0x34E9) & 0xFFFF
        return struct.pack("!4sHHHHiHHHH", tag, *fields, total) + annotations + body

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the daemon may have hung up, which is its right
            self.sock.sendall(data)

    def greet(self, plane: str = "control", secret: bytes = TOKEN.secret) -> bytes:
        """Greet as whoever has the secret, and return the frame that welcomes him."""
        hello = f"map-reduce/3 {plane} {secrets.token_hex(16)}"
        self.send(self.frame(CONNECT, b"h" + hello.encode()))
        answer = self.receive()
        words = answer[25:].decode().split(" ")
        if len(words) != 3:
            return answer
        proof = proof_by_hand(secret, "caller", hello, words[1], self.sock.getpeername())
        self.send(self.frame(CONNECT, b"h" + proof))
        return self.receive()

    def receive(self) -> bytes:
        """What comes until a whole frame is there or the daemon hangs up."""
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while len(data) < 24 or len(data) < 24 + struct.unpack("!i", data[12:16])[0]:
                more = self.sock.recv(65536)
                if not more:
                    break
                data += more
        return data

    def reset(self) -> None:
        """End without farewell: what the other end does next fails."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


def proof_by_hand(
    secret: bytes, speaker: str, hello: str, challenge: str, daemon: tuple[object, ...]
) -> bytes:
    """What shows that one has the secret, worked out anew from the description of it."""
    said = f"map-reduce/3\n{speaker}\n{hello}\n{challenge}\n{daemon[0]} {daemon[1]}"
    return hmac.new(secret, said.encode(), "sha256").hexdigest().encode()


def prove_as_daemon(sock: socket.socket, secret: bytes = TOKEN.secret) -> None:
    """The answering side of a greeting, up to the welcome."""
    hello = sock.recv(65536)[25:].decode()
    challenge = secrets.token_hex(16)
    proof = proof_by_hand(secret, "daemon", hello, challenge, sock.getsockname())
    sock.sendall(Hand.frame(CONNECTOK, f"hmap-reduce/3 {challenge} ".encode() + proof))
    sock.recv(65536)


def greet_well(sock: socket.socket) -> None:
    """The answering side of a whole greeting, and of a request that is not looked at."""
    prove_as_daemon(sock)
    sock.sendall(Hand.frame(CONNECTOK, b"hmap-reduce/3 bulk 9 token"))
    sock.recv(65536)


PING_REQUEST = Request("", None, Ping())
PIECE_REQUEST = Request("", None, GetPiece("a block", 0, 1))
CALL = b"cmap_reduce\nrpc\n"
FEW = 4  # handlers of the node under attack
GREETING_SENT = Hand.frame(CONNECT, b"hmap-reduce/3 control " + b"1" * 32)

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
            TOKEN, request_handlers_max=FEW, bulk_handlers_max=FEW, limits=limits
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
        with contextlib.closing(PyroTransport(TOKEN)) as other:
            assert other.call(self.address, PING_REQUEST, PATIENCE_S) == Done()
            assert other.call(self.address, PIECE_REQUEST, PATIENCE_S) == Piece(bytes(1 << 20), 1)
        assert self.loops() == 2
