"""The nodes a job may use, sorted by whether they have room.

Each node stands in at most one of these places, and moves when what it depends on changes
(:meth:`Nodes.place`), so that finding room never means looking at all nodes:

    free      fewer attempts in flight than slots
    spare     every slot taken, and room in the queue behind them
    resting   refused, unreachable or silent a moment ago: left alone for a while
    (none)    full, or a node without slots

Free and spare are kept apart for readers (nodes that see the job's input files) and others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import AttemptId
from map_reduce.core.scheduling.events import NodeSlots
from map_reduce.core.scheduling.tasks import Attempt, MapTask

QUEUED_MAX = 1
"""Attempts that may wait at a node behind those in its slots."""

QUEUED_PER_SLOT_MAX = 2
"""The same, for each slot, where tasks are brisk: done sooner than a report and an order travel."""

BRISK_S = 0.05
PACE_WEIGHT = 0.25

SLOW_LAG = 2.0
"""A node whose tasks take so many times what is expected is slow."""

BUSY_REST_S = 0.25
REST_S_MIN = 0.25
REST_S_MAX = 5.0


class NodeState(msgspec.Struct, eq=False):
    """What the scheduler knows of one node."""

    member: Member
    slots: int
    reader: bool
    heard_s: float  # the last sign of life, or when it was given its first attempt
    attempts: dict[AttemptId, Attempt] = msgspec.field(default_factory=dict)  # in flight
    # Those whose output it holds, in order
    outputs: dict[MapTask, None] = msgspec.field(default_factory=dict)
    rest_until_s: float = 0.0
    refusals: int = 0  # since it last took or ended an attempt
    fetches_failed: int = 0  # reports that an output could not be had from it
    lag: float = 1.0  # how many times longer its tasks take than others, lately

    @property
    def is_slow(self) -> bool:
        return self.lag >= SLOW_LAG

    @property
    def load(self) -> float:
        return len(self.attempts) / self.slots

    @property
    def queued(self) -> int:
        """Attempts that wait behind its slots; negative where slots are free."""
        return len(self.attempts) - self.slots

    def next_to_run(self) -> Attempt | None:
        """The attempt that has a slot now and waited behind the slots before; None where none."""
        newest = next(islice(self.attempts.values(), max(0, self.slots - 1), None), None)
        return newest if newest is not None and newest.waits else None

    def outputs_named(self, name: str) -> list[MapTask]:
        """The tasks whose output is this: of equal outputs a node may keep one."""
        return [task for task in self.outputs if task.output and task.output.name == name]

    def refused(self) -> float:
        """It said no or could not be reached: the seconds to leave it alone, more each time."""
        rest_s = min(REST_S_MAX, REST_S_MIN * 2.0 ** min(self.refusals, 16))
        self.refusals += 1
        return rest_s


class Nodes:
    """The nodes, found by who has room: a free slot, a place in its queue, or neither for now.

    Args:
        readers: addresses of those that see the job's files; empty where all do, or none needs to.
    """

    def __init__(self, readers: Iterable[Address]) -> None:
        self._readers = frozenset(readers)
        self._members: dict[Member, NodeState] = {}
        # Dicts are used as sets that keep their order, so that runs can be repeated.
        self._free: tuple[dict[NodeState, None], dict[NodeState, None]] = ({}, {})
        self._spare: tuple[dict[NodeState, None], dict[NodeState, None]] = ({}, {})
        self._resting: dict[NodeState, None] = {}
        self._usual_s: float | None = None  # what a task takes, lately
        self.brisk = False
        self.slots_total = 0
        self.readers_alive = 0

    def __iter__(self) -> Iterator[NodeState]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def get(self, member: Member) -> NodeState | None:
        return self._members.get(member)

    def at(self, address: Address) -> NodeState | None:
        return next((node for node in self if node.member.address == address), None)

    def is_resting(self, node: NodeState) -> bool:
        return node in self._resting

    def update(self, listed: Iterable[NodeSlots], now_s: float) -> list[NodeState]:
        """Make this the list of nodes; return those that are gone.

        Of two lives of one address the later counts.
        """
        lives = sorted(listed, key=lambda node: node.member)
        current = {
            node.member: node.slots for node in {n.member.address: n for n in lives}.values()
        }
        gone = [node for node in self if node.member not in current]
        for node in gone:
            del self._members[node.member]
            self._take_out(node)
        for member, slots in current.items():
            known = self._members.get(member)
            if known is None:
                reader = not self._readers or member.address in self._readers
                known = NodeState(member, slots, reader, now_s)
                self._members[member] = known
            known.slots = slots
            self.place(known)
        self.slots_total = sum(node.slots for node in self)
        self.readers_alive = sum(node.reader and node.slots > 0 for node in self)
        return gone

    def paced(self, seconds: float) -> None:
        """A task has taken so long."""
        usual_s = seconds if self._usual_s is None else self._usual_s
        self._usual_s = usual_s + PACE_WEIGHT * (seconds - usual_s)
        brisk = self._usual_s < BRISK_S * (2 if self.brisk else 1)  # so that it does not flutter
        if brisk != self.brisk:
            self.brisk = brisk
            for node in self:
                self.place(node)

    def queued_max(self, node: NodeState) -> int:
        """Attempts that may wait at the node behind those in its slots."""
        return QUEUED_PER_SLOT_MAX * node.slots if self.brisk else QUEUED_MAX

    def place(self, node: NodeState) -> None:
        """Put the node where it belongs now."""
        resting = node in self._resting
        self._take_out(node)
        if resting:
            self._resting[node] = None
        elif node.slots > 0 and node.member in self._members:
            if node.queued < 0:
                self._free[node.reader][node] = None
            elif node.queued < self.queued_max(node):
                self._spare[node.reader][node] = None

    def rest(self, node: NodeState, rest_s: float, now_s: float) -> None:
        """Leave it alone for a while."""
        node.rest_until_s = now_s + rest_s
        self._resting[node] = None
        self.place(node)

    def wake(self, node: NodeState) -> None:
        """It has room again, or its rest is over."""
        self._resting.pop(node, None)
        self.place(node)

    def wake_rested(self, now_s: float) -> None:
        for node in [node for node in self._resting if node.rest_until_s <= now_s]:
            self.wake(node)

    def with_room(self, readers_only: bool, queueing: bool) -> list[NodeState]:
        """Nodes with a free slot; with ``queueing`` also those with room in their queue."""
        found = list(self._free[True])
        if not readers_only:
            found += self._free[False]
        if queueing:
            found += self._spare[True]
            if not readers_only:
                found += self._spare[False]
        return found

    def awake(self) -> Iterator[NodeState]:
        """Nodes with slots that are not resting, whether they have room or not."""
        return (node for node in self if node.slots > 0 and node not in self._resting)

    def _take_out(self, node: NodeState) -> None:
        self._free[node.reader].pop(node, None)
        self._spare[node.reader].pop(node, None)
        self._resting.pop(node, None)
