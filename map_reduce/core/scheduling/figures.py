"""What a job has cost so far, from its ledger: asked for at its end, and by who wants to know."""

from __future__ import annotations

from collections.abc import Iterable

from map_reduce.core import names
from map_reduce.core.jobs.state import JobEnd
from map_reduce.core.messages import (
    Counts,
    Failure,
    Figures,
    JobSpec,
    OutputPart,
    Progress,
    Spread,
    block_of,
    size_bytes_of,
)
from map_reduce.core.scheduling.ledger import Ledger
from map_reduce.core.scheduling.nodes import Nodes
from map_reduce.core.scheduling.tasks import FinalTask, ReduceTask, Task


def ended(
    progress: Progress,
    parts: tuple[OutputPart, ...],
    failure: Failure | None,
    spec: JobSpec,
    ledger: Ledger,
    nodes: Nodes,
) -> JobEnd:
    """All that is to be known of a job once it has ended."""
    figures = figures_of(spec, ledger, nodes)
    return JobEnd(progress, parts, failure, tally=ledger.tally.shown(), figures=figures)


def figures_of(spec: JobSpec, ledger: Ledger, nodes: Nodes) -> Figures:
    """Of the tasks that are committed. Takes time in proportion to the number of tasks."""
    maps = [task.output.counts for task in ledger.maps if task.output is not None]
    done = [task for task in ledger.finals if task.winner is not None]
    finals = [task.counts for task in done]
    reading = maps if ledger.maps else finals
    counts = [*maps, *finals]
    tasks: list[Task] = [*ledger.maps, *ledger.finals]
    reduces = [task for task in ledger.finals if isinstance(task, ReduceTask)]
    return Figures(
        cpu_s=sum(count.user_s for count in counts),
        watched_s=sum(count.watched_s for count in counts),
        in_user_code_s=sum(count.in_user_code_s for count in counts),
        input_bytes=sum(count.bytes_in for count in reading),
        shuffled_bytes=sum(ledger.partition_bytes),
        spilled_bytes=sum(count.spilled_bytes for count in counts),
        stored_bytes=_stored_bytes(spec, done),
        nodes=len(nodes),
        slots=nodes.slots_total,
        attempts=sum(task.attempts_begun for task in tasks),
        repeated=sum(max(0, task.attempts_begun - 1) for task in tasks),
        partitions=spec.partitions,
        split_bytes=spread(map(size_bytes_of, spec.splits)),
        map_s=_wall(reading),
        partition_bytes=spread(ledger.partition_bytes),
        reduce_bytes=spread(map(ledger.size_bytes, reduces)),
        reduce_s=_wall(finals if reduces else ()),
    )


def spread(values: Iterable[float]) -> Spread:
    """Nothing is spread over none."""
    ordered = sorted(map(float, values))
    if not ordered:
        return Spread()
    return Spread(len(ordered), sum(ordered), ordered[len(ordered) // 2], ordered[-1])


def _wall(counts: Iterable[Counts]) -> Spread:
    return spread(count.wall_s for count in counts)


def _stored_bytes(spec: JobSpec, done: Iterable[FinalTask]) -> int:
    refs = [ref for split in spec.splits if (ref := block_of(split)) is not None]
    refs = [ref for ref in refs if names.job_of(ref.name) == spec.job_id]  # not those of others
    refs += [] if spec.functions.ref is None else [spec.functions.ref]
    parts = (task.part for task in done if task.part is not None)
    refs += [part.ref for part in parts if part.ref is not None]
    return sum(ref.size_bytes for ref in refs)
