"""Small jobs one after another on a ring of three, under a kill every few seconds.

    python benchmarks/many_jobs.py [--jobs 1000] [--kill-every-s 3] [--deleted-jobs-max 100000]

Killed are, as drawn from a seed, worker processes of any node, and the two nodes other than the
first, which are started again at once; a ring of three bears one loss at a time, so the next node
is killed when the ring is whole again. The first node lives through it all: its memory is looked
at after every few jobs. It remembers the names of deleted jobs, the latest 100,000; whether
nothing else grows is seen with fewer (``--deleted-jobs-max 300``). At the end, all answers must
have been right, and nothing may be left: no blocks, no files, no sockets, no processes.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil

import measure
from map_reduce.errors import MapReduceError
from map_reduce.testing import ChaosCluster, sequential

LINES = [f"common word{number % 5} x{number}" for number in range(64)]
LOOKS = 50
RESULT_S_MAX = 120.0
SETTLE_S_MAX = 60.0


def words(number: int, line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


def total(word: str, counts: list[int]) -> int:
    return sum(counts)


class Killer:
    """Kills now and then, until the ``with`` block ends."""

    def __init__(self, cluster: ChaosCluster, every_s: float) -> None:
        self._cluster = cluster
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="killer")
        self.nodes = self.workers = 0
        self.problem = ""

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        draw = self._cluster.draw
        try:
            while not self._stop.wait(draw.uniform(0.5, 1.5) * self._every_s):
                if draw.random() < 0.5:
                    self._kill_worker()
                else:
                    victim = draw.choice(self._cluster.nodes[1:])
                    self._cluster.restart(victim)
                    self._cluster.await_copies()
                    self.nodes += 1
        except MapReduceError as error:
            self.problem = str(error)

    def _kill_worker(self) -> None:
        node = self._cluster.draw.choice(self._cluster.nodes)
        workers = psutil.Process(node.pid).children(recursive=True)
        if workers:
            os.kill(self._cluster.draw.choice(workers).pid, signal.SIGKILL)
            self.workers += 1


def slope(values: list[float]) -> float:
    """By least squares, for one step."""
    steps = range(len(values))
    return statistics.linear_regression(steps, values).slope


def left_over(cluster: ChaosCluster, folder: Path, before: dict[str, int]) -> list[str]:
    """What is still there that should not be, after a while."""
    until_s = time.monotonic() + SETTLE_S_MAX
    while True:
        report = cluster.report()
        left = [
            f"{node.member}: {node.blocks} blocks, {len(node.jobs)} jobs"
            for node in report.nodes.values()
            if node.blocks or node.jobs
        ]
        scratch = [path for path in folder.glob("map-reduce-*") if path.is_dir()]
        if len(scratch) > len(cluster.nodes) + 1:  # one for each node, and the cluster's own
            left.append(f"{len(scratch)} folders")
        now = handles(cluster)
        left += [
            f"{name}: {before[name]} before, {now[name]} now"
            for name in now
            if now[name] > before[name] + LOOKS
        ]
        if not left or time.monotonic() > until_s:
            return left
        time.sleep(0.5)


def handles(cluster: ChaosCluster) -> dict[str, int]:
    """Of the first node."""
    process = psutil.Process(cluster.nodes[0].pid)
    return {
        "open files and sockets": process.num_fds(),
        "threads": process.num_threads(),
        "children": len(process.children(recursive=True)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--kill-every-s", type=float, default=3.0)
    parser.add_argument("--deleted-jobs-max", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(measure.describe_machine(), flush=True)
    expected = sequential(LINES, words, total)
    wrong: list[str] = []
    memory_kib: list[float] = []
    with tempfile.TemporaryDirectory(prefix="many-jobs-") as name:
        os.environ["TMPDIR"] = tempfile.tempdir = name
        begin_s = time.monotonic()
        settings = {"MR_DELETED_JOBS_MAX": str(options.deleted_jobs_max)}
        cluster = ChaosCluster(3, seed=options.seed, settings=settings)
        with cluster, cluster.server() as server:
            server.startup(LINES, words, total).result(RESULT_S_MAX)
            before = handles(cluster)
            first = psutil.Process(cluster.nodes[0].pid)
            with Killer(cluster, options.kill_every_s) as killer:
                for number in range(options.jobs):
                    try:
                        result = server.startup(LINES, words, total).result(RESULT_S_MAX)
                    except MapReduceError as error:
                        wrong.append(f"job {number}: {type(error).__name__}: {error}")
                    else:
                        if result != expected:
                            wrong.append(f"job {number}: another answer")
                    if number % max(1, options.jobs // LOOKS) == 0:
                        memory_kib.append(first.memory_info().rss / 1024)
                        told = f"{number + 1} jobs, {memory_kib[-1] / 1024:.2f} MiB"
                        print(told, file=sys.stderr, flush=True)
            took_s = time.monotonic() - begin_s
            left = left_over(cluster, Path(name), before)
        remains = [path.name for path in Path(name).iterdir()]
    step = max(1, options.jobs // LOOKS)
    slopes = [slope(memory_kib[len(memory_kib) // part :]) / step for part in (4, 2)]
    print(
        f"{options.jobs} jobs in {took_s:.0f} s, {killer.nodes} nodes and {killer.workers} "
        f"worker processes killed: {options.jobs - len(wrong)} right, {len(wrong)} not"
    )
    print("\n".join(wrong[:10]))
    print(
        f"memory of the node that lived: {memory_kib[0] / 1024:.1f} MiB after the first job, "
        f"{memory_kib[-1] / 1024:.1f} MiB after the last; slope {slopes[0]:.2f} KiB a job without "
        f"the first quarter, {slopes[1]:.2f} in the second half"
    )
    print(
        f"left at the end: {'; '.join(left) or 'nothing'}; after the nodes were stopped: "
        f"{', '.join(remains) or 'no file'}"
    )
    if killer.problem:
        print(f"the ring did not heal: {killer.problem}")
    return 1 if wrong or left or remains or killer.problem else 0


if __name__ == "__main__":
    sys.exit(main())
