"""Lookups while members come and go: how many the first one asked answers itself.

Members look up keys of their own accord, beginning with what they know themselves, so one question
is the least that a key of somebody else's costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from map_reduce.core.identifiers import Identifier, Member
from map_reduce.errors import ClusterError
from map_reduce.simulation.draws import Draws
from map_reduce.simulation.figures.counting import Cost, counted
from map_reduce.simulation.figures.still import address_of, key_of
from map_reduce.simulation.figures.table import Table
from map_reduce.simulation.figures.traffic import Lookups, Traffic
from map_reduce.simulation.plan import SECOND_US, Settings
from map_reduce.simulation.world import World

WARM_UP_S = 10
LOOKUPS_PER_S = 20.0


class Changes(Traffic):
    """Traffic whose lookups are told apart by how many were asked."""

    one_hop = 0
    more_hops = 0

    def look_up(self, target: Identifier) -> None:
        asker = self._any()
        if asker.ring.owns(target):
            return
        cost = Cost()

        def ended(found: tuple[Member, ...] | None, error: ClusterError | None) -> None:
            if found is not None and cost.answers == 1 and not cost.timeouts:
                self.one_hop += 1
            else:
                self.more_hops += 1

        asker.run(counted(asker.ring.lookup(target), cost, asker.ring.me.address), ended)

    def leave(self) -> None:
        self._any().leave()


def one_hop(
    members: int,
    changes_per_s: Sequence[float],
    seconds: int,
    seed: int,
    *,
    crashing: float = 0.25,
    view_max: int = 1024,
) -> Table:
    """Half of the changes are joins; ``crashing`` of them are crashes, the others leave."""
    table = Table(("changes each s", "lookups", "in one hop", "share"))
    for rate in changes_per_s:
        newcomers = 100 + int(2 * rate * (WARM_UP_S + seconds))
        world = World(
            Settings(seed, members=members, successors_max=16, view_max=view_max),
            [address_of(number) for number in range(members + newcomers)],
        )
        world.settle(members)
        traffic = Changes(world, Draws(seed, "changes"), Lookups())
        end_us = (WARM_UP_S + seconds) * SECOND_US
        traffic.at_rate(rate / 2, traffic.join, end_us)
        traffic.at_rate(rate * crashing, traffic.crash, end_us)
        traffic.at_rate(rate * (0.5 - crashing), traffic.leave, end_us)
        world.run_until(WARM_UP_S * SECOND_US)
        keys = count()
        traffic.at_rate(LOOKUPS_PER_S, lambda: traffic.look_up(key_of(next(keys))), end_us)  # noqa: B023
        world.run_until(end_us + 30 * SECOND_US)
        lookups = traffic.one_hop + traffic.more_hops
        table.add(rate, lookups, traffic.one_hop, traffic.one_hop / max(1, lookups))
    return table
