"""The library as a contender in a suite of other libraries (``suite.py``), by its public API alone.

    python benchmarks/contender.py WORKLOAD INPUT --out FOLDER

with the suite's folder in PYTHONPATH: its ``workloads`` has the user functions that all contenders
share, and its ``common`` the clocks and the hash of the result.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import workloads

from map_reduce.client.server_interface import ServerInterface
from map_reduce.job import Files

RECORD_BYTES = 100


def open_session() -> ServerInterface:
    server = ServerInterface(quiet=True, progress=False)
    server.startup([-1, 1], lambda key, number: [(key, abs(number))], lambda key, values: values)
    server.await_results()
    return server


def run(server: ServerInterface, workload: str, path: str, out: str) -> Any:
    if workload == "w5":
        return page_rank(server, path)
    map_, reduce = workloads.MAP[workload], workloads.REDUCE[workload]
    combine = reduce if workload in workloads.COMBINES else None
    data = workloads.w6_input(workload) if path == "-" else files_in(path)
    if workload == "w3":
        return sort(server, data, map_, reduce, out)
    server.startup(data, map_, reduce, combine=combine)
    return server.await_results()


def sort(server: ServerInterface, data: Any, map_: Any, reduce: Any, out: str) -> int:
    """The records are written by the tasks that reduce."""

    def lines(key: str, rests: list[str]) -> list[str]:
        return [key + rest for rest in reduce(key, rests)]

    paths = server.startup(data, map_, lines, sort=True, save_as="lines").save(out)
    return sum(path.stat().st_size for path in paths) // RECORD_BYTES


def files_in(path: str) -> Files:
    return Files(*sorted(Path(path).iterdir())) if os.path.isdir(path) else Files(path)


def page_rank(server: ServerInterface, path: str) -> dict[str, int]:
    """The links are stored once; the ranks travel with the map function of each step."""
    with open(path) as lines:
        links = {node: tuple(outs) for node, outs in map(workloads.w5_parse, lines)}
    ranks = dict.fromkeys(links, workloads.W5_ONE)
    with server.dataset(links) as stored:
        for _ in range(workloads.W5_ITERATIONS):
            job = server.startup(stored, ranked(ranks), workloads.w5_reduce, combine=added)
            ranks = job.result()
    return ranks


def added(node: str, shares: list[int]) -> int:
    """Shares are only added up by the reduce of a step, so they may be before it."""
    return sum(shares)


def ranked(ranks: dict[str, int]) -> Callable[[str, tuple[str, ...]], list[tuple[str, int]]]:
    share: Callable[[str, Any], list[tuple[str, int]]] = workloads.w5_map
    return lambda node, outs: share(node, (ranks[node], outs))


def close(server: ServerInterface) -> None:
    server.close()


if __name__ == "__main__":
    common.main("map-reduce", open_session, run, close)
