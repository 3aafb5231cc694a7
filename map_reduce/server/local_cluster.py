"""A ring of node processes on this machine: for a laptop, for tests, for trying things out."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import IO

from map_reduce.core.identifiers import Address
from map_reduce.errors import ClusterError, NoNodeError
from map_reduce.server.access import connect
from map_reduce.server.configs import processors
from map_reduce.server.discovery import ClusterFile
from map_reduce.server.scratch import remove_abandoned

log = logging.getLogger(__name__)

START_S_MAX = 20.0
STOP_S_MAX = 1.5
WHOLE_POLL_S = 0.05


@dataclass
class NodeProcess:
    """A child process that runs one node."""

    process: subprocess.Popen[bytes]
    address: Address


class LocalCluster:
    """``nodes`` node processes that form one ring; the whole ring is up once this is made.

    Args:
        nodes: how many.
        first_port: the ports are this one and those after it; 0 takes free ones.
        slots: worker processes of each node; by default the processors shared among them.
        output: where the nodes' output goes; None: to this process's own.

    The nodes end when this object is closed, and when this process dies.

    Raises:
        NoNodeError: a node did not come up; its own message is on its standard error.
    """

    def __init__(
        self,
        nodes: int,
        *,
        first_port: int = 0,
        slots: int | None = None,
        output: int | IO[bytes] | None = None,
    ) -> None:
        self.nodes: list[NodeProcess] = []
        self._processes: list[subprocess.Popen[bytes]] = []  # the nodes', up or not
        self._slots = slots or max(1, processors() // nodes)
        self._output = output
        try:
            first = self._launch(first_port, None)
            self.nodes.append(self._await(*first))
            rest = [
                self._launch(first_port + number if first_port else 0, self.nodes[0].address)
                for number in range(1, nodes)
            ]
            for process, ready in rest:
                self.nodes.append(self._await(process, ready))
            self.cluster_id = self._await_whole()
        except BaseException:
            self.close()
            raise

    def _launch(self, port: int, join: Address | None) -> tuple[subprocess.Popen[bytes], int]:
        ready, ready_child = os.pipe()
        command = [sys.executable, "-m", "map_reduce", "node", "--port", str(port)]
        command += ["--slots", str(self._slots), "--ready-fd", str(ready_child), "--lifeline"]
        if join is not None:
            command += ["--join", str(join)]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # the lifeline: closed when this process ends, however
                stdout=self._output,
                stderr=self._output,
                pass_fds=[ready_child],
                start_new_session=True,  # a terminal's Ctrl-C is for us, who stop the nodes
            )
        except BaseException:
            os.close(ready)
            raise
        finally:
            os.close(ready_child)
        self._processes.append(process)
        return process, ready

    def _await(self, process: subprocess.Popen[bytes], ready: int) -> NodeProcess:
        """The node, once it has said where it listens."""
        try:
            readable, _, _ = select.select([ready], [], [], START_S_MAX)
            line = os.read(ready, 4096) if readable else b""
        finally:
            os.close(ready)
        if not line:
            raise NoNodeError(
                "a node process ended before it was up"
                if readable
                else f"a node process was not up within {START_S_MAX:g} s"
            )
        return NodeProcess(process, Address.parse(line.decode().strip()))

    def _await_whole(self) -> str:
        """Wait until a walk of the ring meets every node; the cluster's id."""
        from map_reduce.transport.pyro import PyroTransport

        transport = PyroTransport()
        try:
            access = connect([self.nodes[0].address], transport)
        except BaseException:
            transport.close()
            raise
        deadline_s = time.monotonic() + START_S_MAX
        try:
            while True:
                found: tuple[object, ...] = ()
                try:
                    found = access.members()
                    if len(found) == len(self.nodes):
                        return access.cluster_id
                except ClusterError as error:
                    log.info("the ring is not whole yet: %s", error)
                if time.monotonic() > deadline_s:
                    raise NoNodeError(
                        f"of {len(self.nodes)} nodes, {len(found)} formed a ring within "
                        f"{START_S_MAX:g} s"
                    )
                time.sleep(WHOLE_POLL_S)
        finally:
            access.close()

    def cluster_file(self) -> ClusterFile:
        addresses = tuple(str(node.address) for node in self.nodes)
        return ClusterFile(self.cluster_id, addresses, os.getpid())

    def running(self) -> list[NodeProcess]:
        """The nodes whose processes have not ended."""
        return [node for node in self.nodes if node.process.poll() is None]

    def close(self) -> None:
        """Stop all nodes: ask, wait 1.5 seconds, kill. Returns when all have ended."""
        _end(self._processes)
        remove_abandoned()  # what nodes that were killed had no time to delete

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline_s = time.monotonic() + STOP_S_MAX
    for process in processes:
        try:
            process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("node process %d did not end in time and was killed", process.pid)
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()
