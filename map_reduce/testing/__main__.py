"""``python -m map_reduce.testing``: hurt a ring of real processes on this machine, and judge it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from map_reduce.errors import MapReduceError
from map_reduce.testing.bootstrap import start_while_the_seed_dies
from map_reduce.testing.cluster import ChaosCluster
from map_reduce.testing.record_chaos import SETTINGS, records_under_chaos
from map_reduce.testing.ring_chaos import ring_under_chaos


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m map_reduce.testing",
        description="Start a ring of node processes on loopback, kill, pause, stop and restart "
        "them at random while blocks are stored, and check the ring, the blocks and lookups.",
    )
    parser.add_argument("--nodes", type=int, default=8, help="nodes of the ring (default 8)")
    parser.add_argument("--seconds", type=float, default=25.0, help="of faults (default 25)")
    parser.add_argument("--seed", type=int, help="of the faults drawn (default: a new one)")
    parser.add_argument(
        "--bootstrap",
        action="store_true",
        help="instead, start all nodes at once and kill the one that they join in the middle",
    )
    parser.add_argument(
        "--records",
        action="store_true",
        help="instead, use records while nodes of a ring of five come and go, with their memory "
        "and without, and check whether the history could have happened",
    )
    parser.add_argument("--rounds", type=int, default=1, help="rings, one after another")
    options = parser.parse_args(arguments)
    failed = 0
    for number in range(options.rounds):
        seed = None if options.seed is None else options.seed + number
        try:
            if options.bootstrap:
                told = _bootstrap(options.nodes, seed)
            elif options.records:
                told = _records(seed, options.seconds, number)
            else:
                told = _faults(options.nodes, seed, options.seconds, number)
            print(told, flush=True)
        except MapReduceError as error:
            failed += 1
            print(f"FAILED: {error}", flush=True)
    return 1 if failed else 0


def _faults(nodes: int, seed: int | None, seconds: float, number: int) -> str:
    # Half of the rings keep their blocks on disk.
    with ChaosCluster(nodes, seed=seed, keep_data=number % 2 == 0) as cluster:
        print(f"seed {cluster.seed}", flush=True)
        return str(ring_under_chaos(cluster, seconds))


def _records(seed: int | None, seconds: float, number: int) -> str:
    with ChaosCluster(5, seed=seed, keep_data=number % 2 == 0, settings=SETTINGS) as cluster:
        print(f"seed {cluster.seed}", flush=True)
        return str(records_under_chaos(cluster, seconds))


def _bootstrap(nodes: int, seed: int | None) -> str:
    with ChaosCluster(1, seed=seed) as cluster:
        known = cluster.draw.randint(1, nodes - 1)
        result = start_while_the_seed_dies(cluster, nodes - 1, known)
        return f"seed {cluster.seed}: it died when it knew {known} of {nodes - 1}; {result}"


if __name__ == "__main__":
    sys.exit(main())
