"""What the tests of the transport share: raw ends, impostors, nodes under attack, and a trap."""

from __future__ import annotations

import contextlib
import json
import marshal
import pickle
import socket
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cloudpickle
import pytest
import serpent
from pyro_by_hand import PATIENCE_S, TOKEN, Hand, Node, Transports

from map_reduce.core.identifiers import Address
from map_reduce.transport.credentials import Credentials
from map_reduce.transport.pyro import PyroTransport


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

        def make(credentials: Credentials = TOKEN, **settings: Any) -> PyroTransport:
            made = PyroTransport(credentials, **settings)
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


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.pause.set()
    node.transport.close()


@pytest.fixture
def client(transport: Transports) -> PyroTransport:
    return transport()


@pytest.fixture
def trap(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Springs where anything decodes by what Pyro4 knows, in the node or in the client."""
    sprung: list[str] = []

    def set_trap(module: object, name: str) -> None:
        original = getattr(module, name)

        def trapped(*args: object, **kwargs: object) -> object:
            caller = sys._getframe(1).f_globals["__name__"]
            if not caller.startswith("importlib"):  # which reads compiled modules by marshal
                sprung.append(f"{caller}: {module}.{name}")
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, trapped)

    for module, name in [
        (pickle, "loads"),
        (marshal, "loads"),
        (cloudpickle, "loads"),
        (serpent, "loads"),
        (json, "loads"),
        (zlib, "decompress"),
        (zlib, "decompressobj"),
    ]:
        set_trap(module, name)
    yield sprung
    assert sprung == []
