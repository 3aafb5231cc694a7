"""What happens to the nodes of a run, drawn from its seed.

Of the seeds that are 0 by 3, nothing happens but that masters die: then nothing may be run again
but what was lost with them. Others have pauses, partitions, messages that are lost and doubled,
and nodes that die and come back as others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from map_reduce.simulation.draws import Draws

TROUBLE_S = 9
"""After so many seconds everything is well again."""


class Act(NamedTuple):
    """Something that happens. ``node`` -1: whoever is master then."""

    at_s: float
    what: str  # crash, pause, cut
    node: int
    seconds: float = 0.0
    other: int = 0

    def __str__(self) -> str:
        who = "the master" if self.node < 0 else f"node {self.node}"
        length = f" for {self.seconds:g} s" if self.seconds else ""
        other = f" off node {self.other}" if self.what == "cut" else ""
        return f"{self.at_s:6.2f} s: {self.what} {who}{other}{length}"


class Plan(NamedTuple):
    """A run, but for what is drawn on the way."""

    seed: int
    calm: bool
    nodes: int
    slots: int
    splits: int
    submitted: bool  # whether the owner hears of the job; else whoever holds it begins it
    loss: float
    doubling: float
    acts: tuple[Act, ...]
    mixed: bool = False  # what some maps add up is of no use to reduce

    def keeping(self, numbers: Iterable[int]) -> Plan:
        """With some of the acts only."""
        kept = set(numbers)
        return self._replace(acts=tuple(a for n, a in enumerate(self.acts) if n in kept))


def draw_plan(seed: int) -> Plan:
    """The plan of a seed."""
    draws = Draws(seed, "job plan")
    calm = seed % 3 == 0
    nodes = draws.one_of((3, 5, 5, 5, 6))
    splits = draws.one_of((1, 2, 4, 7, 12, 20))
    deaths = (min(nodes, 5) - 1) // 2  # of members of the records, who are not replaced here
    acts: list[Act] = []
    for number in range(draws.within(0, deaths)):
        at_s = 3 * number + draws.within(0, 250) / 100  # mostly while the job runs
        acts.append(Act(at_s, "crash", -1 if calm or draws.chance(0.6) else draws.below(nodes)))
    if not calm:
        for _ in range(draws.within(0, 5)):
            at_s = draws.within(0, TROUBLE_S * 100) / 100
            node = -1 if draws.chance(0.5) else draws.below(nodes)
            if draws.chance(0.5):
                acts.append(Act(at_s, "pause", node, draws.within(2, 60) / 10))
            else:
                acts.append(Act(at_s, "cut", node, draws.within(2, 60) / 10, draws.below(nodes)))
    rough = not calm and draws.chance(0.6)
    return Plan(
        seed,
        calm,
        nodes,
        draws.within(1, 3),
        splits,
        draws.chance(0.9),
        0.05 if rough else 0.0,
        0.05 if rough else 0.0,
        tuple(sorted(acts)),
        draws.chance(0.25),
    )
