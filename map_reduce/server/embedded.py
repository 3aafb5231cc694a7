"""A node inside the user's own process: a ring of one, over a transport without sockets.

A worker process takes as long to start as this one takes to import what a node is made of. So the
worker is started first, and the imports are made while it comes up.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from map_reduce.server.configs import ClusterConfig, NodeConfig
from map_reduce.server.worker_pool import Beginnings, prepare, workplace

if TYPE_CHECKING:
    from map_reduce.server.access import Access

HOST, PORT = "embedded", 1
"""The name says in error messages where such a node lives; nobody else is in its network."""


def embed(cluster: ClusterConfig, config: NodeConfig) -> Access:
    """Start a node in this process, and be its client.

    Raises:
        ConfigError: a setting can't be used.
    """
    config = dataclasses.replace(config, host=HOST, port=PORT)
    # As nice as the script that waits for them: there are no neighbours to be answered in time.
    beginnings = prepare(f"{HOST}:{PORT}", cluster, config, niceness=0)
    try:
        return _access(cluster, config, beginnings)
    except BaseException:
        beginnings.close()
        raise


def _access(cluster: ClusterConfig, config: NodeConfig, beginnings: Beginnings) -> Access:
    from map_reduce.runtime.peers import Peers  # late: see the module's text
    from map_reduce.server.access import Access
    from map_reduce.server.node import Node
    from map_reduce.transport.memory import MemoryNetwork, MemoryTransport

    workers = workplace(beginnings, config)
    try:
        network = MemoryNetwork()
        node = Node(MemoryTransport(network), cluster=cluster, config=config, workers=workers)
    except BaseException:
        workers.close()
        raise
    transport = MemoryTransport(network)
    return Access(
        peers=Peers(transport, timeout_s=cluster.request_timeout_s),
        entries=[node.address],
        cluster=cluster,
        cluster_id=node.peers.cluster_id,
        closers=[node.close, transport.close],
        node=node,
    )
