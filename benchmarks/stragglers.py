"""What one node costs whose user code takes ten times longer, with backup attempts and without.

    python benchmarks/stragglers.py [--nodes 10] [--task-s 0.5] [--rounds 3]

User code sleeps for each record, so that the processors of this machine do not count, and on the
one slow node it sleeps ten times longer. All jobs run on the same ring of real processes, one slot
each: with nobody slow, with the slow node and backups, with the slow node and none. Once with many
tasks for each slot (a file each), and once with those that a list gets by itself, four. The answers
are compared.

The least that is possible with n nodes of which one works at a tenth of the speed is n / (n - 0.9)
of the undisturbed time, and with four tasks for a slot a whole task more: 5 / 4.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from map_reduce import Options, ServerInterface, counter
from map_reduce.client.status import cluster_status
from map_reduce.server.node_process import Launch, NodeProcess, end_all

SLOW = "MAP_REDUCE_BENCHMARK_SLOW_NODE"
FACTOR = 10
LINES_PER_TASK = 10
TASKS_PER_SLOT = 20

Map = Callable[[int, str], Iterator[tuple[str, int]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--task-s", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    nodes = ring(asked.nodes)
    try:
        with (
            TemporaryDirectory() as folder,
            ServerInterface(str(nodes[0].address), quiet=True, progress=False) as server,
        ):
            lines = [f"w{number % 7} x" for number in range(LINES_PER_TASK)]
            many = files(Path(folder), lines, TASKS_PER_SLOT * asked.nodes)
            few = lines * (4 * 2 * asked.nodes)  # twice the fewest items that are a task
            server.startup(few, sleeper(0.01, False), total).result()  # starts the workers
            print(f"{asked.nodes} nodes, one of them {FACTOR} times slower")
            measure(server, f"{TASKS_PER_SLOT} tasks a slot", many, asked.task_s, asked.rounds)
            measure(server, "4 tasks a slot", few, asked.task_s / 2, asked.rounds)
    finally:
        end_all([node.process for node in nodes])


def ring(size: int) -> list[NodeProcess]:
    """A ring of nodes, the last of which is the slow one."""
    first = Launch(slots=1, output=subprocess.DEVNULL).await_up()
    rest = [
        Launch(
            slots=1,
            join=[first.address],
            settings={SLOW: "1"} if number == size - 1 else {},
            output=subprocess.DEVNULL,
        )
        for number in range(1, size)
    ]
    nodes = [first, *(launch.await_up() for launch in rest)]
    deadline_s = time.monotonic() + 60
    while len(cluster_status(str(first.address)).nodes) < size:
        if time.monotonic() > deadline_s:
            raise SystemExit("the ring is not whole after a minute")
        time.sleep(0.1)
    return nodes


def files(folder: Path, lines: list[str], count: int) -> list[Path]:
    paths = [folder / f"{number:05}.txt" for number in range(count)]
    for path in paths:
        path.write_text("\n".join(lines) + "\n")
    return paths


def sleeper(record_s: float, slow: bool) -> Map:
    """A map whose records take so long; with ``slow``, ten times longer on the slow node."""

    def split(number: int, line: str) -> Iterator[tuple[str, int]]:
        counter("lines").add()
        time.sleep(record_s * (FACTOR if slow and os.environ.get(SLOW) else 1))
        for word in line.split():
            yield word, 1

    return split


def total(word: str, counts: list[int]) -> int:
    return sum(counts)


def measure(server: ServerInterface, name: str, data: Any, task_s: float, rounds: int) -> None:
    """Run the three jobs in turn, and print the medians and their ratios."""
    record_s = task_s / LINES_PER_TASK
    jobs = {
        "nobody slow": (sleeper(record_s, False), Options()),
        "one slow, backups": (sleeper(record_s, True), Options(backups=True)),
        "one slow, no backups": (sleeper(record_s, True), Options(backups=False)),
    }
    took_s: dict[str, list[float]] = {job: [] for job in jobs}
    answers = []
    for _ in range(rounds):
        for job, (function, options) in jobs.items():
            began_s = time.monotonic()
            handle = server.startup(data, function, total, options=options)
            results = handle.result(timeout_s=600)
            took_s[job].append(time.monotonic() - began_s)
            answers.append((sorted(results.items()), handle.counters))
    assert all(answer == answers[0] for answer in answers), "the answers differ"
    base_s = statistics.median(took_s["nobody slow"])
    for job, seconds in took_s.items():
        median_s = statistics.median(seconds)
        print(f"{name:18s} {job:22s} {median_s:7.2f} s {median_s / base_s:6.2f}", flush=True)


if __name__ == "__main__":
    main()
