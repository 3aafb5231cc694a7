"""Lookups while members come and go (SIGCOMM 2001, section 6.5; ToN 2003, section VI-E).

Members join, and others crash, as Poisson processes of the same rate; one lookup a second, by a
member drawn at random. In the papers each member stabilizes about every 30 seconds. In this
library a member does so twice a second, and five times as often while its neighbourhood changes,
for its rings are smaller and its users do not wait; both are measured.

*Without retries*, as SIGCOMM counts: a lookup has failed if any member on its way did not answer,
or it ended at a wrong owner. *With*: if it found no owner, or a wrong one. *At once*: the first one
asked was the owner, and said so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from map_reduce.simulation.draws import Draws
from map_reduce.simulation.figures.still import address_of, key_of
from map_reduce.simulation.figures.table import Table
from map_reduce.simulation.figures.traffic import Lookups, Traffic
from map_reduce.simulation.plan import SECOND_US, Settings
from map_reduce.simulation.world import World

COLUMNS = (
    *("members", "list", "interval s", "rate", "lookups", "hops", "timeouts"),
    *("at once", "failed without retries", "failed", "stale"),
)


@dataclass(frozen=True)
class Setup:
    """One row's circumstances."""

    members: int
    successors_max: int
    interval_s: float
    rate: float  # joins, and crashes, each second
    seconds: int
    lookups_per_s: float = 1.0
    view_max: int | None = None  # lists and fingers only, as in the papers


def churn(setups: Iterable[Setup], seed: int) -> Table:
    """Hops and timeouts of each lookup on average, and the failed ones as shares of all."""
    table = Table(COLUMNS)
    for setup in setups:
        lookups = lookups_during(setup, seed)
        ended = lookups.ended
        table.add(
            setup.members,
            setup.successors_max,
            setup.interval_s,
            setup.rate,
            ended,
            lookups.answers / ended,
            lookups.timeouts / ended,
            lookups.at_once / ended,
            1 - lookups.clean / ended,
            lookups.failed / ended,
            lookups.stale / ended,
        )
    return table


def lookups_during(setup: Setup, seed: int) -> Lookups:
    """The lookups of one run; those of its first fifth, while the churn sets in, are left out."""
    newcomers = 100 + int(2 * setup.rate * setup.seconds)
    settings = Settings(
        seed,
        members=setup.members,
        successors_max=setup.successors_max,
        view_max=setup.view_max or setup.successors_max,
        interval_us=int(setup.interval_s * SECOND_US),
    )
    world = World(settings, [address_of(n) for n in range(setup.members + newcomers)])
    world.settle(setup.members)
    lookups = Lookups()
    traffic = Traffic(world, Draws(seed, "churn"), lookups)
    end_us = setup.seconds * SECOND_US
    keys = count()
    traffic.at_rate(setup.rate, traffic.join, end_us)
    traffic.at_rate(setup.rate, traffic.crash, end_us)
    world.run_until(end_us // 5)
    traffic.at_rate(setup.lookups_per_s, lambda: traffic.look_up(key_of(next(keys))), end_us)
    world.run_until(end_us + 60 * SECOND_US)
    return lookups
