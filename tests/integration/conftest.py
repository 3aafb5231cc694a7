"""Rings to run jobs on: in this process over a memory network, and of real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from memory_ring import MemoryRing

from map_reduce.client.server_interface import ServerInterface
from map_reduce.server.access import Access
from map_reduce.server.local_cluster import LocalCluster

RING_SIZES = (1, 2, 3, 4, 5)


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
