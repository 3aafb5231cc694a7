"""What goes wrong in a simulated ring."""

from __future__ import annotations

from map_reduce.simulation.draws import Draws
from map_reduce.simulation.plan import SECOND_US, Act, Kind, Plan, Settings
from map_reduce.simulation.workload import SEEDS, draw_workload

MENU = (
    *[Kind.CRASH] * 4,
    *[Kind.LEAVE] * 2,
    *[Kind.PAUSE] * 3,
    *[Kind.DEAFEN] * 2,
    *[Kind.SPLIT] * 2,
    Kind.STORM,
)


def draw_plan(settings: Settings) -> Plan:
    """Workload and faults of a seed. Half of the nodes that go come back, as new incarnations."""
    acts = sorted(draw_workload(settings) + _draw_faults(settings), key=lambda act: act.at_us)
    ends_us = [act.at_us + act.duration_us for act in acts]
    return Plan(tuple(acts), max([settings.seconds * SECOND_US, *ends_us]))


def _draw_faults(settings: Settings) -> list[Act]:
    draws = Draws(settings.seed, "faults")
    nodes = settings.members
    acts: list[Act] = []
    for _ in range(settings.faults):
        at_us = draws.within(SECOND_US, settings.seconds * SECOND_US)
        kind = draws.one_of(MENU)
        node = draws.below(nodes)
        lasting_us = draws.heavy_tailed(SECOND_US // 5, 30 * SECOND_US)
        if kind in (Kind.CRASH, Kind.LEAVE):
            acts.append(Act(at_us, kind, (node,)))
            if draws.chance(0.5):
                back_us = at_us + draws.heavy_tailed(SECOND_US // 10, 40 * SECOND_US)
                seeds = [draws.below(nodes) for _ in range(SEEDS)]
                others = tuple(seed for seed in dict.fromkeys([*seeds, 0, 1]) if seed != node)
                acts.append(Act(back_us, Kind.JOIN, (node, *others)))
        elif kind is Kind.PAUSE:
            acts.append(Act(at_us, kind, (node,), lasting_us))
        elif kind is Kind.DEAFEN:
            acts.append(Act(at_us, kind, (node, draws.below(nodes)), lasting_us))
        elif kind is Kind.SPLIT:
            part = tuple(n for n in range(nodes) if draws.chance(0.5))
            acts.append(Act(at_us, kind, part, lasting_us))
        else:
            acts.append(Act(at_us, kind, (), lasting_us))
    return acts
