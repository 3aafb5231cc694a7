"""Map outputs fetched for attempts: by the library, and by asking for one after another.

    python benchmarks/fetching.py [--latency-ms 5]
    python benchmarks/fetching.py --kbit-per-s 4000                           (root; Linux)

Two nodes that have map outputs and one that fetches them, in one process, over the transport and
loopback. ``--latency-ms`` lets each request for them wait so long before it is answered.
``--kbit-per-s`` makes loopback slow, as ``shuffle.py`` does, and has eight attempts fetch at once.
*One after another* is what the library did before: for each map output a request, for each further
MiB of it another when the one before has come, with a deadline of 10 s each.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import shuffle
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import (
    AttemptId,
    BlockRef,
    Functions,
    GetPiece,
    GetRanges,
    Message,
    Piece,
    ReduceWork,
    Request,
    Source,
    StartAttempt,
)
from map_reduce.errors import MapReduceError
from map_reduce.runtime.links import Links
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.shuffling import Shuffling, ranges_of
from map_reduce.storage.memory import MemoryBlockStore
from map_reduce.transport.credentials import Token
from map_reduce.transport.pyro import PyroTransport

PIECE_BYTES = 1 << 20
TIMEOUT_S = 10.0
ANYWHERE = Address("127.0.0.1", 0)
Fetch = Callable[[Sequence[Source], Path], None]  # into a folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--kbit-per-s", type=int, default=0)
    asked = parser.parse_args()
    if asked.kbit_per_s and not os.environ.get(shuffle.ON_SLOW_LINK):
        sys.exit(shuffle.on_slow_link(asked.kbit_per_s))
    with ExitStack() as closing:
        ring = Ring(closing, asked.latency_ms / 1000)
        if asked.kbit_per_s:
            compare(ring, "8 attempts, each 2 x 2 MiB", [ring.keep(2, 2 << 20) for _ in range(8)])
            return
        compare(ring, "1,000 of 300 bytes", [ring.keep(1000, 300)])
        compare(ring, "100 of 64 KiB", [ring.keep(100, 64 << 10)])
        compare(ring, "40 of 2 MiB", [ring.keep(40, 2 << 20)])


class Ring:
    """Two nodes with map outputs, and one that fetches."""

    def __init__(self, closing: ExitStack, latency_s: float) -> None:
        self._latency_s = latency_s
        self._stores: dict[Address, MemoryBlockStore] = {}
        self._serial = 0
        self._lock = threading.Lock()
        self.requests = 0
        self.folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
        for _ in range(2):
            transport, store = PyroTransport(Token(bytes(32))), MemoryBlockStore()
            self._stores[transport.listen(ANYWHERE)] = store
            transport.serve(lambda request, store=store: self._answer(store, request))  # type: ignore[misc]
            closing.callback(transport.close)
        transport = PyroTransport(Token(bytes(32)))
        me = Member(Address("127.0.0.1", 1), 1)
        self._peers = Peers(transport, timeout_s=1.0, me=me)
        links = Links()
        self._shuffling = Shuffling(
            self._peers, MemoryBlockStore(), links, lambda order: True, time.monotonic
        )
        for close in (links.close, transport.close, self._shuffling.close):
            closing.callback(close)

    def _answer(self, store: MemoryBlockStore, request: Request) -> Message:
        with self._lock:
            self.requests += 1
        time.sleep(self._latency_s)
        body = request.body
        if isinstance(body, GetRanges):
            return ranges_of(store, body)
        assert isinstance(body, GetPiece)
        return Piece(*store.read(body.name, body.offset, body.length_bytes))

    def keep(self, count: int, length_bytes: int) -> list[Source]:
        """So many map outputs, spread over the two nodes."""
        sources = []
        for number in range(count):
            node = [*self._stores][number % 2]
            self._serial += 1
            name = f"job/map/{self._serial}"
            data = random.Random(self._serial).randbytes(length_bytes)
            self._stores[node].adopt_bytes(BlockRef(name, length_bytes, b""), data)
            sources.append(Source(node, name, 0, length_bytes))
        return sources

    def together(self, sources: Sequence[Source], folder: Path) -> None:
        order = StartAttempt(
            attempt=AttemptId("job", "reduce", 0, 0),
            epoch=1,
            master=ANYWHERE,
            functions=Functions(b"", None, b""),
            work=ReduceWork.of(0, 1, 1, sources),
            timeout_s=60.0,
            careful=False,
        )
        assert isinstance(order.work, ReduceWork)
        self._shuffling.fetch(order, order.work, lambda: folder)

    def one_after_another(self, sources: Sequence[Source], folder: Path) -> None:
        with open(folder / "sources", "wb") as file:
            for source in sources:
                for offset in range(0, source.length_bytes, PIECE_BYTES):
                    length_bytes = min(PIECE_BYTES, source.length_bytes - offset)
                    message = GetPiece(source.name, offset, length_bytes)
                    reply = self._peers.request(source.node, message, Piece, timeout_s=TIMEOUT_S)
                    file.write(reply.data)


def compare(ring: Ring, what: str, attempts: Sequence[Sequence[Source]]) -> None:
    ways: dict[str, Fetch] = {
        "one after another": ring.one_after_another,
        "together": ring.together,
    }
    rounds = 1 if len(attempts) > 1 else 3
    for name, fetch in ways.items():
        costs = [measure(ring, attempts, fetch) for _ in range(rounds)]
        took_s, cpu_s, requests, failed = min(costs)
        lost = f", {failed} of them failed" if failed else ""
        print(
            f"{what:<30}{name:<20}{took_s * 1e3:10.1f} ms  processor {cpu_s * 1e3:8.1f} ms  "
            f"{requests:6} requests{lost}",
            flush=True,
        )


def measure(
    ring: Ring, attempts: Sequence[Sequence[Source]], fetch: Fetch
) -> tuple[float, float, int, int]:
    """Seconds, processor time of both ends, requests, and attempts that failed."""
    failures: list[MapReduceError] = []

    def run(number: int, sources: Sequence[Source]) -> None:
        try:
            folder = ring.folder / str(number)
            folder.mkdir(exist_ok=True)
            fetch(sources, folder)
        except MapReduceError as error:
            failures.append(error)

    threads = [
        threading.Thread(target=run, args=(number, sources))
        for number, sources in enumerate(attempts)
    ]
    ring.requests = 0
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (
        time.perf_counter() - begun_s,
        time.process_time() - cpu_s,
        ring.requests,
        len(failures),
    )


if __name__ == "__main__":
    main()
