"""What of a job is done, and where: its tasks, the outputs that count, the partitions' sizes.

Bookkeeping without policy: the scheduler decides, the ledger keeps the counts that make its
questions cheap. Its copy in the ring, which another master can go on from, is the business of
``commits.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from operator import add, sub

from map_reduce.core.identifiers import Member
from map_reduce.core.messages import (
    AttemptId,
    Counts,
    JobSpec,
    MapOutput,
    MapWork,
    Outcome,
    OutputPart,
    ReduceOutput,
    ReduceWork,
    Source,
    WholeWork,
    Work,
    size_bytes_of,
)
from map_reduce.core.scheduling.plan import group_partitions, reduce_tasks_max
from map_reduce.core.scheduling.states import TaskState, TaskStep
from map_reduce.core.scheduling.tally import JobTally
from map_reduce.core.scheduling.tasks import (
    FinalTask,
    MapTask,
    ReduceTask,
    StoredOutput,
    Task,
    WholeTask,
)


class Ledger:
    """Empty until :meth:`cut`. Attributes are for reading."""

    def __init__(self) -> None:
        self.partitions = 0
        self.bounds = b""  # of the ranges of keys that are the partitions, for workers
        self.adds = True  # whether map tasks may add ints up unasked
        self.maps: list[MapTask] = []
        self.finals: list[FinalTask] = []  # of whose outputs the result is made
        self.maps_missing = 0  # not committed
        self.finals_missing = 0
        self.reduce_planned = False
        self.cuts: tuple[int, ...] = ()  # where the reduce tasks' ranges end
        self.partition_bytes: list[int] = []  # of all map outputs that count
        self.tally = JobTally()  # of all attempts that count
        self.records = 0  # of the input, mapped by attempts that count
        self.keys = 0  # reduced by attempts that count

    def cut(self, spec: JobSpec) -> None:
        """Make the first tasks of a job: one that does it all, or a map task for each split."""
        splits = spec.splits
        self.partitions, self.bounds = spec.partitions, spec.bounds
        if len(splits) == 1:
            self.finals = [WholeTask(0, split=splits[0])]
            self.finals_missing = 1
            self.reduce_planned = True
        else:
            self.maps = [MapTask(index, split=split) for index, split in enumerate(splits)]
            self.maps_missing = len(splits)
            self.partition_bytes = [0] * self.partitions

    def plan_reduce(self, slots: int) -> None:
        """Make the reduce tasks from what the maps measured; none for no pairs."""
        sizes = self.partition_bytes
        ranges = group_partitions(sizes, reduce_tasks_max(sum(sizes), slots))
        self.cut_reduce(tuple(last for _, last in ranges))

    def cut_reduce(self, cuts: tuple[int, ...]) -> None:
        """Make the reduce tasks whose ranges of partitions end there, from partition 0 on."""
        self.cuts = cuts
        self.finals = [
            ReduceTask(index, first=first, last=last)
            for index, (first, last) in enumerate(pairwise((0, *cuts)))
        ]
        self.finals_missing = len(self.finals)
        self.reduce_planned = True

    def finals_in_order(self) -> list[FinalTask]:
        """The tasks that make the result, in the order in which to begin them: largest first."""
        sizes = self.partition_bytes

        def size(task: FinalTask) -> int:
            return sum(sizes[task.first : task.last]) if isinstance(task, ReduceTask) else 0

        return sorted(self.finals, key=size, reverse=True)

    def work(self, task: Task) -> Work:
        """What an attempt at the task is to do, as of now."""
        if isinstance(task, MapTask):
            return MapWork(task.split, self.partitions, self.bounds, self.adds)
        if isinstance(task, ReduceTask):
            sources = self._sources(task.first, task.last)
            return ReduceWork.of(task.first, task.last, self.partitions, sources)
        assert isinstance(task, WholeTask)
        return WholeWork(task.split)

    def _sources(self, first: int, last: int) -> Iterable[Source]:
        for task in self.maps:
            source = task.output.source(first, last) if task.output else None
            if source is not None:
                yield source

    def size_bytes(self, task: Task) -> int:
        """What an attempt at the task reads."""
        if isinstance(task, ReduceTask):
            return sum(self.partition_bytes[task.first : task.last])
        assert isinstance(task, MapTask | WholeTask)
        return size_bytes_of(task.split)

    def fits(self, task: Task, outcome: Outcome) -> bool:
        """Whether this can be what an attempt at the task made."""
        if isinstance(task, MapTask):
            return (
                isinstance(outcome, MapOutput)
                and len(outcome.sizes) == self.partitions
                and min(outcome.sizes) >= 0
            )
        return isinstance(outcome, ReduceOutput)

    def commit(
        self, task: Task, winner: AttemptId, node: Member, made: MapOutput | ReduceOutput
    ) -> None:
        """From now on this attempt's output counts. ``made`` fits the task."""
        task.step(TaskStep.COMMITTED)
        task.winner = winner
        tally = self.tally.add(task.phase, task.index, made.tally)
        if isinstance(task, MapTask) and isinstance(made, MapOutput):
            output = StoredOutput(node, made.name, made.sizes, made.counts, tally, made.added)
            task.output = output
            self.partition_bytes = list(map(add, self.partition_bytes, made.sizes))
            self.maps_missing -= 1
            self.records += made.counts.records_in
        elif isinstance(task, FinalTask) and isinstance(made, ReduceOutput):
            task.part, task.tally = made.part, tally
            task.winner_node, task.counts = node, made.counts
            self.keys += made.part.records
            if isinstance(task, WholeTask):
                self.records += made.counts.records_in
            self.finals_missing -= 1

    def counts_of(self, task: Task) -> Counts:
        """Of the attempt that won."""
        if isinstance(task, MapTask):
            return Counts() if task.output is None else task.output.counts
        return task.counts if isinstance(task, FinalTask) else Counts()

    def lose_output(self, task: MapTask) -> StoredOutput:
        """A committed map task's output is gone: the task is to run again."""
        output = task.output
        assert output is not None
        task.step(TaskStep.OUTPUT_LOST)
        task.output = task.winner = None
        self.tally.take_back(task.phase, task.index, output.tally)
        self.records -= output.counts.records_in
        self.partition_bytes = list(map(sub, self.partition_bytes, output.sizes()))
        self.maps_missing += 1
        return output

    def needs(self, task: MapTask) -> bool:
        """Whether some reduce task that is not committed has bytes in this committed output."""
        output = task.output
        assert output is not None
        if not self.reduce_planned:
            return output.size_bytes > 0
        return any(
            final.state is not TaskState.COMMITTED
            and isinstance(final, ReduceTask)
            and output.length_bytes(final.first, final.last) > 0
            for final in self.finals
        )

    def task_of(self, attempt: AttemptId) -> Task | None:
        """The task that it is an attempt at, where there is one."""
        return self.task_at(attempt.phase, attempt.task)

    def task_at(self, phase: str, index: int) -> Task | None:
        tasks = self.maps if phase == MapTask.phase else self.finals
        if not 0 <= index < len(tasks):
            return None
        task = tasks[index]
        return task if task.phase == phase else None

    def is_winner(self, attempt: AttemptId) -> bool:
        task = self.task_of(attempt)
        return task is not None and task.winner == attempt

    def parts(self) -> tuple[OutputPart, ...]:
        return tuple(task.part for task in self.finals if task.part is not None)
