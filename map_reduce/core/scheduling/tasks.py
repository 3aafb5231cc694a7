"""A job's tasks and the attempts at them: what the scheduler remembers of each.

Only the scheduler changes these. There may be a hundred thousand tasks, so what few of them
need (endings, nodes to avoid) costs nothing in the others.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, ClassVar

import msgspec

from map_reduce.core.identifiers import Member
from map_reduce.core.jobs.state import Ending
from map_reduce.core.messages import (
    AttemptId,
    Counts,
    OutputPart,
    Source,
    Split,
    Suspect,
    Tally,
    path_of,
)
from map_reduce.core.scheduling.states import (
    FINAL_TASK_TRANSITIONS,
    MAP_TASK_TRANSITIONS,
    TaskState,
    TaskStep,
    after,
)

if TYPE_CHECKING:
    from map_reduce.core.scheduling.nodes import NodeState


class Attempt(msgspec.Struct, eq=False):
    """One try that is in flight: given to a node, and neither ended nor given up."""

    id: AttemptId
    task: Task
    node: NodeState
    heard_s: float  # when it was given, or last named in a sign of life
    size_bytes: int = 0  # of what it reads
    since_s: float = 0.0  # when it got its slot; while it waits behind the slots, when it was given
    waits: bool = False  # behind the slots of its node
    backup: bool = False  # begun beside another attempt
    taken: bool = False
    counts: Counts = Counts()  # so far; stays empty for reduce tasks
    bytes_done: int = 0
    progressed_s: float = 0.0  # when bytes_done last grew


class Task(msgspec.Struct, eq=False):
    """What all kinds of tasks have."""

    phase: ClassVar[str]
    transitions: ClassVar[Mapping[TaskState, Mapping[TaskStep, TaskState]]]

    index: int
    state: TaskState = TaskState.PENDING
    attempts: tuple[Attempt, ...] = ()  # in flight
    attempts_begun: int = 0
    winner: AttemptId | None = None  # the attempt whose output counts
    endings: tuple[Ending, ...] = ()
    known_bad: tuple[Suspect, ...] = ()  # that ended attempts, and are left out from now on
    losses: int = 0  # attempts and outputs lost by no doing of the task
    avoid: frozenset[Member] = frozenset()  # nodes to give it to only where there is no other

    def step(self, step: TaskStep) -> None:
        self.state = after(self.transitions, self.state, step)

    @property
    def path(self) -> str:
        """The input file that a node has to see to run it, or ""."""
        return ""

    @property
    def readers_only(self) -> bool:
        """Whether only the nodes that see the job's input files can run it."""
        return bool(self.path)


class MapTask(Task, eq=False, kw_only=True):
    """Maps one split; its output stays on the node that made it."""

    phase: ClassVar[str] = "map"
    transitions: ClassVar[Mapping[TaskState, Mapping[TaskStep, TaskState]]] = MAP_TASK_TRANSITIONS

    split: Split
    output: StoredOutput | None = None

    @property
    def path(self) -> str:
        return path_of(self.split)


class FinalTask(Task, eq=False):
    """A task whose output is a part of the result."""

    transitions: ClassVar[Mapping[TaskState, Mapping[TaskStep, TaskState]]] = FINAL_TASK_TRANSITIONS

    part: OutputPart | None = None
    tally: Tally = Tally()
    winner_node: Member | None = None
    counts: Counts = Counts()  # of the winner


class ReduceTask(FinalTask, eq=False, kw_only=True):
    phase: ClassVar[str] = "reduce"

    first: int
    last: int  # its partitions are first … last - 1


class WholeTask(FinalTask, eq=False, kw_only=True):
    """Does a job of one split all at once."""

    phase: ClassVar[str] = "whole"

    split: Split

    @property
    def path(self) -> str:
        return path_of(self.split)


def still_pending(tasks: Iterable[Task]) -> list[Task]:
    return [task for task in tasks if task.state is TaskState.PENDING]


class StoredOutput:
    """Where a map task's output lies, where each partition begins in it, and whether its ints were
    added up."""

    __slots__ = ("added", "counts", "name", "node", "offsets", "tally")

    def __init__(
        self,
        node: Member,
        name: str,
        sizes: Iterable[int],
        counts: Counts,
        tally: Tally,
        added: bool,
    ) -> None:
        self.node = node
        self.name = name
        self.counts = counts
        self.tally = tally
        self.added = added
        self.offsets = array("Q", accumulate(sizes, initial=0))

    @property
    def size_bytes(self) -> int:
        return self.offsets[-1]

    def length_bytes(self, first: int, last: int) -> int:
        """Of partitions first … last - 1."""
        return self.offsets[last] - self.offsets[first]

    def sizes(self) -> list[int]:
        offsets = self.offsets
        return [end - start for start, end in pairwise(offsets)]

    def source(self, first: int, last: int) -> Source | None:
        """Where partitions first … last - 1 lie; None where they are empty."""
        length = self.length_bytes(first, last)
        if not length:
            return None
        return Source(self.node.address, self.name, self.offsets[first], length)
