"""A ring of node processes on this machine: for a laptop, for tests, for trying things out."""

from __future__ import annotations

import logging
import os
import subprocess
import time

from map_reduce.core.identifiers import Address
from map_reduce.errors import ClusterError, NoNodeError
from map_reduce.server.access import connect
from map_reduce.server.configs import processors
from map_reduce.server.discovery import ClusterFile
from map_reduce.server.node_process import START_S_MAX, Launch, NodeProcess, Output, end_all
from map_reduce.server.scratch import remove_abandoned
from map_reduce.server.trust import CERTS_VARIABLE, credentials, token_path

log = logging.getLogger(__name__)

WHOLE_POLL_S = 0.05


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
        output: Output = None,
    ) -> None:
        self.nodes: list[NodeProcess] = []
        self._processes: list[subprocess.Popen[bytes]] = []  # the nodes', up or not
        self._slots = slots or max(1, processors() // nodes)
        self._output = output
        try:
            self.nodes.append(self._launch(first_port).await_up())
            rest = [
                self._launch(first_port + number if first_port else 0, self.nodes[0].address)
                for number in range(1, nodes)
            ]
            for launch in rest:
                self.nodes.append(launch.await_up())
            self.cluster_id = self._await_whole()
        except BaseException:
            self.close()
            raise

    def _launch(self, port: int, *join: Address) -> Launch:
        launch = Launch(port=port, join=join, slots=self._slots, output=self._output)
        self._processes.append(launch.process)
        return launch

    def _await_whole(self) -> str:
        """Wait until a walk of the ring meets every node; the cluster's id."""
        from map_reduce.transport.pyro import PyroTransport

        transport = PyroTransport(credentials())
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
        token_file = "" if os.environ.get(CERTS_VARIABLE) else str(token_path().absolute())
        return ClusterFile(self.cluster_id, addresses, os.getpid(), token_file)

    def running(self) -> list[NodeProcess]:
        """The nodes whose processes have not ended."""
        return [node for node in self.nodes if node.process.poll() is None]

    def close(self) -> None:
        """Stop all nodes: ask, wait 1.5 seconds, kill. Returns when all have ended."""
        end_all(self._processes)
        remove_abandoned()  # what nodes that were killed had no time to delete

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
