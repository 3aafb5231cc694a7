"""What a task costs beyond its work, in the script's own node and in a ring on this machine.

    python benchmarks/tiny_tasks.py [--tasks 2000] [--jobs 5] [--nodes 3] [--slots 1]

The job reads so many files of a line each, every one of them a split of its own (small files
share splits otherwise), and counts its words. It runs once to warm the workers up, then ``--jobs``
times. Shown for each task, medians of the jobs: time on the clock; processor time of the nodes, of
the one among them that took most (the master's), of their workers, and of the script, which is the
node where there is no ring (``--nodes 0``); and how often a thread of the nodes had to wait.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil

from map_reduce import ServerInterface
from map_reduce.client import text
from map_reduce.server.local_cluster import LocalCluster

SPLITS_PER_SLOT = 1_000_000  # so that no two files share one


def words(number: int, line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


def total(word: str, ones: list[int]) -> int:
    return sum(ones)


class Spent(NamedTuple):
    """Of all jobs so far: seconds, and a number of waits."""

    clock_s: float
    nodes_s: tuple[float, ...]
    workers_s: float
    script_s: float
    waits: int


def spent(nodes: list[psutil.Process]) -> Spent:
    script = psutil.Process()
    workers = [child for node in nodes or [script] for child in node.children(recursive=True)]
    return Spent(
        time.perf_counter(),
        tuple(map(processor_s, nodes)),
        sum(processor_s(worker) + reaped_s(worker) for worker in workers),
        processor_s(script),
        sum(map(waits, nodes or [script])),
    )


def processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def reaped_s(process: psutil.Process) -> float:
    """Of its children that have ended: workers are replaced now and then."""
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def waits(process: psutil.Process) -> int:
    count = 0
    for thread in Path(f"/proc/{process.pid}/task").glob("*/status"):
        for line in thread.read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                count += int(line.split()[1])
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=3, help="0: in the script itself")
    parser.add_argument("--slots", type=int, default=1, help="of each node of the ring")
    asked = parser.parse_args()
    text.SPLITS_PER_SLOT = SPLITS_PER_SLOT
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for number in range(asked.tasks):
            (folder / f"{number:06}.txt").write_text(f"a line {number % 7}\n")
        nodes: list[psutil.Process] = []
        address = None
        if asked.nodes:
            ring = stack.enter_context(LocalCluster(asked.nodes, slots=asked.slots))
            nodes = [psutil.Process(node.process.pid) for node in ring.nodes]
            address = str(ring.nodes[0].address)
        else:
            os.environ["MR_SLOTS"] = str(asked.slots)
        server = stack.enter_context(ServerInterface(address, quiet=True, progress=False))
        jobs = []
        for _ in range(asked.jobs + 1):
            before = spent(nodes)
            answer = server.startup(f"{folder}/*.txt", words, total).result()
            jobs.append(figures(before, spent(nodes)))
            assert answer["line"] == asked.tasks
        each = {
            title: statistics.median(job[title] for job in jobs[1:]) / asked.tasks
            for title in jobs[0]
        }
        waited = each.pop("waits")
        shown = [f"{title} {seconds * 1000:.3f} ms" for title, seconds in each.items()]
        print(f"each task: {'; '.join(shown)}; {waited:.1f} waits", flush=True)


def figures(before: Spent, after: Spent) -> dict[str, float]:
    """Of one job."""
    nodes_s = [now - then for now, then in zip(after.nodes_s, before.nodes_s, strict=True)]
    return {
        "clock": after.clock_s - before.clock_s,
        "nodes": sum(nodes_s),
        "busiest node": max(nodes_s, default=0.0),
        "workers": after.workers_s - before.workers_s,
        "script": after.script_s - before.script_s,
        "waits": after.waits - before.waits,
    }


if __name__ == "__main__":
    main()
