"""How long a job stands still when its master dies.

    python benchmarks/takeover.py [--times 50] [--nodes 5]

Jobs of many short map tasks, one after another on a ring of real processes. In the middle of each
its master gets SIGKILL. Every task notes when it starts. For a moment the other nodes go on with
what they were given; then nothing starts, until the successor gives the first task: the end of the
longest gap. The time from the death to that is what is told, beside the time of jobs whose master
lives.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import measure
from map_reduce import ServerInterface
from map_reduce.testing import ChaosCluster

TASKS = 200
TASK_S = 0.05
RESULT_S_MAX = 120.0
POLL_S = 0.002


def functions(folder: Path) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A map that notes its start and takes its time, and a reduce that counts."""
    starts = str(folder / "starts")

    def short(number: int, line: str) -> Iterator[tuple[str, int]]:
        with open(starts, "a") as file:
            file.write(f"{time.monotonic()}\n")
        time.sleep(TASK_S)
        yield line, 1

    def count(line: str, ones: list[int]) -> int:
        return sum(ones)

    return short, count


def starts_in(folder: Path) -> list[float]:
    """When tasks have started, in order."""
    path = folder / "starts"
    return sorted(map(float, path.read_text().split())) if path.exists() else []


def run(cluster: ChaosCluster, server: ServerInterface, *, kill: bool) -> tuple[float, float]:
    """Seconds from death to the next assignment (0 without one), and of the whole job."""
    with tempfile.TemporaryDirectory(prefix="takeover-") as name:
        folder = Path(name)
        for number in range(TASKS):
            (folder / f"{number:03}.txt").write_text(f"line {number % 10}\n")
        begin_s = time.monotonic()
        job = server.startup(str(folder / "*.txt"), *functions(folder))
        death_s = 0.0
        if kill:
            while len(starts_in(folder)) < TASKS // 4:
                time.sleep(POLL_S)
            master = cluster.master_of(job.id)
            death_s = time.monotonic()
            cluster.kill(master)
        result = job.result(RESULT_S_MAX)
        job_s = time.monotonic() - begin_s
        assert result == {f"line {n}": TASKS // 10 for n in range(10)}, result
        if not kill:
            return 0.0, job_s
        after = [death_s, *(start for start in starts_in(folder) if start > death_s)]
        _, resumed_s = max(pairwise(after), key=lambda pair: pair[1] - pair[0])
        return resumed_s - death_s, job_s


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=5)
    options = parser.parse_args()
    print(measure.describe_machine(), flush=True)
    takeovers_s, jobs_s, undisturbed_s = [], [], []
    with ChaosCluster(options.nodes, seed=1) as cluster:
        for number in range(options.times):
            # A client of its own for each: by way of a node that lives.
            with cluster.server() as server:
                undisturbed_s.append(run(cluster, server, kill=False)[1])
                takeover_s, job_s = run(cluster, server, kill=True)
            takeovers_s.append(takeover_s)
            jobs_s.append(job_s)
            print(f"{number}: {takeover_s:.2f} s", file=sys.stderr, flush=True)
            for node in cluster.down:
                cluster.restart(node)
            cluster.await_copies()
    print(
        f"from the death of the master to its successor's first assignment, {len(takeovers_s)} "
        f"times: median {statistics.median(takeovers_s):.2f} s, worst {max(takeovers_s):.2f} s"
    )
    print(
        f"the job: {statistics.median(undisturbed_s):.2f} s (median) without a death, "
        f"{statistics.median(jobs_s):.2f} s with one"
    )


if __name__ == "__main__":
    main()
