"""What happens to a simulated record from outside, as data, drawn before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from map_reduce.simulation.draws import Draws

SECOND_US = 1_000_000
SPAN_US = 3 * SECOND_US
"""Within so much virtual time everything is begun."""

OPERATIONS = ("read", "read", "write", "cas", "cas", "add", "add")
LEASE_OPERATIONS = ("take over", "take over", "commit", "commit", "commit", "read")
FAULTS = (
    *("crash",) * 3,  # the disk stays
    *("lose",) * 2,  # crash, and the disk is gone
    *("pause",) * 3,
    *("split",) * 2,
    *("deafen",) * 2,
    *("slow", "fill"),  # the disk is; a full one ends the replica until the node is restarted
    "storm",
)


@dataclass(frozen=True)
class Act:
    """One thing that happens from outside. ``nodes``: to or by whom; of a change of members, by
    whom, and then the nodes in the order in which they are to be members, ``number`` of them.
    ``first``: nodes that a lookup on the ring has named, to be asked first."""

    at_us: int
    kind: str
    nodes: tuple[int, ...] = ()
    number: int = 0
    duration_us: int = 0
    first: tuple[int, ...] = ()

    def __str__(self) -> str:
        nodes = " ".join(map(str, self.nodes))
        lasting = f" for {self.duration_us / SECOND_US:.3f} s" if self.duration_us else ""
        return f"{self.at_us / SECOND_US:8.3f} s  {self.kind} {nodes} ({self.number}){lasting}"


@dataclass(frozen=True)
class Plan:
    """``members``: how many of the nodes decide at first. ``leases``: the record has masters.
    ``care``: how many members the nodes see to it that the record has; 0: they leave it alone.
    ``stumble``: the probability that a process dies while it sends out the requests of a second
    phase, so that only one of them leaves it."""

    seed: int
    nodes: int
    members: int
    leases: bool
    care: int
    stumble: float
    acts: tuple[Act, ...]

    def keeping(self, numbers: Iterable[int]) -> Plan:
        """The plan with only those acts, named by their place in this one."""
        return replace(self, acts=tuple(self.acts[i] for i in sorted(set(numbers))))


def draw_plan(seed: int) -> Plan:
    """Everything about a run but the fate of messages.

    In three of four seeds the record is a register, in every fourth it has masters. Every fourth is
    in *turmoil*: hardly anything but changes of few members, few of which reach their end. In every
    fourth the nodes care for the record themselves. In every fourth it is deleted in the end.
    """
    draws = Draws(seed, "shape")
    leases, turmoil = seed % 4 == 3, seed % 4 == 1
    nodes = draws.within(2, 5) if turmoil else draws.within(3, 7)
    sizes = (1, 1, 2) if turmoil else (1, 2, 3, 3, 3, 5)
    stumble = draws.one_of((0.1, 0.3) if turmoil else (0.0, 0.0, 0.05, 0.2))
    lookups = 0.6 if turmoil else 0.3
    acts = _draw_operations(Draws(seed, "workload"), nodes, leases, lookups)
    changes = draws.within(15, 30) if turmoil else draws.within(0, draws.one_of((4, 14)))
    acts += _draw_changes(Draws(seed, "changes"), nodes, changes, sizes, lookups)
    acts += _draw_faults(Draws(seed, "faults"), nodes)
    care = Draws(seed, "care").one_of((2, 3, 3, 5)) if seed % 4 == 2 else 0
    if seed % 8 in (4, 6):
        acts += _draw_end(Draws(seed, "end"), nodes)
    acts.sort(key=lambda act: act.at_us)
    members = min(nodes, draws.one_of(sizes))
    return Plan(seed, nodes, members, leases, care, stumble, tuple(acts))


def _draw_operations(draws: Draws, nodes: int, leases: bool, lookups: float) -> list[Act]:
    """In bursts, so that proposers get into each other's way."""
    acts: list[Act] = []
    for _ in range(draws.within(4, 9)):
        burst_us = draws.below(SPAN_US)
        for _ in range(draws.within(2, 8)):
            kind = draws.one_of(LEASE_OPERATIONS if leases else OPERATIONS)
            at_us = burst_us + draws.heavy_tailed(0, 100_000)
            node, number = draws.below(nodes), len(acts) + 1
            acts.append(Act(at_us, kind, (node,), number, 0, _draw_lookup(draws, nodes, lookups)))
    return acts


def _draw_lookup(draws: Draws, nodes: int, lookups: float) -> tuple[int, ...]:
    """Mostly proposers know whom to ask; at times all they have is a lookup, maybe wrong."""
    if not draws.chance(lookups):
        return ()
    return tuple(node for node in range(nodes) if draws.chance(0.4))


def _draw_changes(
    draws: Draws, nodes: int, changes: int, sizes: tuple[int, ...], lookups: float
) -> list[Act]:
    """Changes of members, some by two nodes at once."""
    acts: list[Act] = []
    for _ in range(changes):
        at_us = draws.below(SPAN_US)
        for _ in range(draws.one_of((1, 1, 2))):
            order = list(range(nodes))
            for place in range(nodes - 1):
                other = place + draws.below(nodes - place)
                order[place], order[other] = order[other], order[place]
            size = draws.one_of(sizes)
            first = _draw_lookup(draws, nodes, lookups)
            acts.append(Act(at_us, "change", (draws.below(nodes), *order), size, 0, first))
            at_us += draws.heavy_tailed(0, 50_000)
    return acts


def _draw_end(draws: Draws, nodes: int) -> list[Act]:
    """The record is deleted, perhaps by two at once, and buried here and there from then on."""
    at_us = SPAN_US // 2 + draws.below(SPAN_US // 3)
    acts = [Act(at_us, "delete", (draws.below(nodes),))]
    for _ in range(draws.within(0, 2)):
        at_us += draws.heavy_tailed(0, 50_000)
        acts.append(Act(at_us, "delete", (draws.below(nodes),)))
    for _ in range(draws.within(0, 12)):
        bury_us = at_us + draws.heavy_tailed(0, SPAN_US // 2)
        acts.append(Act(bury_us, "bury", (draws.below(nodes),)))
    return acts


def _draw_faults(draws: Draws, nodes: int) -> list[Act]:
    acts: list[Act] = []
    if draws.chance(0.4):
        acts.append(Act(0, "storm", (), 0, SPAN_US))
    for _ in range(draws.within(0, 10)):
        at_us = draws.below(SPAN_US)
        kind = draws.one_of(FAULTS)
        lasting_us = draws.heavy_tailed(5_000, SPAN_US // 2)
        node = draws.below(nodes)
        if kind in ("crash", "lose"):
            heedless = int(draws.chance(0.1))  # even where a majority may be lost for ever
            acts += [Act(at_us, kind, (node,), heedless), Act(at_us + lasting_us, "start", (node,))]
        elif kind == "fill":
            acts += [Act(at_us, kind, (node,)), Act(at_us + lasting_us, "crash", (node,))]
            acts.append(Act(at_us + lasting_us, "start", (node,)))
        elif kind in ("pause", "slow"):
            acts.append(Act(at_us, kind, (node,), 0, lasting_us))
        elif kind == "deafen":
            acts.append(Act(at_us, kind, (node, draws.below(nodes)), 0, lasting_us))
        elif kind == "split":
            part = tuple(n for n in range(nodes) if draws.chance(0.5))
            acts.append(Act(at_us, kind, part, 0, lasting_us))
        else:
            acts.append(Act(at_us, kind, (), 0, lasting_us))
    return acts
