"""Who is killed when, in one job of ``kill_matrix.py``, and what came of it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import points
from map_reduce.client.ring_report import report_text
from map_reduce.client.status import cluster_status, status_text
from map_reduce.core import names
from map_reduce.core.identifiers import distance, identifier_of
from map_reduce.core.procedure import perform
from map_reduce.core.repair.compare import difference
from map_reduce.core.repair.inventory import Arc, Inventory
from map_reduce.errors import ClusterError, MapReduceError, NoNodeError
from map_reduce.server.access import Access
from map_reduce.testing import ChaosCluster, ChaosNode
from points import Points

VICTIMS = (
    "worker",
    "node",
    "master",
    "output",
    "input",
    "client",
    "two",
    "all but one",
    "majority",
)
MOMENTS = ("submit", "map", "between", "reduce", "commit", "fetch")
STOPS = {"between": "last map"}
"""The point of ``points.py`` that a moment waits at, where it has another name."""

NONE = {
    ("worker", "submit"): "no task runs yet",
    ("worker", "fetch"): "no task runs any more",
    ("output", "submit"): "there is no map output yet",
    ("output", "fetch"): "nobody needs map output any more",
    ("client", "submit"): "what was not submitted is no job",
}
"""Cells without a victim."""

AFTER_S_MAX = {"between": 0.15, "commit": 0.15}
"""Where the job is let go first, and its victim dies up to so much later."""

NODES = 5
SETTINGS = {"MR_RECORD_MOVE_AFTER": "3", "MR_LOG_LEVEL": "DEBUG"}
"""Records are moved off a dead node after 3 s, not after half a minute: the table is long. The log
is kept of a job that was not right."""

QUICKLY = {"MR_RECORD_MOVE_AFTER": "1", "MR_DEAD_AFTER": "1"}
"""Where four die one after another, so that each heals sooner and the next comes sooner."""

BLOCKS_MIN = 3
"""Input blocks that there are at least, also in the middle of submitting."""

POINT_S_MAX = 60.0
RESULT_S_MAX = 120.0
POLL_S = 0.005


class NotThere(Exception):
    """The job did not come to the moment, or the victim could not be found: no fault of its."""


class Running:
    """A job that a thread of this process, or a client process, has submitted and waits for.

    Attributes:
        results: once it has ended, and was right or wrong.
        error: why there are none.
    """

    def __init__(self, cluster: ChaosCluster, at: Points, *, submit_slowly: bool) -> None:
        self._cluster = cluster
        self._at = at
        self._submit_slowly = submit_slowly
        self.job: Any = None
        self.results: dict[str, str] | None = None
        self.error = ""
        self._thread = threading.Thread(target=self._run, name="client", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        data: Any = points.Input(self._at) if self._submit_slowly else points.items()
        try:
            with self._cluster.server() as server:
                self.job = server.startup(data, *points.functions(self._at))
                self.results = points.texts(self.job.result(RESULT_S_MAX))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what came of the job
            self.error = f"{type(error).__name__}: {error}"

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def kill(self) -> None:
        raise NotThere("this client is a thread of ours")

    def wait(self) -> None:
        """Until the client has results or an error."""
        self._thread.join(RESULT_S_MAX + 30.0)
        if not self.ended:
            self.error = "nothing was heard of the job any more"


class ClientProcess:
    """A client that can be killed; then another one attaches to its job. As Running, else."""

    def __init__(self, cluster: ChaosCluster, at: Points) -> None:
        script = Path(__file__).with_name("matrix_client.py")
        address = str(cluster.running[0].address)
        self._folder = Path(at.folder)
        self._process = subprocess.Popen([sys.executable, script, at.folder, at.stop_at, address])
        self._server: Any = cluster.server()
        self._attached: Any = None
        self.results: dict[str, str] | None = None
        self.error = ""

    @property
    def job(self) -> Any:
        if self._attached is None and Path(self._folder, "job").exists():
            self._attached = self._server.attach(Path(self._folder, "job").read_text())
        return self._attached

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self) -> None:
        """Until the other client has results or an error."""
        try:
            self.results = points.texts(self.job.result(RESULT_S_MAX))
        except MapReduceError as error:
            self.error = f"{type(error).__name__}: {error}"
        finally:
            self.kill()
            self._server.close()


class Matrix:
    """A ring, and the jobs that run on it one after another."""

    def __init__(self, seed: int, expected: dict[str, str], victim: str) -> None:
        self.draw = random.Random(seed)
        self._expected = expected
        self._victim = victim
        self._seed = seed
        self._folder = tempfile.TemporaryDirectory(prefix="kill-matrix-")
        self._cluster = self._new()
        self._running: Running | ClientProcess | None = None

    def _new(self) -> ChaosCluster:
        settings = {**SETTINGS, **(QUICKLY if self._victim == "all but one" else {})}
        keep_data = self._victim == "majority"
        return ChaosCluster(NODES, seed=self._seed, keep_data=keep_data, settings=settings)

    def close(self) -> None:
        self._cluster.close()
        self._folder.cleanup()

    def run(self, victim: str, moment: str, evidence: Path) -> tuple[float, str]:
        """One job: seconds from the death to the result, and what was wrong with it, or "".

        Where something was, the folder ``evidence`` is made, with what may explain it.

        Raises:
            NotThere: the moment did not come, or there was no such victim.
        """
        del self._cluster.story[:]
        self._running = None
        # Not deleted before the matrix is closed: who waits at a gate must see it open.
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        at = Points(folder, STOPS.get(moment, moment), os.getpid())
        try:
            return self._one(at, victim, moment), ""
        except (MapReduceError, AssertionError) as error:
            self._keep(evidence, at, str(error))
            return 0.0, str(error)
        finally:
            at.open()

    def heal(self, evidence: Path) -> str:
        """Everybody back, all copies made, and the job's blocks gone; what was wrong with that.

        Where something was, the ring is another one afterwards.
        """
        try:
            self._heal()
        except NoNodeError as error:
            print(f"    this machine does not start a node in time: {error}", file=sys.stderr)
            self.renew()
        except MapReduceError as error:
            self._keep(evidence, None, str(error))
            self.renew()
            return f"afterwards: {error}"
        return ""

    def renew(self) -> None:
        """Another ring, for this one is not what it was."""
        self._cluster.close()
        self._cluster = self._new()

    def _keep(self, evidence: Path, at: Points | None, problem: str) -> None:
        """All that can be had of a ring that did not do what it should."""
        evidence.mkdir(parents=True, exist_ok=True)
        job = None if self._running is None else self._running.job
        told = [problem, "", *self._cluster.story, ""]
        asked: list[tuple[str, Callable[[], object]]] = [
            ("the ring", lambda: report_text(self._cluster.report())),
            ("the status", lambda: status_text(cluster_status(self._an_address()))),
            ("the nodes", lambda: "\n".join(map(repr, self._cluster.nodes))),
        ]
        if job is not None:
            asked.append(("the job", lambda: self._about(job.id)))
        if at is not None:
            asked.append(("who waits at the gate", at.marks))
        for what, ask in asked:
            try:
                told += [f"-- {what}", str(ask()), ""]
            except Exception as error:  # noqa: BLE001  # what can't be asked is part of the evidence
                told += [f"-- {what}: {type(error).__name__}: {error}", ""]
        self._cluster.dump_stacks()
        (evidence / "told.txt").write_text("\n".join(told))
        shutil.copy(self._cluster.log_path, evidence / "nodes.log")

    def _about(self, job_id: str) -> str:
        with self._cluster.server() as server:
            job = server.attach(job_id)
            return f"{job_id} {job.progress}, waiting for {job.waiting_for}"

    def _an_address(self) -> str:
        return str(self._cluster.running[0].address)

    def _one(self, at: Points, victim: str, moment: str) -> float:
        """Seconds from the death to the result. Raises AssertionError: it was not the right one."""
        running: Running | ClientProcess
        if victim == "client":
            running = ClientProcess(self._cluster, at)
        else:
            running = Running(self._cluster, at, submit_slowly=moment == "submit")
        self._running = running
        self._await_point(running, at, moment)
        kill = self._aim(victim, running, at)
        if moment in AFTER_S_MAX:
            at.open()
            time.sleep(self.draw.uniform(0, AFTER_S_MAX[moment]))
        start_s = time.monotonic()
        try:
            kill()
        except NoNodeError as error:
            raise NotThere(f"this machine does not start a node in time: {error}") from error
        at.open()
        running.wait()
        took_s = time.monotonic() - start_s
        assert not running.error, running.error
        assert running.results == self._expected, "the answer differs"
        return took_s

    def _await_point(self, running: Running | ClientProcess, at: Points, moment: str) -> None:
        wanted = NODES if moment in ("map", "reduce") else 1
        self._await(lambda: len(at.marks()) >= wanted, running, f"the job comes to {moment}")
        if moment == "between":
            self._await(
                lambda: (
                    running.job is not None
                    and running.job.progress.tasks_done >= points.ITEMS // points.ITEMS_PER_TASK - 1
                ),
                running,
                "all other maps are done",
            )

    def _await(
        self, holds: Callable[[], bool], running: Running | ClientProcess, what: str
    ) -> None:
        until_s = time.monotonic() + POINT_S_MAX
        while not holds():
            if running.ended:
                raise AssertionError(f"before anybody died: {running.error or 'it was done'}")
            if time.monotonic() > until_s:
                raise NotThere(f"not within {POINT_S_MAX:g} s: {what}")
            time.sleep(POLL_S)

    # ------------------------------------------------------------------ victims

    def _aim(
        self, victim: str, running: Running | ClientProcess, at: Points
    ) -> Callable[[], object]:
        """Find the victim; what kills it."""
        cluster = self._cluster
        if victim == "worker":
            pid = self.draw.choice(at.marks()).pid
            return lambda: os.kill(pid, signal.SIGKILL)
        if victim == "client":
            self._await(lambda: running.job is not None, running, "the client tells the job's id")
            return running.kill
        if victim == "two":
            return lambda: cluster.kill_random(2)
        if victim == "all but one":
            return self._kill_all_but_one
        if victim == "majority":
            return lambda: self._kill_majority(running, at)
        node = self._node(victim, at)
        return lambda: cluster.kill(node)

    def _kill_all_but_one(self) -> None:
        cluster = self._cluster
        for victim in self.draw.sample(cluster.running, NODES - 1):
            cluster.add()
            cluster.await_copies()
            cluster.kill(victim)
            cluster.nodes.remove(victim)
            cluster.await_copies()

    def _kill_majority(self, running: Running | ClientProcess, at: Points) -> None:
        victims = self._cluster.kill_random(NODES // 2 + 1)
        at.open()
        until_s = time.monotonic() + POINT_S_MAX
        dead = {str(victim.address) for victim in victims}
        named: set[str] = set()
        while not (running.ended or named & dead) and time.monotonic() < until_s:
            # The job waits for some of those, and says so to whoever asks.
            with contextlib.suppress(MapReduceError):
                if running.job is not None:
                    named = set(map(str, running.job.waiting_for))
            time.sleep(POLL_S)
        for victim in victims:
            self._cluster.restart(victim)
        assert running.ended or named & dead, "the job does not say for whom it waits"

    def _node(self, victim: str, at: Points) -> ChaosNode:
        access = self._cluster.access()
        try:
            job_id = self._job_id(access)
            master = self._master(access, job_id)
            if victim == "master":
                return master
            others = [node for node in self._cluster.running if node is not master]
            if victim == "input":
                owners = {self._owner(names.input_block(job_id, n)) for n in range(BLOCKS_MIN)}
                others = [node for node in others if node in owners]
            elif victim == "output":
                others = [node for node in others if self._holds_output(access, node)]
            elif victim == "node":
                busy = {mark.node_pid for mark in at.marks()}
                others = [node for node in others if node.pid in busy] or others
            if not others:
                raise NotThere(f"there is no {victim} but the master")
            return self.draw.choice(others)
        finally:
            access.close()

    def _owner(self, name: str) -> ChaosNode:
        place = identifier_of(name)
        nodes = self._cluster.running
        return min(nodes, key=lambda node: distance(place, node.address.identifier))

    def _job_id(self, access: Access) -> str:
        """Of the one job whose blocks are on the ring."""
        for member in access.members():
            everything = Arc(member.identifier, member.identifier)
            listed = perform(difference(member, everything, Inventory()), access.peers.ask)
            for ref in listed.only_there:
                return names.job_of(ref.name)
        raise NotThere("no block of the job is on the ring yet")

    def _master(self, access: Access, job_id: str) -> ChaosNode:
        """Who is, or, before the job is submitted, would be."""
        with contextlib.suppress(ClusterError):
            return self._cluster.master_of(job_id)
        return self._cluster.node_at(access.locate(identifier_of(job_id))[0].address)

    def _holds_output(self, access: Access, node: ChaosNode) -> bool:
        """Whether it has blocks that are not of the ring: map outputs."""
        for status in cluster_status(str(node.address)).nodes:
            if status.member.address == node.address:
                everything = Arc(status.member.identifier, status.member.identifier)
                question = difference(status.member, everything, Inventory())
                of_ring = perform(question, access.peers.ask).only_there
                return status.blocks > len(of_ring)
        return False

    def _heal(self) -> None:
        """Everybody back, all copies made, and the job's blocks gone."""
        for node in self._cluster.down:
            self._cluster.restart(node)
        self._cluster.await_copies()
        until_s = time.monotonic() + POINT_S_MAX
        while any(node.blocks for node in self._cluster.report().nodes.values()):
            if time.monotonic() > until_s:
                raise ClusterError("blocks of an ended job are left")
            time.sleep(0.1)
