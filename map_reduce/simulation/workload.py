"""What the users of a simulated ring do: they start its nodes and look up keys."""

from __future__ import annotations

from map_reduce.simulation.draws import Draws
from map_reduce.simulation.plan import SECOND_US, Act, Kind, Settings

SEEDS = 3
"""Addresses that a joining node is given."""


def draw_workload(settings: Settings) -> list[Act]:
    """Node 0 begins, or some are there already; the others join one after the other, or all at
    the same instant."""
    draws = Draws(settings.seed, "workload")
    there = settings.placed
    acts = [Act(0, Kind.SETTLE, (there,)) if there else Act(0, Kind.CREATE, (0,))]
    rush = draws.chance(0.3)  # everybody at once
    at_us = SECOND_US // 10
    for node in range(there or 1, settings.members):
        started = [draws.below(node) for _ in range(SEEDS)]
        acts.append(Act(at_us, Kind.JOIN, (node, *dict.fromkeys([*started, 0]))))
        if not rush:
            at_us += draws.within(0, 2 * SECOND_US)
    for number in range(settings.seconds):
        when_us = draws.below(settings.seconds * SECOND_US)
        acts.append(Act(when_us, Kind.LOOKUP, (draws.below(settings.members), number)))
    return acts
