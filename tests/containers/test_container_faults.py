"""Jobs on real containers of which some are killed, frozen, or off the network meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from container_cluster import Cluster, Container, wait_until
from container_hurting import FAULTS
from map_reduce.client.handle import JobHandle
from map_reduce.client.server_interface import ServerInterface
from map_reduce.errors import ClusterError
from map_reduce.testing import sequential

NODES = 5
LINES = [f"word{number % 7} word{number % 11}" for number in range(200)]
COPIES_S_MAX = 150.0
RESULT_S_MAX = 150.0
GATE = "/gate/open"
GATE_S_MAX = 60.0


def held(number: int, line: str) -> list[tuple[str, int]]:
    """A word count whose tasks wait in the containers until the gate is open."""
    until_s, never = time.monotonic() + GATE_S_MAX, threading.Event()
    while not Path(GATE).exists() and time.monotonic() < until_s:
        never.wait(0.05)
    return [(word, 1) for word in line.split()]


def total(word: str, counts: list[int]) -> int:
    return sum(counts)


def master_of(job: JobHandle, nodes: Sequence[Container]) -> Container:
    found: list[str | None] = []

    def is_told() -> bool:
        with contextlib.suppress(ClusterError):
            found.append(job.master)
        return bool(found and found[-1])

    wait_until("the job has a master", is_told)
    return next(node for node in nodes if str(node.address) == found[-1])


def right_although(
    cluster: Cluster,
    nodes: Sequence[Container],
    gate: Path,
    choose: Callable[[Container, list[Container]], list[tuple[str, Container]]],
) -> None:
    """Run a job; when it is at work, do what ``choose(master, others)`` says; and undo it."""
    gate.unlink(missing_ok=True)
    expected = sequential(LINES, lambda number, line: [(word, 1) for word in line.split()], total)
    with ServerInterface(str(nodes[0].address), certs=cluster.certs, quiet=True) as server:
        job = server.startup(LINES, held, total)
        master = master_of(job, nodes)
        done = choose(master, [node for node in nodes if node != master])
        for name, victim in done:
            FAULTS[name].hurt(victim)
        gate.touch()
        results = job.result(RESULT_S_MAX)
        for name, victim in done:
            assert FAULTS[name].took_hold(victim), f"{victim.name} was not hurt by {name}"
            FAULTS[name].heal(victim)
    assert results == expected
    cluster.await_copies([node.address for node in nodes], COPIES_S_MAX)


def test_jobs_are_right_whatever_is_done_to_two_containers(
    cluster: Cluster, tmp_path: Path
) -> None:
    folder = tmp_path / "gate"
    folder.mkdir(mode=0o755)
    cluster.environ["MR_RUN_OPTIONS"] = f"--volume {folder}:/gate:ro"
    cluster.environ["MR_SLOTS"] = "1"
    cluster.start(NODES, "--no-remove")
    nodes = [cluster.inspect(name) for name in cluster.containers()]
    gate = folder / "open"
    right_although(
        cluster, nodes, gate, lambda _, others: [("kill", others[0]), ("pause", others[1])]
    )
    right_although(
        cluster, nodes, gate, lambda master, others: [("disconnect", master), ("pause", others[0])]
    )
