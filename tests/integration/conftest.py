"""Rings to run jobs on: in this process over a memory network, and of real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from map_reduce.client.server_interface import ServerInterface
from map_reduce.core.identifiers import Address
from map_reduce.server.access import Access, connect
from map_reduce.server.configs import ClusterConfig, NodeConfig
from map_reduce.server.local_cluster import LocalCluster
from map_reduce.server.node import Node
from map_reduce.transport.memory import EMBEDDED, MemoryNetwork, MemoryTransport

QUICK = ClusterConfig(stabilize_interval_s=0.05)


class MemoryRing:
    """Whole nodes, workers included, that share a process and a network in memory."""

    def __init__(self, size: int, cluster: ClusterConfig = QUICK) -> None:
        network = MemoryNetwork()
        config = NodeConfig(host=EMBEDDED.host, port=EMBEDDED.port, slots=1)
        self.nodes: list[Node] = []
        seeds: list[Address] = []
        for _ in range(size):
            transport = MemoryTransport(network)
            self.nodes.append(Node(transport, cluster=cluster, config=config, join=seeds))
            seeds = [self.nodes[0].address]
        self.access = connect(seeds, MemoryTransport(network))

    def close(self) -> None:
        self.access.close()
        for node in reversed(self.nodes):
            node.close()


RING_SIZES = (1, 2, 3, 5)


@pytest.fixture(scope="session")
def ring_of() -> Iterator[Callable[[int], Access]]:
    """``ring_of(n)``: access to a ring of n nodes, for n in RING_SIZES."""
    rings: dict[int, MemoryRing] = {}
    try:
        for size in RING_SIZES:
            rings[size] = MemoryRing(size)
        yield lambda size: rings[size].access
    finally:
        for ring in rings.values():
            ring.close()


@pytest.fixture(scope="session")
def server() -> Iterator[ServerInterface]:
    """An embedded node with two workers, for jobs that leave it as it was."""
    with ServerInterface(slots=2, quiet=True) as made:
        yield made


@pytest.fixture(scope="session")
def local_cluster() -> Iterator[LocalCluster]:
    """Three real processes."""
    with LocalCluster(3) as cluster:
        yield cluster
