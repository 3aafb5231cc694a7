"""A ring of real processes under random faults, and what must be true of it afterwards.

While it lasts, nodes are killed, paused, restarted with and without their blocks, added and
stopped, as drawn from the cluster's seed, and a client stores blocks. What docs/blocks.md asks for
is granted: no third node loses its blocks before copies have been made anew. After that, with all
nodes running again:

- the ring is ideal (R1 to R5 of ``core/chord/invariants.py``, all lists and predecessors);
- every block that was acknowledged can be read, and has all its copies;
- a lookup by way of any node names the owner.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from map_reduce.client.ring_report import RingReport
from map_reduce.core.chord.lookup import lookup
from map_reduce.core.identifiers import distance, identifier_of
from map_reduce.core.messages import BlockRef
from map_reduce.core.procedure import perform
from map_reduce.errors import ClusterError
from map_reduce.server.access import Access
from map_reduce.testing.cluster import ChaosCluster

log = logging.getLogger(__name__)

LOSSES_MAX = 2
"""Nodes that lose their blocks before copies are made anew."""

AWAY_MAX = 3
"""Nodes that are down or paused at the same time."""

PAUSE_S_MAX = 8.0
REST_S_MAX = 1.0
BLOCK_BYTES_MAX = 100_000
LOOKUPS_PER_NODE = 25


@dataclass
class ChaosResult:
    """What was done, and what was seen after it.

    Attributes:
        faults: how often each kind was inflicted.
        acknowledged, refused: blocks that the client stored, and was told it could not.
        report: the ring at the end.
    """

    seed: int
    seconds: float
    faults: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    refused: int = 0
    lookups: int = 0
    report: RingReport | None = None

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        return (
            f"seed {self.seed}: {self.seconds:.0f} s of faults ({faults}); {self.acknowledged} "
            f"blocks acknowledged, {self.refused} refused; afterwards the ring is ideal, all "
            f"acknowledged blocks are there, {self.lookups} lookups were right"
        )


class _Writer:
    """A client that stores blocks, one after another, whatever happens to the ring."""

    def __init__(self, access: Access, draw: random.Random) -> None:
        self._access = access
        self._draw = draw
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="map-reduce-chaos-writer")
        self.acknowledged: dict[BlockRef, bytes] = {}
        self.refused = 0
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(self._draw.uniform(0.02, 0.2)):
            number += 1
            data = self._draw.randbytes(self._draw.randrange(BLOCK_BYTES_MAX))
            with suppress(ClusterError):
                self._access.members()  # who has come since; from now on, all are ways in
            try:
                ref = self._access.blocks.put(f"chaos/input/{number}", data)
            except ClusterError as error:
                self.refused += 1
                log.info("block %d was not acknowledged: %s", number, error)
            else:
                self.acknowledged[ref] = data

    def end(self) -> None:
        """Store no more; returns when the last one has been answered."""
        self._stop.set()
        self._thread.join()


def ring_under_chaos(cluster: ChaosCluster, seconds: float) -> ChaosResult:
    """Hurt the ring for so long, let it heal, and look.

    Raises:
        ClusterError: something is not as it must be; says what, the seed, and what was done.
    """
    result = ChaosResult(cluster.seed, seconds)
    access = cluster.access()
    writer = _Writer(access, random.Random(cluster.seed))
    try:
        try:
            _hurt(cluster, time.monotonic() + seconds, result)
        finally:
            writer.end()
        _heal(cluster)
        result.acknowledged, result.refused = len(writer.acknowledged), writer.refused
        result.report = cluster.await_copies()
        for ref, data in writer.acknowledged.items():
            if access.blocks.get(ref) != data:
                raise ClusterError(f"block {ref.name} has other bytes than were stored")
        result.lookups = check_lookups(cluster, access)
    except ClusterError as error:
        story = "\n".join(cluster.story)
        raise ClusterError(f"{error}\nseed {cluster.seed}; what was done:\n{story}") from error
    finally:
        access.close()
    return result


def _hurt(cluster: ChaosCluster, until_s: float, result: ChaosResult) -> None:
    draw = cluster.draw
    losses = 0
    while time.monotonic() < until_s:
        time.sleep(draw.uniform(0.1, REST_S_MAX))
        kind = draw.choice(("kill", "kill", "pause", "pause", "restart", "restart", "stop", "add"))
        if kind in ("restart", "add"):
            if not cluster.down:
                continue
        elif len(cluster.down) + len(cluster.paused) >= AWAY_MAX:
            continue
        if kind == "kill" and losses == LOSSES_MAX:
            cluster.resume()
            cluster.await_copies()  # now as many may be lost again
            losses = 0
        result.faults[kind] += 1
        if kind == "kill":
            cluster.kill_random()
            losses += 1
        elif kind == "pause":
            cluster.pause_random(draw.uniform(0.2, PAUSE_S_MAX))
        elif kind == "stop":
            cluster.stop(draw.choice(cluster.running))
        elif kind == "add":
            _replace(cluster)
        elif kind == "restart":
            cluster.restart_random(keep_data=draw.random() < 0.5)


def _replace(cluster: ChaosCluster) -> None:
    """One that is down never comes back; a new one comes in its stead."""
    gone = cluster.draw.choice(cluster.down)
    cluster.nodes.remove(gone)
    cluster.add()


def _heal(cluster: ChaosCluster) -> None:
    cluster.resume()
    for node in cluster.down:
        cluster.restart(node)


def check_lookups(cluster: ChaosCluster, access: Access) -> int:
    """Look up places by way of every node; how many.

    Raises:
        ClusterError: another node than the owner was named.
    """
    addresses = [node.address for node in cluster.running]
    count = 0
    for entry in addresses:
        for number in range(LOOKUPS_PER_NODE):
            place = identifier_of(f"place {number} by way of {entry}")
            found = perform(lookup(place, [entry]), access.peers.ask)[0].address
            owner = min(addresses, key=lambda a: distance(place, a.identifier))
            if found != owner:
                raise ClusterError(f"by way of {entry}, {place:040x} is {found}'s, not {owner}'s")
            count += 1
    return count
