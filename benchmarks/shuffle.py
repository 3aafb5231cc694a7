"""What it costs to bring map outputs to the nodes that reduce them, on a ring of three processes.

    python benchmarks/shuffle.py grouped [--megabytes 300] [--rounds 3]
    python benchmarks/shuffle.py tiny [--tasks 2000] [--rounds 3]
    python benchmarks/shuffle.py grouped --megabytes 10 --kbit-per-s 4000     (root; Linux)

``grouped``: map gives so many megabytes of values of 100 characters, random and so hard to pack;
reduce gets those of each key. ``tiny``: so many map tasks of next to no work, each of which gives
4 kB in all partitions: their outputs are many ranges of some hundred bytes. Of both are printed the
time of the job and the processor time of everything, of the nodes' own processes, and of one map
task's share of that.

``--kbit-per-s`` makes loopback slow, in a network namespace of its own (``unshare``, ``tc``): one
link that all three nodes share. Attempts that had to be repeated stand in the
closing line of each job.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from map_reduce import Options, ServerInterface
from map_reduce.client import items as client_items
from map_reduce.server.local_cluster import LocalCluster

NODES = 3
KEYS = 20_000
VALUE_BYTES = 100
ITEM_BYTES = 1 << 20
TINY_PAIRS = 40
ON_SLOW_LINK = "MAP_REDUCE_BENCHMARK_ON_SLOW_LINK"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["grouped", "tiny"])
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kbit-per-s", type=int, default=0)
    asked = parser.parse_args()
    if asked.kbit_per_s and not os.environ.get(ON_SLOW_LINK):
        sys.exit(on_slow_link(asked.kbit_per_s))
    if asked.what == "tiny":
        client_items.TASKS_PER_SLOT = asked.tasks
    os.environ["MR_ITEMS_PER_CHUNK"] = "1"
    with (
        LocalCluster(NODES, slots=1) as cluster,
        ServerInterface(str(cluster.nodes[0].address), quiet=True, progress=False) as server,
    ):
        run(server, asked.what, 12, 40)  # starts the workers
        measured = [
            measure(cluster, server, asked.what, asked.megabytes, asked.tasks)
            for _ in range(asked.rounds)
        ]
    report(measured)


def on_slow_link(kbit_per_s: int) -> int:
    """This program again, where loopback is slow; its exit status."""
    burst_bytes = 16 << 10
    slow = f"ip link set lo up mtu 1500; tc qdisc add dev lo root tbf rate {kbit_per_s}kbit "
    slow += f'burst {burst_bytes} latency 100ms; exec "$@"'
    command = ["unshare", "-n", "sh", "-ec", slow, "sh", sys.executable, *sys.argv]
    return subprocess.run(command, env={**os.environ, ON_SLOW_LINK: "1"}, check=False).returncode


# ---------------------------------------------------------------------- the jobs


def many_values(number: int, seed: int) -> Iterator[tuple[int, str]]:
    dice = random.Random(seed)
    for _ in range(ITEM_BYTES // VALUE_BYTES):
        yield dice.randrange(KEYS), dice.randbytes(VALUE_BYTES // 2).hex()


def few_values(number: int, seed: int) -> list[tuple[int, str]]:
    return [(seed * TINY_PAIRS + n, "x" * VALUE_BYTES) for n in range(TINY_PAIRS)]


def lengths(key: int, values: list[str]) -> int:
    return sum(map(len, values))


def run(server: ServerInterface, what: str, megabytes: int, tasks: int) -> int:
    """Characters that came to the reduce tasks."""
    data, mapped = (
        (range(megabytes), many_values) if what == "grouped" else (range(tasks), few_values)
    )
    handle = server.startup(data, mapped, lengths, options=Options(timeout_s=600))
    came: int = sum(handle.result().values())
    print(f"    {handle.report}")
    return came


# ---------------------------------------------------------------------- what they cost


class Cost(NamedTuple):
    took_s: float
    all_cpu_s: float
    nodes_cpu_s: float
    tasks: int


def measure(
    cluster: LocalCluster, server: ServerInterface, what: str, megabytes: int, tasks: int
) -> Cost:
    before, begun_s = cpu_s(cluster), time.perf_counter()
    came = run(server, what, megabytes, tasks)
    took_s, after = time.perf_counter() - begun_s, cpu_s(cluster)
    if what == "grouped":
        assert came == megabytes * (ITEM_BYTES // VALUE_BYTES) * VALUE_BYTES
    else:
        assert came == tasks * TINY_PAIRS * VALUE_BYTES
    return Cost(took_s, after[0] - before[0], after[1] - before[1], tasks)


def cpu_s(cluster: LocalCluster) -> tuple[float, float]:
    """Processor time so far of nodes, workers and this process; of the nodes' processes."""
    own = [psutil.Process(node.process.pid) for node in cluster.nodes]
    workers = [child for node in own for child in node.children(recursive=True)]
    nodes_s = sum(spent_s(process) for process in own)
    return nodes_s + sum(map(spent_s, workers)) + spent_s(psutil.Process()), nodes_s


def spent_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def report(costs: list[Cost]) -> None:
    for cost in costs:
        print(
            f"{cost.took_s:8.2f} s  processor time {cost.all_cpu_s:7.2f} s, "
            f"of nodes {cost.nodes_cpu_s:7.2f} s"
        )
    median = [statistics.median(column) for column in zip(*costs, strict=True)]
    print(
        f"medians: {median[0]:.2f} s, {median[1]:.2f} s, {median[2]:.2f} s, for each of "
        f"{median[3]:,.0f} tiny tasks {median[1] / median[3] * 1e3:.2f} ms"
    )


if __name__ == "__main__":
    main()
