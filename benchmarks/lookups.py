"""What a lookup costs on a quiet ring of real processes: requests first, then time.

    python benchmarks/lookups.py [--nodes 8] [--lookups 1000]

By a client that knows one node, by one that has seen all of them, and what a node itself would need
is one less than the first: it begins with its own knowledge. A request is one Pyro4 round trip on
a kept connection; new connections, which cost one more each, are counted beside it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from map_reduce.core.identifiers import Address, distance, identifier_of
from map_reduce.core.messages import Message, Request
from map_reduce.server.access import connect
from map_reduce.server.trust import credentials
from map_reduce.testing import ChaosCluster
from map_reduce.transport.pyro import PyroTransport


class CountingTransport(PyroTransport):
    """Counts the requests that it is asked to carry."""

    def __init__(self) -> None:
        super().__init__(credentials())
        self.requests = 0

    def call(self, peer: Address, request: Request, timeout_s: float) -> Message:
        self.requests += 1
        return super().call(peer, request, timeout_s)


def measure(cluster: ChaosCluster, lookups: int, *, knows_all: bool) -> tuple[list[int], float]:
    """Requests of each lookup, and the median time of one in seconds.

    Raises:
        AssertionError: a lookup named another node than the owner.
    """
    addresses = [node.address for node in cluster.running]
    transport = CountingTransport()
    access = connect(addresses[:1], transport)
    try:
        if knows_all:
            access.members()
        requests, times_s = [], []
        for number in range(lookups):
            place = identifier_of(f"lookup {number}")
            before, start_s = transport.requests, time.perf_counter()
            owner = access.locate(place)[0].address
            times_s.append(time.perf_counter() - start_s)
            requests.append(transport.requests - before)
            assert owner == min(addresses, key=lambda a: distance(place, a.identifier))
        return requests, statistics.median(times_s)
    finally:
        access.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--lookups", type=int, default=1000)
    options = parser.parse_args()
    with ChaosCluster(options.nodes) as cluster:
        print(f"{options.nodes} nodes, {options.lookups} lookups each")
        for knows_all in (False, True):
            requests, median_s = measure(cluster, options.lookups, knows_all=knows_all)
            spread = ", ".join(f"{n}: {count}" for n, count in sorted(Counter(requests).items()))
            print(
                f"client that knows {'all nodes' if knows_all else 'one node':10} "
                f"median {statistics.median(requests):g} requests ({spread}), "
                f"{median_s * 1000:.2f} ms"
            )


if __name__ == "__main__":
    main()
