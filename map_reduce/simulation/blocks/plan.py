"""What happens from outside to a simulated ring with blocks, as data, drawn before it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from map_reduce.simulation.draws import Draws
from map_reduce.simulation.plan import SECOND_US, Act, Kind, Settings

FAULTS_S = 30
JOBS = 4
SEEDS = 3
"""Addresses that a joining node is given."""

BLOCK_BYTES_MAX = 40
"""Up to three pieces (``process.py``)."""


class BlockKind(Enum):
    """Kinds of acts that have to do with blocks and disks. ``nodes`` of an act mean:"""

    PUT = "put"  # (node, number of the block): a client of this node stores it
    RESULT = "result"  # (node, number of the block): the node itself stores it, as a result
    READ = "read"  # (node, number of the block): a client of this node reads it
    OWN_READ = "own read"  # the node itself does
    END = "end"  # (node, job, whether all blocks): a client of this node ends the job
    LOSE = "lose"  # (node,) crashes, and its disk is gone
    BLACKOUT = "blackout"  # all crash at this instant; (node, …) begins a new ring after the time
    SLOW = "slow"  # (node,): its disk takes seconds for the duration
    FULL = "full"  # (node,): its disk takes no more for the duration
    ROT = "rot"  # (node, which): a bit of one of its blocks changes, and nobody notices
    TEAR = "tear"  # (node, which): one of its files loses its end


@dataclass(frozen=True)
class BlockAct:
    """One thing that happens from outside to blocks or disks."""

    at_us: int
    kind: BlockKind
    nodes: tuple[int, ...] = ()
    duration_us: int = 0

    def __str__(self) -> str:
        nodes = " ".join(map(str, self.nodes))
        lasting = f" for {self.duration_us / SECOND_US:.1f} s" if self.duration_us else ""
        return f"{self.at_us / SECOND_US:8.3f} s  {self.kind.value} {nodes}{lasting}"


@dataclass(frozen=True)
class BlockPlan:
    """One run.

    Attributes:
        nodes: how many there may be.
        replicas: copies of a block.
        lasting: which nodes have a data folder. The others have lost all when they end.
        heedless: faults may take more copies of a block than the promise covers.
        acts: in the order of time.
        quiet_from_us: from there on nothing happens from outside.
    """

    seed: int
    nodes: int
    replicas: int
    lasting: frozenset[int]
    heedless: bool
    acts: tuple[Act | BlockAct, ...]
    quiet_from_us: int

    def keeping(self, numbers: Iterable[int]) -> BlockPlan:
        """The plan with only those acts, named by their place in this one."""
        return replace(self, acts=tuple(self.acts[i] for i in sorted(set(numbers))))

    def settings(self) -> Settings:
        """Of the ring."""
        return Settings(seed=self.seed, members=self.nodes, successors_max=8, interval_us=SECOND_US)


MENU: tuple[Kind | BlockKind, ...] = (
    *[Kind.CRASH] * 4,
    *[BlockKind.LOSE] * 3,
    *[Kind.LEAVE] * 3,
    *[Kind.PAUSE] * 3,
    *[Kind.DEAFEN] * 2,
    *[Kind.SPLIT] * 2,
    *[BlockKind.SLOW] * 2,
    *[BlockKind.FULL] * 2,
    *[BlockKind.ROT] * 2,
    BlockKind.TEAR,
    Kind.STORM,
)


def draw_plan(seed: int) -> BlockPlan:
    """Everything about a run but the fate of messages."""
    draws = Draws(seed, "shape")
    nodes = draws.within(2, 8)
    replicas = draws.one_of((5, 5, 3))
    share = draws.one_of((0.0, 0.5, 1.0))
    lasting = frozenset(node for node in range(nodes) if draws.chance(share))
    heedless = draws.chance(0.2)
    faults = draws.within(2, 14)
    acts = _draw_joins(Draws(seed, "joins"), nodes)
    acts += _draw_work(Draws(seed, "workload"), nodes)
    acts += _draw_faults(Draws(seed, "faults"), nodes, faults)
    if len(lasting) == nodes and draws.chance(0.5):
        at_us = draws.within(10 * SECOND_US, FAULTS_S * SECOND_US)
        dark_us = draws.within(SECOND_US // 10, 5 * SECOND_US)
        acts.append(BlockAct(at_us, BlockKind.BLACKOUT, (draws.below(nodes),), dark_us))
    acts.sort(key=lambda act: act.at_us)
    quiet_us = max([FAULTS_S * SECOND_US, *(act.at_us + act.duration_us for act in acts)])
    return BlockPlan(seed, nodes, replicas, lasting, heedless, tuple(acts), quiet_us)


def _draw_joins(draws: Draws, nodes: int) -> list[Act | BlockAct]:
    """Node 0 begins; most others join soon, one after the other or all at once, some late."""
    acts: list[Act | BlockAct] = [Act(0, Kind.CREATE, (0,))]
    rush = draws.chance(0.5)
    at_us = SECOND_US // 10
    for node in range(1, nodes):
        late_us = draws.below(FAULTS_S * SECOND_US) if draws.chance(0.25) else 0
        acts.append(Act(at_us + late_us, Kind.JOIN, (node, *_seeds(draws, node, 0))))
        if not rush:
            at_us += draws.within(0, 2 * SECOND_US)
    return acts


def _draw_work(draws: Draws, nodes: int) -> list[Act | BlockAct]:
    """Blocks are numbered in the order in which they are drawn, and never put twice."""
    acts: list[Act | BlockAct] = []
    blocks = draws.within(4, 24)
    for number in range(blocks):
        at_us = draws.within(SECOND_US, FAULTS_S * SECOND_US * 3 // 4)
        kind = draws.one_of((BlockKind.PUT, BlockKind.PUT, BlockKind.RESULT))
        acts.append(BlockAct(at_us, kind, (draws.below(nodes), number)))
        for _ in range(draws.below(3)):
            reader = draws.one_of((BlockKind.READ, BlockKind.OWN_READ))
            read_us = at_us + draws.below(FAULTS_S * SECOND_US - at_us)
            acts.append(BlockAct(read_us, reader, (draws.below(nodes), number)))
    for _ in range(draws.below(4)):
        at_us = draws.within(5 * SECOND_US, FAULTS_S * SECOND_US)
        nodes_ = (draws.below(nodes), draws.below(JOBS), draws.below(2))
        acts.append(BlockAct(at_us, BlockKind.END, nodes_))
    return acts


def _draw_faults(draws: Draws, nodes: int, faults: int) -> list[Act | BlockAct]:
    """Most nodes that go come back, as new incarnations."""
    acts: list[Act | BlockAct] = []
    for _ in range(faults):
        at_us = draws.within(3 * SECOND_US, FAULTS_S * SECOND_US)
        kind = draws.one_of(MENU)
        node = draws.below(nodes)
        lasting_us = draws.heavy_tailed(SECOND_US // 5, 20 * SECOND_US)
        if kind in (Kind.CRASH, Kind.LEAVE, BlockKind.LOSE):
            acts.append(_act(at_us, kind, (node,), 0))
            if draws.chance(0.7):
                back_us = at_us + draws.heavy_tailed(SECOND_US // 10, 30 * SECOND_US)
                seeds = _seeds(draws, nodes, 0, 1)
                others = tuple(seed for seed in seeds if seed != node)
                acts.append(Act(back_us, Kind.JOIN, (node, *others)))
        elif kind is Kind.DEAFEN:
            acts.append(
                _act(at_us, kind, (node, (node + 1 + draws.below(nodes - 1)) % nodes), lasting_us)
            )
        elif kind is Kind.SPLIT:
            part = tuple(n for n in range(nodes) if draws.chance(0.5))
            acts.append(_act(at_us, kind, part, lasting_us))
        elif kind is Kind.STORM:
            acts.append(_act(at_us, kind, (), lasting_us))
        elif kind in (BlockKind.ROT, BlockKind.TEAR):
            acts.append(_act(at_us, kind, (node, draws.below(1000)), 0))
        else:
            acts.append(_act(at_us, kind, (node,), lasting_us))
    return acts


def _act(
    at_us: int, kind: Kind | BlockKind, nodes: tuple[int, ...], duration_us: int
) -> Act | BlockAct:
    if isinstance(kind, BlockKind):
        return BlockAct(at_us, kind, nodes, duration_us)
    return Act(at_us, kind, nodes, duration_us)


def _seeds(draws: Draws, nodes: int, *always: int) -> tuple[int, ...]:
    drawn = [draws.below(nodes) for _ in range(SEEDS)]
    return tuple(dict.fromkeys([*drawn, *always]))
