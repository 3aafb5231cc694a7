"""Lookups, arrivals and departures in a running world, at given rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

from map_reduce.core.identifiers import Identifier, Member
from map_reduce.errors import ClusterError
from map_reduce.simulation.draws import Draws
from map_reduce.simulation.figures.counting import Cost, counted
from map_reduce.simulation.plan import SECOND_US
from map_reduce.simulation.process import Process
from map_reduce.simulation.world import World

SEEDS = 3
"""Addresses that a joining node is given."""


@dataclass
class Lookups:
    """How lookups ended, and what they cost in all."""

    begun: int = 0
    right: int = 0
    stale: int = 0  # found a member that is not the owner now
    failed: int = 0  # found nobody
    clean: int = 0  # right, and without a single timeout
    at_once: int = 0  # right, and nobody but the owner was asked, if anybody
    answers: int = 0
    timeouts: int = 0

    @property
    def ended(self) -> int:
        return self.right + self.stale + self.failed


class Traffic:
    """What happens to a world at random times, all drawn from one stream."""

    def __init__(self, world: World, draws: Draws, lookups: Lookups) -> None:
        self._world = world
        self._draws = draws
        self._lookups = lookups
        self._fresh = len(list(world.processes()))  # the first address never used

    def at_rate(self, per_s: float, action: Callable[[], None], until_us: int) -> None:
        """A Poisson process: do it at random times, so often on average."""
        if per_s <= 0:
            return

        def again() -> None:
            if self._world.now_us < until_us:
                action()
                self._world.at(self._pause_us(per_s), None, again)

        self._world.at(self._pause_us(per_s), None, again)

    def _pause_us(self, per_s: float) -> int:
        return int(-log(1 - self._draws.below(SECOND_US) / SECOND_US) / per_s * SECOND_US)

    def look_up(self, target: Identifier) -> None:
        """By a member drawn at random; the outcome is added to the lookups."""
        lookups = self._lookups
        asker = self._any()
        cost = Cost()
        lookups.begun += 1

        def ended(found: tuple[Member, ...] | None, error: ClusterError | None) -> None:
            lookups.answers += cost.answers
            lookups.timeouts += cost.timeouts
            if found is None:
                lookups.failed += 1
            elif found[0] == self._world.judge.circle().owner(target):
                lookups.right += 1
                lookups.clean += not cost.timeouts
                lookups.at_once += not cost.timeouts and cost.path == 0
            else:
                lookups.stale += 1

        asker.run(counted(asker.ring.lookup(target), cost), ended)

    def join(self) -> None:
        """A node that was not there before joins by three that are."""
        seeds = [self._any().ring.me.address for _ in range(SEEDS)]
        self._world.start(self._fresh).join(list(dict.fromkeys(seeds)))
        self._fresh += 1

    def crash(self) -> None:
        self._any().up = False

    def _any(self) -> Process:
        joined = [process for process in self._world.processes() if process.ring.joined]
        return self._draws.one_of(joined)
