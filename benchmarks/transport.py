"""What the transport costs: with the token, with certificates, and against bare sockets.

    python benchmarks/transport.py [--rounds 5]

All ways are measured in turn in each round, in one process with both ends; of the rounds the best
is printed, and the median. ``bare`` sends and receives as many bytes over a plain socket or over
Python's own TLS, with the same certificates. Needs what ``map-reduce certs`` needs.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from map_reduce.certs.folders import issue_to, make_authority
from map_reduce.core.identifiers import Address
from map_reduce.core.messages import (
    BlockRef,
    Done,
    GetPiece,
    Message,
    Piece,
    Ping,
    PutPiece,
    Request,
)
from map_reduce.core.roles import Role
from map_reduce.transport.credentials import Certificates, Credentials, Token
from map_reduce.transport.pyro import PyroTransport

PIECE_BYTES = 1 << 20
CONTENT = bytes(range(256)) * (PIECE_BYTES // 256)
PUT = Request("", None, PutPiece(BlockRef("b", PIECE_BYTES, b""), 0, CONTENT))
GET = Request("", None, GetPiece("b", 0, PIECE_BYTES))
PING = Request("", None, Ping())
TIMEOUT_S = 30.0
Way = Callable[[], float]  # seconds of one repetition


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        certificates = make_certificates(Path(folder) / "certs")
        ends = {
            "token": Ends(Token(bytes(32)), Token(bytes(32))),
            "certificates": Ends(*certificates),
        }
        bare = {"plain": Bare(None, None), "TLS": Bare(*(c.loaded for c in certificates))}
        ways: dict[tuple[str, str], Way] = {}
        for name, end in ends.items():
            ways["call", name] = lambda end=end: end.repeat(PING, 500)  # type: ignore[misc]
            ways["new connection and call", name] = lambda end=end: end.connect(20)  # type: ignore[misc]
            ways["put 1 MiB", name] = lambda end=end: end.repeat(PUT, 60)  # type: ignore[misc]
            ways["get 1 MiB", name] = lambda end=end: end.repeat(GET, 60)  # type: ignore[misc]
        for name, one in bare.items():
            ways["call", f"bare {name}"] = lambda one=one: one.exchange(100, 100, 500)  # type: ignore[misc]
            ways["put 1 MiB", f"bare {name}"] = lambda one=one: one.exchange(PIECE_BYTES, 20, 60)  # type: ignore[misc]
            ways["get 1 MiB", f"bare {name}"] = lambda one=one: one.exchange(20, PIECE_BYTES, 60)  # type: ignore[misc]
        took = measure(ways, rounds)
        for end in ends.values():
            end.close()
        for one in bare.values():
            one.close()
    report(took)


def make_certificates(folder: Path) -> tuple[Certificates, Certificates]:
    """Of a node on loopback, and of a client."""
    make_authority(folder)
    node = issue_to(folder, "node", Role.NODE, ["127.0.0.1"], 30)
    client = issue_to(folder, "client", Role.CLIENT, [], 30)
    return Certificates(node), Certificates(client)


def measure(ways: dict[tuple[str, str], Way], rounds: int) -> dict[tuple[str, str], list[float]]:
    """Seconds of one repetition, for each way and round."""
    took: dict[tuple[str, str], list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            took[name].append(way())
    return took


def report(took: dict[tuple[str, str], list[float]]) -> None:
    """A line for each way, with the ratio that matters for it, of the best and of the medians."""
    print(f"{'':26s}{'':16s}{'best':>12s}{'median':>12s}   ratio (best, median)")
    for (what, how), times in took.items():
        best, median = min(times), statistics.median(times)
        against = {"certificates": "token", "token": "bare plain"}.get(how)
        if what.endswith("MiB") and how == "certificates":
            against = "bare TLS"
        ratio = ""
        if against is not None and (what, against) in took:
            other = took[what, against]
            ratio = f"{best / min(other):.2f}, {median / statistics.median(other):.2f} x {against}"
        speed = f"  {PIECE_BYTES / best / 1e6:.0f} MB/s" if what.endswith("MiB") else ""
        print(f"{what:26s}{how:16s}{best * 1e6:9.0f} µs{median * 1e6:9.0f} µs   {ratio}{speed}")


class Ends:
    """A node that answers, and a client of it."""

    def __init__(self, server: Credentials, client: Credentials) -> None:
        self._server, self._client = PyroTransport(server), PyroTransport(client)
        self._credentials = client
        self._address = self._server.listen(Address("127.0.0.1", 0))
        self._server.serve(_answer)

    def repeat(self, request: Request, times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            self._client.call(self._address, request, TIMEOUT_S)
        return (time.perf_counter() - start) / times

    def connect(self, times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            fresh = PyroTransport(self._credentials)
            fresh.call(self._address, PING, TIMEOUT_S)
            fresh.close()
        return (time.perf_counter() - start) / times

    def close(self) -> None:
        self._client.close()
        self._server.close()


def _answer(request: Request) -> Message:
    return Piece(CONTENT, PIECE_BYTES) if isinstance(request.body, GetPiece) else Done()


class Bare:
    """Two sockets that send each other so many bytes, and a thread for one of them."""

    def __init__(self, server: object, client: object) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
        for sock in (ours, theirs):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server = getattr(server, "server", None)
        self._sock = ours
        self._thread = threading.Thread(target=self._serve, args=(theirs,), daemon=True)
        self._thread.start()
        if client is not None:
            context: ssl.SSLContext = client.client  # type: ignore[attr-defined]
            self._sock = context.wrap_socket(ours, server_hostname="127.0.0.1")

    def _serve(self, sock: socket.socket) -> None:
        if self._server is not None:
            sock = self._server.wrap_socket(sock, server_side=True)
        with sock:
            while head := _receive(sock, 8):
                there, back = (int.from_bytes(head[at : at + 4], "big") for at in (0, 4))
                _receive(sock, there)
                sock.sendall(CONTENT[:back])

    def exchange(self, there: int, back: int, times: int) -> float:
        head = there.to_bytes(4, "big") + back.to_bytes(4, "big")
        start = time.perf_counter()
        for _ in range(times):
            if there < 1000:
                self._sock.sendall(head + CONTENT[:there])
            else:
                self._sock.sendall(head)
                self._sock.sendall(CONTENT[:there])
            _receive(self._sock, back)
        return (time.perf_counter() - start) / times

    def close(self) -> None:
        self._sock.close()
        self._thread.join()


def _receive(sock: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = sock.recv_into(view)
        if not count:
            return bytearray()
        view = view[count:]
    return data


if __name__ == "__main__":
    main()
