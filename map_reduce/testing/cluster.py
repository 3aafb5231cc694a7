"""A ring of real node processes on loopback that can be hurt: the same code as in production,
ended by SIGKILL, stopped by SIGSTOP, started again at the same address.

Which node is hit where a method says ``random`` is drawn from the seed; when, is the caller's. The
operating system decides how things interleave, so a seed repeats the decisions, not the run. (The
simulator repeats runs.)
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from map_reduce.client.ring_report import RingReport, report_of, report_text
from map_reduce.client.server_interface import ServerInterface
from map_reduce.core.identifiers import Address
from map_reduce.errors import ClusterError, NoNodeError
from map_reduce.server.access import Access, connect
from map_reduce.server.node_process import Launch, NodeProcess, end_all
from map_reduce.server.scratch import remove_abandoned
from map_reduce.server.trust import credentials
from map_reduce.transport.pyro import PyroTransport

FOLDER_PREFIX = "map-reduce-chaos-"
LOG_LINES = 10
STARTS_MAX = 3
POLL_S = 0.1
DUMP_S_MAX = 5.0
STOP_S_MAX = 15.0
"""How long a node that is told to stop may take: it hands over its blocks first."""


class ChaosNode:
    """A node of a ChaosCluster: an address, and the processes that run there one after another.

    Attributes:
        number: counted from 0, in the order in which nodes were added.
        state: ``"running"``, ``"paused"`` or ``"down"``.
        data_folder: where it keeps its blocks; None: in a folder that goes with the process.
    """

    def __init__(
        self,
        number: int,
        address: Address,
        process: subprocess.Popen[bytes],
        data_folder: Path | None,
    ) -> None:
        self.number = number
        self.address = address
        self.process = process
        self.data_folder = data_folder
        self.state = "running"

    @property
    def pid(self) -> int:
        return self.process.pid

    def __repr__(self) -> str:
        return f"<node {self.number} {self.address} {self.state}>"


class ChaosCluster:
    """``nodes`` node processes that form one ring.

        with ChaosCluster(5, seed=7) as cluster, cluster.server() as server:
            job = server.startup(data, map, reduce)
            cluster.kill_random()
            assert job.result() == expected

    Args:
        nodes: how many to begin with.
        seed: of what is drawn; None draws one, which :attr:`seed` tells and errors name.
        slots: worker processes of each node.
        keep_data: give each node a data folder, so that its blocks outlive its process.
        settings: ``MR_…`` environment variables of the nodes, as in docs/settings.md.

    What the nodes print goes to :attr:`log_path`. All nodes end when this is closed, and when this
    process dies.

    Raises:
        NoNodeError: a node did not come up; with the last lines of the log.
    """

    def __init__(
        self,
        nodes: int,
        *,
        seed: int | None = None,
        slots: int = 1,
        keep_data: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
        self.draw = random.Random(self.seed)
        self.nodes: list[ChaosNode] = []
        self.story: list[str] = []  # what was done to whom, with the time since the start
        self._slots = slots
        self._settings = dict(settings or {})
        self._keep_data = keep_data
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        self.log_path = self._folder / "nodes.log"
        self._log = open(self.log_path, "ab")  # noqa: SIM115  # closed with the cluster
        self._processes: list[subprocess.Popen[bytes]] = []
        self._timers: list[threading.Timer] = []
        self._lock = threading.Lock()  # of the states, which timers change too
        self._numbers = itertools.count()
        self._start_s = time.monotonic()
        try:
            self.add()
            self.add_all(nodes - 1)
            self.await_whole()
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------ who is there

    def _in(self, *states: str) -> list[ChaosNode]:
        return [node for node in self.nodes if node.state in states]

    @property
    def running(self) -> list[ChaosNode]:
        """Those whose process runs."""
        return self._in("running")

    @property
    def paused(self) -> list[ChaosNode]:
        return self._in("paused")

    @property
    def down(self) -> list[ChaosNode]:
        """Those that were killed or stopped, and not restarted."""
        return self._in("down")

    def node_at(self, address: Address | str) -> ChaosNode:
        """Raises KeyError: no node of this cluster has that address."""
        for node in self.nodes:
            if str(node.address) == str(address):
                return node
        raise KeyError(f"no node of this cluster listens at {address}")

    def master_of(self, job_id: str) -> ChaosNode:
        """The node that is master of a job now. Raises ClusterError: none says that it is."""
        for member, node in self.report().nodes.items():
            if any(job.job_id == job_id for job in node.jobs):
                return self.node_at(member.address)
        raise ClusterError(f"no node is master of job {job_id} now")

    def server(self) -> ServerInterface:
        """A client of a running node. Raises NoNodeError: none answers."""
        addresses = [str(node.address) for node in self.running]
        if not addresses:
            raise NoNodeError("no node of this cluster runs")
        return ServerInterface(addresses[0], quiet=True)

    def access(self) -> Access:
        """What a client is made of; the caller closes it. Raises NoNodeError."""
        transport = PyroTransport(credentials())
        try:
            return connect([node.address for node in self.running], transport)
        except BaseException:
            transport.close()
            raise

    # ------------------------------------------------------------------ what is done to them

    def add(self) -> ChaosNode:
        """A node more; it is a member when this returns. Raises NoNodeError."""
        return self.add_all(1)[0]

    def add_all(self, count: int) -> list[ChaosNode]:
        """So many nodes more, started at the same time. Raises NoNodeError."""
        added, refusals = self.try_to_add(count)
        if refusals:
            raise refusals[0]
        return added

    def try_to_add(
        self, count: int, meanwhile: Callable[[], object] = lambda: None
    ) -> tuple[list[ChaosNode], list[NoNodeError]]:
        """Start so many at the same time; those that came up, and why the others did not.

        ``meanwhile`` is called while they start.
        """
        join = [node.address for node in self.running[:3]]
        numbers = [next(self._numbers) for _ in range(count)]
        launches = [self._launch(0, join, self._folder_of(number)) for number in numbers]
        meanwhile()
        added, refusals = [], []
        for launch, number in zip(launches, numbers, strict=True):
            try:
                up = self._await(launch)
            except NoNodeError as error:
                refusals.append(error)
                self._tell(f"{number} was refused")
                continue
            node = ChaosNode(number, up.address, up.process, self._folder_of(number))
            self.nodes.append(node)
            added.append(node)
            self._tell(f"added {node.number} ({node.address})")
        return added, refusals

    def kill(self, *nodes: ChaosNode) -> None:
        """SIGKILL to all of them at about the same time."""
        with self._lock:
            victims = [node for node in nodes if node.state != "down"]
            for node in victims:
                node.process.kill()
                node.state = "down"
        for node in victims:
            node.process.wait()
            self._tell(f"killed {node.number}")

    def stop(self, node: ChaosNode) -> None:
        """Tell it to stop in order, and wait until it has.

        Raises:
            ClusterError: it has not ended after 15 seconds, and was killed.
        """
        self.resume(node)
        node.process.send_signal(signal.SIGTERM)
        try:
            node.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill(node)
            raise ClusterError(
                f"node {node.address} did not stop in {STOP_S_MAX:g} s{self._told()}"
            ) from None
        finally:
            with self._lock:
                node.state = "down"
        self._tell(f"stopped {node.number}")

    def pause(self, node: ChaosNode, for_s: float | None = None) -> None:
        """SIGSTOP: it answers nobody and loses nothing, until :meth:`resume` or ``for_s`` later."""
        with self._lock:
            if node.state != "running":
                return
            os.kill(node.pid, signal.SIGSTOP)
            node.state = "paused"
        self._tell(f"paused {node.number}" + ("" if for_s is None else f" for {for_s:.1f} s"))
        if for_s is not None:
            timer = threading.Timer(for_s, self.resume, [node])
            self._timers.append(timer)
            timer.start()

    def resume(self, *nodes: ChaosNode) -> None:
        """SIGCONT, to those that are paused; to all of them where none is named."""
        for node in nodes or self.nodes:
            with self._lock:
                if node.state != "paused":
                    continue
                os.kill(node.pid, signal.SIGCONT)
                node.state = "running"
            self._tell(f"resumed {node.number}")

    def restart(self, node: ChaosNode, *, keep_data: bool = True) -> None:
        """Start it again at its address, killed first if it is not down.

        Args:
            keep_data: whether a data folder is as it was left, or empty.

        A node that can't join in time, for its neighbours are not known to be dead yet, ends with a
        message; it is started up to three times.

        Raises:
            NoNodeError: it did not come up, or there is no ring to join.
        """
        self.kill(node)
        if node.data_folder is not None and not keep_data:
            shutil.rmtree(node.data_folder, ignore_errors=True)
        join = [other.address for other in self.running]
        if not join:
            raise NoNodeError("no node of this cluster runs that could be joined")
        for remaining in reversed(range(STARTS_MAX)):
            try:
                launch = self._launch(node.address.port, join, node.data_folder)
                node.process = self._await(launch).process
                break
            except NoNodeError:
                self._tell(f"{node.number} was refused")
                if not remaining:
                    raise
        with self._lock:
            node.state = "running"
        kept = " with its data" if keep_data and node.data_folder is not None else ""
        self._tell(f"restarted {node.number}{kept}")

    def kill_random(self, count: int = 1) -> list[ChaosNode]:
        """Kill so many of those that are not down, drawn from the seed; which."""
        victims = self.draw.sample(self._in("running", "paused"), count)
        self.kill(*victims)
        return victims

    def pause_random(self, for_s: float | None = None) -> ChaosNode:
        """Pause a running one, drawn from the seed; which."""
        node = self.draw.choice(self.running)
        self.pause(node, for_s)
        return node

    def restart_random(self, *, keep_data: bool = True) -> ChaosNode:
        """Restart one that is down, drawn from the seed; which."""
        node = self.draw.choice(self.down)
        self.restart(node, keep_data=keep_data)
        return node

    # ------------------------------------------------------------------ waiting

    def report(self) -> RingReport:
        """The ring now, asked of all nodes that run. Raises NoNodeError, ClusterError."""
        access = self.access()
        try:
            return report_of(access, [node.address for node in self.running])
        finally:
            access.close()

    def await_whole(self, timeout_s: float = 60.0) -> RingReport:
        """Wait until the ring is ideal, of exactly the running nodes; as it is then.

        Raises:
            ClusterError: it is not, after ``timeout_s`` seconds; says in what.
        """
        return self.await_report(self.is_whole, "the ring is ideal", timeout_s)

    def await_copies(self, timeout_s: float = 120.0) -> RingReport:
        """Wait until the ring is ideal, every block has all its copies, and every record has
        members that live: from then on, as many may be lost as at the start.

        Raises:
            ClusterError: they are not, after ``timeout_s`` seconds; says what is missing.
        """
        return self.await_report(self._has_all_copies, "all copies are made", timeout_s)

    def _has_all_copies(self, report: RingReport) -> bool:
        blocks, records = report.health, report.records
        missing = (blocks.short, blocks.problems, records.short, records.problems)
        return self.is_whole(report) and not any(missing)

    def is_whole(self, report: RingReport) -> bool:
        """Whether it is an ideal ring of exactly the nodes that run."""
        members = {member.address for member in report.census.ring()}
        return report.whole and members == {node.address for node in self.running}

    def await_report(
        self, holds: Callable[[RingReport], bool], what: str, timeout_s: float
    ) -> RingReport:
        """Ask for the ring until something holds. Raises ClusterError as those above."""
        deadline_s = time.monotonic() + timeout_s
        last = "nobody answered"
        while True:
            try:
                report = self.report()
            except ClusterError as error:
                last = str(error)
            else:
                if holds(report):
                    return report
                last = report_text(report)
            if time.monotonic() > deadline_s:
                raise ClusterError(f"not within {timeout_s:g} s: {what}\n{last}{self._told()}")
            time.sleep(POLL_S)

    # ------------------------------------------------------------------ the rest

    def dump_stacks(self) -> None:
        """Have each running node write to the log what its threads are at, one after another."""
        for node in self.running:
            self._log.write(f"what node {node.number} ({node.address}) is at:\n".encode())
            self._log.flush()
            written, until_s = -1, time.monotonic() + DUMP_S_MAX
            os.kill(node.pid, signal.SIGUSR1)
            while written != (size := self.log_path.stat().st_size) and time.monotonic() < until_s:
                written = size
                time.sleep(POLL_S)

    def close(self) -> None:
        """End all nodes, and delete their data folders. Harmless when repeated."""
        for timer in self._timers:
            timer.cancel()
            timer.join()
        self.resume()
        end_all(self._processes)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        remove_abandoned()

    def __enter__(self) -> ChaosCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _launch(self, port: int, join: Sequence[Address], folder: Path | None) -> Launch:
        launch = Launch(
            port=port,
            join=join,
            slots=self._slots,
            data_folder=folder,
            output=self._log,
            settings=self._settings,
        )
        self._processes.append(launch.process)
        return launch

    def _await(self, launch: Launch) -> NodeProcess:
        try:
            return launch.await_up()
        except NoNodeError as error:
            lines = self.log_path.read_text(errors="replace").splitlines()[-LOG_LINES:]
            raise NoNodeError("\n".join([f"{error}; the nodes' last lines:", *lines])) from error

    def _folder_of(self, number: int) -> Path | None:
        return self._folder / str(number) if self._keep_data else None

    def _tell(self, what: str) -> None:
        self.story.append(f"{time.monotonic() - self._start_s:8.2f} s  {what}")

    def _told(self) -> str:
        return "\n".join(["", f"seed {self.seed}; what was done:", *self.story])
