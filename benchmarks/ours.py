"""The library as a contender.

python benchmarks/ours.py embedded FILE    the node in the script's own process
python benchmarks/ours.py ring FILE        start a ring of three processes, count, stop it
python benchmarks/ours.py client FILE      on the ring that the cluster file names
python benchmarks/ours.py lines RUNS       the time of a three-line job, RUNS times, as JSON
"""

from __future__ import annotations

import json
import os
import sys
import time

import measure
import ring
import words
from map_reduce.client.server_interface import ServerInterface
from map_reduce.job import Files

LINES = ["hello world", "hello distributed computing", "world of mapreduce"]


def count_words(path: str) -> dict[str, int]:
    with ServerInterface() as server:
        server.startup(Files(path), words.map, words.reduce, combine=words.reduce)
        results: dict[str, int] = server.await_results()
    return results


def time_three_lines(runs: int) -> list[float]:
    """Seconds of each run, after one that does not count."""
    times_s = []
    with ServerInterface() as server:
        for _ in range(runs + 1):
            before = time.perf_counter()
            server.startup(LINES, words.map, words.reduce)
            server.await_results()
            times_s.append(time.perf_counter() - before)
    return times_s[1:]


if __name__ == "__main__":
    how, argument = sys.argv[1:]
    if how == "lines":
        print(json.dumps(time_three_lines(int(argument))))
    elif how == "ring":
        with ring.of_processes(os.environ):
            counts = count_words(argument)
        measure.report(counts)
    else:
        measure.report(count_words(argument))
