"""Many nodes start at the same time, and the one that all of them join dies in the middle.

What may come of it: one ideal ring of all that came up; or, where so few had joined that nobody
can tell a death from a broken network, members that are cut off, serve nothing and say so; and
nodes that could not join, which end with a message. Never two rings.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from map_reduce.client.ring_report import RingReport, report_text
from map_reduce.core.messages import GetPlace, Place
from map_reduce.errors import ClusterError
from map_reduce.testing.cluster import ChaosCluster

POLL_S = 0.002
START_S_MAX = 60.0


class Bootstrap(NamedTuple):
    """What came of it; ``refusals`` are the last lines that refused nodes wrote."""

    joined: int
    refusals: tuple[str, ...]
    ideal: bool

    def __str__(self) -> str:
        if not self.joined:
            return f"{len(self.refusals)} were refused"
        state = "one ideal ring" if self.ideal else "cut off, serving nothing"
        return f"{self.joined} joined: {state}; {len(self.refusals)} were refused"


def start_while_the_seed_dies(
    cluster: ChaosCluster, nodes: int, known: int, timeout_s: float = 60.0
) -> Bootstrap:
    """Start so many nodes at a cluster of one, which is killed when it knows ``known`` of them.

    Raises:
        ClusterError: what came of it is nothing that may; says what.
    """
    (seed,) = cluster.running
    access = cluster.access()

    def kill_in_the_middle() -> None:
        deadline_s = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline_s:
            place = access.peers.request(seed.address, GetPlace(), Place)
            if len({*place.successors, place.predecessor} - {place.member, None}) >= known:
                break
            time.sleep(POLL_S)
        cluster.kill(seed)

    try:
        added, refused = cluster.try_to_add(nodes, kill_in_the_middle)
    finally:
        access.close()
    refusals = tuple(str(error).splitlines()[-1] for error in refused)
    if any("map-reduce: " not in line for line in refusals):
        raise ClusterError("a node ended without saying why:\n" + "\n".join(refusals))
    if not added:
        return Bootstrap(0, refusals, False)
    report = cluster.await_report(
        lambda report: cluster.is_whole(report) or _all_are_cut_off(report),
        "one ideal ring, or nobody who serves",
        timeout_s,
    )
    for node in cluster.running:  # those that the first one does not know, too
        if not any(place.member.address == node.address for place in report.census.places):
            raise ClusterError(f"{node.address} is in another ring:\n{report_text(report)}")
    return Bootstrap(len(added), refusals, cluster.is_whole(report))


def _all_are_cut_off(report: RingReport) -> bool:
    return len(report.census.cut_off()) == len(report.census.places)
