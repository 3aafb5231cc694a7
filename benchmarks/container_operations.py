"""What an operator does to a ring of real containers while a job runs on it.

    python benchmarks/container_operations.py rolling [--nodes 5] [--megabytes 20]
    python benchmarks/container_operations.py scale

rolling   every node is stopped in order and started again, one after the other; the next as soon as
          the ring is whole and nothing lacks copies. Before, a job has ended whose results nobody
          has fetched; they are fetched afterwards.
scale     three nodes become eight by scripts/batch_scale; when each has done tasks, three again.

The job counts the words of a real text in pieces, and pauses before each, so that it lasts and its
tasks can be watched: every few seconds is printed how many pieces each node has done since the
last line, less those whose output was lost with a node. Its answer is compared with that of one
loop. Takes the image that scripts/batch_run has built, as container_faults.py does.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import measure
from container_cluster import ROOT, Cluster, docker, wait_until
from map_reduce.client.handle import JobHandle
from map_reduce.client.server_interface import ServerInterface
from map_reduce.counters import counter
from map_reduce.errors import MapReduceError

LINE_S = 10.0
COPIES_S_MAX = 150.0
RESULT_S_MAX = 600.0
TASKS_S_MAX = 200.0
NODES_FEW, NODES_MANY = 3, 8


def slowly(pause_s: float) -> Callable[[int, str], list[tuple[str, int]]]:
    """A map that counts the words of a piece of text, and under whose name it did."""

    def count(number: int, piece: str) -> list[tuple[str, int]]:
        time.sleep(pause_s)
        counter(socket.gethostname()).add()
        return list(collections.Counter(piece.split()).items())

    return count


def total(word: str, counts: list[int]) -> int:
    return sum(counts)


def pieces_of(text: Path, count: int) -> list[str]:
    lines = text.read_text(encoding="utf-8").splitlines(keepends=True)
    step = -(-len(lines) // count)
    return ["".join(lines[first : first + step]) for first in range(0, len(lines), step)]


class Watch:
    """Prints what each node has done, every few seconds, until it is closed."""

    def __init__(self, job: JobHandle) -> None:
        self._job = job
        self._start_s = time.monotonic()
        self._known: dict[str, int] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")
        self._thread.start()

    def _run(self) -> None:
        while not self._closing.wait(LINE_S):
            self.line()

    def line(self) -> None:
        # While its master changes nobody may answer; the next line then has it.
        with contextlib.suppress(MapReduceError):
            now = self._job.counters
            since = {name: now[name] - self._known.get(name, 0) for name in sorted(now)}
            shares = "  ".join(f"{name.rpartition('-')[2]}: {n:>3}" for name, n in since.items())
            self.tell(f"pieces by node  {shares}")
            self._known = now

    def tell(self, what: str) -> None:
        print(f"{time.monotonic() - self._start_s:6.1f} s  {what}", flush=True)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()


def rolling(cluster: Cluster, watch: Watch, job: JobHandle) -> None:
    nodes = [cluster.inspect(name) for name in cluster.containers()]
    addresses = [node.address for node in nodes]
    for node in nodes:
        assert job.state in ("map", "reduce"), "the job is over; have it last longer"
        watch.tell(f"stopping {node.name}")
        docker("stop", "--time", "30", node.name)
        docker("start", node.name)
        cluster.await_copies(addresses, COPIES_S_MAX)
        watch.tell(f"{node.name} is back, and nothing lacks copies")


def scale(cluster: Cluster, watch: Watch, job: JobHandle) -> None:
    def to(nodes: int) -> None:
        watch.tell(f"to {nodes} nodes")
        cluster.script("batch_scale", cluster.name, str(nodes))
        assert job.state in ("map", "reduce"), "the job is over; have it last longer"
        watch.tell(f"the ring is whole, of {nodes}")

    to(NODES_MANY)
    wait_until("all have done tasks", lambda: len(job.counters) == NODES_MANY, TASKS_S_MAX)
    to(NODES_FEW)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("rolling", "scale"))
    parser.add_argument("--nodes", type=int, help="at the start (default: 5, and 3 to scale)")
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--pieces", type=int, default=600)
    parser.add_argument("--pause-s", type=float, default=1.0, help="of each piece")
    options = parser.parse_args()
    text = ROOT / "benchmarks" / "data" / f"text-{options.megabytes}.txt"
    make = [sys.executable, str(measure.HERE / "real_text.py"), "--output", str(text)]
    measure.run([*make, "--megabytes", str(options.megabytes)], os.environ)
    pieces = pieces_of(text, options.pieces)
    expected = collections.Counter(word for piece in pieces for word in piece.split())
    nodes = options.nodes or {"rolling": 5, "scale": NODES_FEW}[options.what]
    print(measure.describe_machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="container-operations-") as folder:
        image = os.environ.get("MR_IMAGE", "map-reduce")
        network = os.environ.get("MR_NETWORK", "distributed")
        settings = {"MR_SLOTS": "4", "MR_ITEMS_PER_CHUNK": "1"}
        cluster = Cluster("operated", Path(folder), image=image, network=network, **settings)
        try:
            cluster.start(nodes, "--no-remove", "--keep-data")
            return operate(cluster, options, pieces, expected)
        finally:
            cluster.end()


def operate(
    cluster: Cluster, options: argparse.Namespace, pieces: list[str], expected: dict[str, int]
) -> int:
    """1 if an answer is wrong. Raises MapReduceError, AssertionError: there is none."""
    map_function = slowly(options.pause_s)
    with ServerInterface(cluster.address(1), certs=cluster.certs, progress=False) as server:
        before = server.startup(pieces, slowly(0.0), total, total)
        while before.state != "done":
            time.sleep(0.2)
        job = server.startup(pieces, map_function, total, total)
        watch = Watch(job)
        try:
            {"rolling": rolling, "scale": scale}[options.what](cluster, watch, job)
            results = job.result(RESULT_S_MAX)
            watch.tell("the job has ended")
        finally:
            watch.close()
        right = results == expected
        right_before = server.attach(before.id).result(60.0) == expected
    print(f"the answer is {'right' if right else 'WRONG'}, pieces by node: {job.counters}")
    print(f"that of the job before is {'right' if right_before else 'WRONG'}")
    return 0 if right and right_before else 1


if __name__ == "__main__":
    sys.exit(main())
