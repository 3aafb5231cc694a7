"""What is lost when nodes die: plans without any chance in them but the fate of messages.

A settled ring of ten nodes without data folders stores blocks. Two nodes of the replica group of
the first one have full disks meanwhile, or none, so it is acknowledged by three or by five. Then
nodes of that group die: at the same instant, or one after the other, with time for repair.
"""

from __future__ import annotations

from map_reduce.core.identifiers import Address, distance, identifier_of
from map_reduce.simulation.blocks.plan import BlockAct, BlockKind, BlockPlan
from map_reduce.simulation.blocks.run import Outcome, block, carry_out
from map_reduce.simulation.plan import SECOND_US, Act, Kind

NODES = 10
REPLICAS = 5
BLOCKS = 12
REPAIR_S = 30
"""Death noticed (5 s), neighbours settled (3 s), and a few hundred bytes moved at 400 a second."""


def group_of(seed: int, number: int) -> list[int]:
    """The replica group of the block of that number, the owner first."""
    place = identifier_of(block(seed, number, own=False)[0].name)
    nodes = range(NODES)
    return sorted(nodes, key=lambda n: distance(place, Address(f"n{n}", 1).identifier))[:REPLICAS]


def plan_deaths(
    seed: int, deaths: list[int], *, keepers: int = 5, apart_s: int = 0, data_folders: bool = False
) -> BlockPlan:
    """Nodes of the first block's group die.

    Args:
        deaths: which of them, by their place in the group.
        keepers: by how many of the group the first block is acknowledged: the first so many.
        apart_s: from one death to the next.
        data_folders: nodes crash and are started again at the end.
    """
    group = group_of(seed, 0)
    acts: list[Act | BlockAct] = [Act(0, Kind.SETTLE, (NODES,))]
    full_us = 2 * SECOND_US
    acts += [BlockAct(SECOND_US, BlockKind.FULL, (node,), full_us) for node in group[keepers:]]
    acts.append(BlockAct(SECOND_US + 1, BlockKind.PUT, (group[0], 0)))
    acts += [BlockAct(4 * SECOND_US, BlockKind.PUT, (0, number)) for number in range(1, BLOCKS)]
    at_us = 5 * SECOND_US if keepers == REPLICAS else SECOND_US + 900_000
    for place in deaths:
        if data_folders:
            acts.append(Act(at_us, Kind.CRASH, (group[place],)))
        else:
            acts.append(BlockAct(at_us, BlockKind.LOSE, (group[place],)))
        at_us += apart_s * SECOND_US
    acts.sort(key=lambda act: act.at_us)
    lasting = frozenset(range(NODES)) if data_folders else frozenset[int]()
    return BlockPlan(seed, NODES, REPLICAS, lasting, True, tuple(acts), at_us + SECOND_US)


def blocks_lost(outcome: Outcome) -> int:
    """Of those that were acknowledged. Raises AssertionError where anything else went wrong."""
    assert outcome.violation is None, outcome.violation
    return outcome.work["blocks lost"]


def table(seeds: int) -> list[str]:
    """Lines of Markdown: lost first blocks by deaths at the same instant."""
    lines = [
        "| of the group die at the same instant | lost where 5 had it | lost where 3 had it |",
        "| --- | --- | --- |",
    ]
    for deaths in range(1, REPLICAS + 1):
        cells = []
        for keepers in (5, 3):
            plans = [plan_deaths(s, list(range(deaths)), keepers=keepers) for s in range(seeds)]
            lost = [blocks_lost(carry_out(plan)) for plan in plans]
            cells.append(f"{sum(map(bool, lost))} of {seeds}")
        lines.append(f"| {deaths} | {cells[0]} | {cells[1]} |")
    return lines
