"""What it costs when one in nine workers dies in mid-job; the paper's figure is 1.05.

    python benchmarks/dead_workers.py [--rounds 3] [--task-s 0.5]

"MapReduce: Simplified Data Processing on Large Clusters" (OSDI 2004, section 5.5) kills 200 of 1746
worker processes, 11.5 %, minutes into a computation of a quarter of an hour: it takes 5 % longer.
The machines stay, and start new ones. Here on a ring of real processes, twice:

    processes   3 of 26 worker processes die at the same time; their nodes start new ones
    node        1 of 9 nodes dies, which is not the job's master, with its workers and all the map
                outputs it has; nothing comes in its stead

User code sleeps, so that slots count and not the processors of this machine. Undisturbed and
disturbed jobs take turns on the same ring; medians are compared.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import measure
from map_reduce import ServerInterface
from map_reduce.client.handle import JobHandle
from map_reduce.testing import ChaosCluster

TASKS_PER_SLOT = 20
SHARE = 0.115
RESULT_S_MAX = 600.0
POLL_S = 0.01

Disturb = Callable[[ChaosCluster, JobHandle, Path], object]


def functions(folder: Path, task_s: float) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A map that says which process it runs in, and takes its time."""
    pids = str(folder / "pids")

    def slow(number: int, line: str) -> Iterator[tuple[str, int]]:
        Path(pids, str(os.getpid())).touch()
        time.sleep(task_s)
        yield line, 1

    def count(line: str, ones: list[int]) -> int:
        return sum(ones)

    return slow, count


def kill_processes(cluster: ChaosCluster, job: JobHandle, folder: Path) -> None:
    """Some that have run tasks, and so are in the middle of one."""
    pids = sorted(int(path.name) for path in (folder / "pids").iterdir())
    for pid in cluster.draw.sample(pids, round(SHARE * len(pids))):
        os.kill(pid, signal.SIGKILL)


def kill_node(cluster: ChaosCluster, job: JobHandle, folder: Path) -> None:
    """Any but the master."""
    master = cluster.master_of(job.id)
    others = [node for node in cluster.running if node is not master]
    cluster.kill(cluster.draw.choice(others))


def run(
    cluster: ChaosCluster,
    server: ServerInterface,
    tasks: int,
    task_s: float,
    disturb: Disturb | None,
) -> float:
    """Seconds that a job took."""
    with tempfile.TemporaryDirectory(prefix="dead-workers-") as name:
        folder = Path(name)
        (folder / "pids").mkdir()
        for number in range(tasks):
            (folder / f"{number:04}.txt").write_text(f"line {number % 10}\n")
        begin_s = time.monotonic()
        job = server.startup(str(folder / "*.txt"), *functions(folder, task_s))
        if disturb is not None:
            pause = threading.Event()
            while job.progress.tasks_done < tasks // 2:
                pause.wait(POLL_S)
            disturb(cluster, job, folder)
        result = job.result(RESULT_S_MAX)
        took_s = time.monotonic() - begin_s
        assert sum(result.values()) == tasks, result
        return took_s


def compare(
    what: str, nodes: int, slots: int, disturb: Disturb, rounds: int, task_s: float
) -> None:
    """Print one line of the table."""
    undisturbed_s, disturbed_s = [], []
    tasks = nodes * slots * TASKS_PER_SLOT
    with ChaosCluster(nodes, seed=1, slots=slots) as cluster:
        with cluster.server() as server:  # starts the workers
            run(cluster, server, 4 * nodes * slots, 0.01, None)
        for _ in range(rounds):
            with cluster.server() as server:
                undisturbed_s.append(run(cluster, server, tasks, task_s, None))
                disturbed_s.append(run(cluster, server, tasks, task_s, disturb))
            for node in cluster.down:
                cluster.restart(node)
            cluster.await_copies()
    before, after = statistics.median(undisturbed_s), statistics.median(disturbed_s)
    print(f"| {what} | {tasks} | {before:.1f} | {after:.1f} | {after / before:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task-s", type=float, default=1.0)
    options = parser.parse_args()
    print(measure.describe_machine(), flush=True)
    print("| dies | tasks | undisturbed, s | disturbed, s | ratio |\n|---|---|---|---|---|")
    compare("3 of 26 worker processes", 2, 13, kill_processes, options.rounds, options.task_s)
    compare("1 of 9 nodes", 9, 3, kill_node, options.rounds, options.task_s)


if __name__ == "__main__":
    main()
