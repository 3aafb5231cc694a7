"""Two raw ends to set against the transport: frames made by hand, and a server that misbehaves."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from map_reduce.core.identifiers import Address
from map_reduce.transport.pyro import PyroTransport

PATIENCE_S = 30.0

CONNECT, CONNECTOK, CONNECTFAIL, INVOKE, RESULT, PING = range(1, 7)
EXCEPTION, COMPRESSED, ONEWAY, BATCH, META_ON_CONNECT, ITEMSTREAM, KEEPSERIALIZED = (
    1 << bit for bit in range(7)
)
OURS = 77


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

    def greet(self, greeting: bytes = b"hmap-reduce/1") -> bytes:
        self.send(self.frame(CONNECT, greeting))
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


@pytest.fixture
def hands() -> Iterator[Callable[[Address], Hand]]:
    """Makes Hands, and closes them."""
    with contextlib.ExitStack() as stack:

        def make(address: Address) -> Hand:
            hand = Hand(address)
            stack.callback(hand.close)
            return hand

        yield make


@pytest.fixture
def impostor() -> Iterator[Callable[[Callable[[socket.socket], None]], Address]]:
    """Runs a function on each connection to an address that it returns."""
    with contextlib.ExitStack() as stack:

        def start(behave: Callable[[socket.socket], None]) -> Address:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listener.settimeout(PATIENCE_S)
            threads = stack.enter_context(ThreadPoolExecutor(8))
            made: list[socket.socket] = []

            def one(sock: socket.socket) -> None:
                made.append(sock)
                with sock, contextlib.suppress(OSError):
                    sock.settimeout(PATIENCE_S)
                    behave(sock)

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        threads.submit(one, listener.accept()[0])

            def stop() -> None:
                for sock in (listener, *made):
                    with contextlib.suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)

            threads.submit(accept)
            stack.callback(stop)
            return Address(*listener.getsockname())

        yield start


@pytest.fixture
def transport() -> Iterator[Callable[..., PyroTransport]]:
    """Makes transports, and closes them."""
    with contextlib.ExitStack() as stack:

        def make(**settings: Any) -> PyroTransport:
            made = PyroTransport(**settings)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits for what has no event of its own."""

    def wait(condition: Callable[[], bool]) -> None:
        pause = threading.Event()
        for _ in range(int(PATIENCE_S / 0.01)):
            if condition():
                return
            pause.wait(0.01)
        pytest.fail("it did not come about")

    return wait
