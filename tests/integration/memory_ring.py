"""Whole nodes in this process, over a network in memory."""

from __future__ import annotations

from map_reduce.core.identifiers import Address
from map_reduce.server.access import connect
from map_reduce.server.configs import ClusterConfig, NodeConfig
from map_reduce.server.node import Node
from map_reduce.transport.memory import EMBEDDED, MemoryNetwork, MemoryTransport

QUICK = ClusterConfig(stabilize_interval_s=0.05)


class MemoryRing:
    """Whole nodes, workers included, that share a process and a network in memory."""

    def __init__(self, size: int) -> None:
        self._network = MemoryNetwork()
        self.nodes: list[Node] = []
        for _ in range(size):
            self.add()
        self.access = connect([self.nodes[0].address], MemoryTransport(self._network))

    def add(self) -> Node:
        """One node more."""
        seeds: list[Address] = [node.address for node in self.nodes[:1]]
        config = NodeConfig(host=EMBEDDED.host, port=EMBEDDED.port, slots=1)
        node = Node(MemoryTransport(self._network), cluster=QUICK, config=config, join=seeds)
        self.nodes.append(node)
        return node

    def close(self) -> None:
        self.access.close()
        for node in reversed(self.nodes):
            node.close()
