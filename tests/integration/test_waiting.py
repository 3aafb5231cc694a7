"""Clients of a ring elsewhere ask once for what they wait for, and are answered when it is so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from memory_ring import MemoryRing

from map_reduce.client.handle import JobHandle
from map_reduce.client.inputs import read_inputs
from map_reduce.client.server_interface import ServerInterface
from map_reduce.client.submission import submit
from map_reduce.core.messages import GetCheck, GetJob, JobStatus, Message, Ping, Pong
from map_reduce.job import Job
from map_reduce.runtime import holds
from map_reduce.server.access import Access
from map_reduce.server.configs import NodeConfig
from map_reduce.server.local_cluster import LocalCluster
from map_reduce.server.node import Node
from map_reduce.server.trust import credentials
from map_reduce.transport.pyro import PyroTransport

WAIT_S = 60.0
HOLDS_FEW = 8
LONG_S = 0.5
"""A client that polled would ask some eighty times meanwhile."""

ASKED_MAX = 5
"""Two where all goes well; more where a busy machine keeps a node from answering in time."""


class Asked:
    """What a client asks from now on."""

    def __init__(self, access: Access) -> None:
        self.messages: list[Message] = []
        self.waits = threading.Event()  # for the end of a job
        self._peers = access.peers
        self._send = access.peers.send
        access.peers.send = self._note  # type: ignore[method-assign]

    def _note(self, peer: Any, message: Message, timeout_s: float | None = None) -> Message:
        self.messages.append(message)
        if isinstance(message, GetJob) and message.begun and message.hold_s:
            self.waits.set()
        return self._send(peer, message, timeout_s)

    def count(self, kind: type[Message]) -> int:
        return sum(isinstance(message, kind) for message in self.messages)

    def restore(self) -> None:
        self._peers.send = self._send  # type: ignore[method-assign]


@pytest.fixture
def asked() -> Iterator[Callable[[Access], Asked]]:
    made: list[Asked] = []

    def note(access: Access) -> Asked:
        made.append(Asked(access))
        return made[-1]

    yield note
    for one in made:
        one.restore()


def sleeping(number: int, seconds: float) -> list[tuple[int, int]]:
    threading.Event().wait(seconds)
    return [(0, 1)]


def total(key: int, values: list[int]) -> int:
    return sum(values)


def waiting_for(gate: Path) -> Callable[[int, int], list[tuple[int, int]]]:
    """A map that ends when there is such a file."""

    def wait(number: int, item: int) -> list[tuple[int, int]]:
        while not gate.exists():
            threading.Event().wait(0.01)
        return [(0, item)]

    return wait


def run(access: Access, seconds: float) -> None:
    submitted = submit(access, Job(sleeping, total), read_inputs([seconds]), 1)
    job = JobHandle(access, submitted, "", show_progress=False, began_s=time.monotonic())
    assert job.result(WAIT_S) == {0: 1}
    assert job.report.time_s >= seconds


@pytest.fixture(params=["processes", "memory"])
def access(
    request: pytest.FixtureRequest,
    local_cluster: LocalCluster,
    ring_of: Callable[[int], Access],
) -> Iterator[Access]:
    if request.param == "memory":
        yield ring_of(3)
        return
    with ServerInterface(str(local_cluster.nodes[0].address), quiet=True) as server:
        yield server._access


def test_the_end_of_a_job_takes_as_many_requests_however_long_it_runs(
    access: Access, asked: Callable[[Access], Asked]
) -> None:
    noted = asked(access)
    run(access, 0.0)
    assert noted.count(GetJob) <= ASKED_MAX
    noted.messages.clear()
    run(access, LONG_S)
    assert noted.count(GetJob) <= ASKED_MAX


class Slow:
    """Functions that take their time to unpickle."""

    def __reduce__(self) -> Any:
        return _made_slowly, ()


def _made_slowly() -> Slow:
    threading.Event().wait(LONG_S / 2)
    return Slow()


def test_the_verdict_on_functions_takes_one_request_too(
    access: Access, asked: Callable[[Access], Asked]
) -> None:
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    slow = Slow()

    def lengths(number: int, text: str) -> list[tuple[int, int]]:
        assert slow
        return [(0, len(text))]

    noted = asked(access)
    try:
        submitted = submit(access, Job(lengths, total), read_inputs(["x" * 10_000] * 40), 1)
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    job = JobHandle(access, submitted, "", show_progress=False)
    assert job.result(WAIT_S) == {0: 400_000}
    assert 1 <= noted.count(GetCheck) <= ASKED_MAX
    assert noted.count(GetJob) <= ASKED_MAX


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node that holds few requests."""
    monkeypatch.setattr(holds, "HOLDS_MAX", HOLDS_FEW)
    node = Node(PyroTransport(credentials()), config=NodeConfig(slots=1))
    yield node
    node.close()


def test_more_clients_than_the_bound_wait_and_others_are_answered(
    crowded: Node, tmp_path: Path
) -> None:
    gate, count = tmp_path / "gate", 3 * HOLDS_FEW
    with (
        ServerInterface(str(crowded.address), quiet=True, progress=False) as server,
        ThreadPoolExecutor(count) as threads,
    ):
        job = server.startup([1], waiting_for(gate), total)
        peers = server._access.peers
        answered = threading.Semaphore(0)

        def ask() -> JobStatus:
            message = GetJob(job.id, hold_s=WAIT_S, begun=True)
            try:
                return peers.request(crowded.address, message, JobStatus, timeout_s=WAIT_S)
            finally:
                answered.release()

        calls = [threads.submit(ask) for _ in range(count)]
        try:
            for _ in range(count - HOLDS_FEW):
                assert answered.acquire(timeout=WAIT_S)
            early = [call.result().progress.phase for call in calls if call.done()]
            assert "done" not in early
            pong = peers.request(crowded.address, Ping(), Pong)
            assert pong.member.address == crowded.address
            waiting = threads.submit(job.wait, WAIT_S)  # not held, so it asks again and again
        finally:
            gate.touch()
        phases = [call.result(WAIT_S).progress.phase for call in calls]
        assert phases.count("done") == HOLDS_FEW
        waiting.result(WAIT_S)
        assert job.result(WAIT_S) == {0: 1}


def test_a_node_that_leaves_answers_whom_it_holds(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    ring = MemoryRing(2)
    try:
        submitted = submit(ring.access, Job(waiting_for(gate), total), read_inputs([1]), 1)
        assert submitted.master is not None
        address = submitted.master.address
        node = next(node for node in ring.nodes if node.address == address)
        message = GetJob(submitted.job_id, hold_s=WAIT_S, begun=True)
        with ThreadPoolExecutor(2) as threads:
            call = threads.submit(
                ring.access.peers.request, address, message, JobStatus, timeout_s=WAIT_S
            )
            eventually(lambda: node._holds._open)
            ring.nodes.remove(node)
            closing = threads.submit(node.close)
            assert call.result(WAIT_S).progress.phase == "map"
            gate.touch()
            closing.result(WAIT_S)
    finally:
        gate.touch()
        ring.close()


def eventually(holds: Callable[[], Any]) -> None:
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        if holds():
            return
        pause.wait(0.01)
    pytest.fail("it did not come about")


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_the_master_goes_while_it_holds_a_request(
    tmp_path: Path, asked: Callable[[Access], Asked], sign: signal.Signals
) -> None:
    gate = tmp_path / "gate"
    with (
        LocalCluster(4, slots=1) as cluster,
        ServerInterface(str(cluster.nodes[0].address), quiet=True, progress=False) as server,
        ThreadPoolExecutor(1) as threads,
    ):
        noted = asked(server._access)
        job = server.startup([1], waiting_for(gate), total)
        result = threads.submit(job.result, WAIT_S)
        assert noted.waits.wait(WAIT_S)
        victim = next(node for node in cluster.nodes if str(node.address) == job.master)
        os.kill(victim.process.pid, sign)
        try:
            gate.touch()
            assert result.result(WAIT_S) == {0: 1}
            assert job.report.masters == 2
        finally:
            os.kill(victim.process.pid, signal.SIGCONT)


CLIENT = """
import sys, threading
from pathlib import Path
from map_reduce.client.server_interface import ServerInterface

gate = sys.argv[2]

def wait(number, item):
    while not Path(gate).exists():
        threading.Event().wait(0.01)
    return [(0, item)]

with ServerInterface(sys.argv[1], quiet=True, progress=False) as server:
    job = server.startup([1], wait, lambda key, values: sum(values))
    real = server._access.peers.send

    def send(peer, message, timeout_s=None):
        if getattr(message, "hold_s", 0):
            print("waits", flush=True)
        return real(peer, message, timeout_s)

    server._access.peers.send = send
    try:
        job.result()
    finally:
        job.cancel()
"""


def test_ctrl_c_ends_the_wait(local_cluster: LocalCluster, tmp_path: Path) -> None:
    """Long before the request would be held no longer."""
    gate = tmp_path / "gate"
    command = [sys.executable, "-c", CLIENT, str(local_cluster.nodes[0].address), str(gate)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        try:
            assert client.stdout.readline() == "waits\n"
            client.send_signal(signal.SIGINT)
            _, errors = client.communicate(timeout=WAIT_S / 2)
        finally:
            gate.touch()
            client.kill()
    assert "KeyboardInterrupt" in errors
