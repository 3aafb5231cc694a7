"""The sentences with which the scheduler ends a job."""

from __future__ import annotations

from collections.abc import Sequence

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import AttemptId, BadRecord, Failure, Outcome
from map_reduce.core.scheduling.tasks import Task
from map_reduce.errors import (
    BadRecordsError,
    ClusterError,
    CounterError,
    InputMissingError,
    JobCancelledError,
    NoNodeError,
    ProtocolError,
    Refused,
)

NAMED_MAX = 8
"""Nodes that a sentence names before it counts the rest."""

BAD_NAMED_MAX = 5
"""Bad records that a sentence names."""


def gave_up(task: Task, last: Failure) -> Failure:
    """The task's last failure, and how often and where it was tried."""
    if len(task.endings) == 1:
        return last
    tries = ", ".join(
        f"attempt {ending.attempt.number + 1} on {ending.node} ({ending.kind})"
        for ending in task.endings
    )
    return Failure(
        last.kind,
        f"{last.message}\nThis was the last of {len(task.endings)} failed attempts at "
        f"{task.phase} task {task.index}: {tries}.",
        last.exception,
    )


def repeated(task: Task, last: Failure) -> Failure:
    """It failed before in the same way."""
    tries = " and ".join(
        f"attempt {ending.attempt.number + 1} on {ending.node}" for ending in task.endings
    )
    return Failure(
        last.kind,
        f"{last.message}\nThe same has happened in {tries}, so it was not tried again.",
        last.exception,
    )


def too_many_bad(excess: str, skipped: Sequence[BadRecord]) -> Failure:
    """More was left out than the job allows."""
    told = f"{excess} left out (on_bad_record). The first ones:{_listed(skipped)}"
    return Failure(BadRecordsError.__name__, told)


def with_those_before(last: Failure, skipped: Sequence[BadRecord]) -> Failure:
    """An attempt has left out too much; what other tasks have left out belongs to it."""
    if last.kind != BadRecordsError.__name__ or not skipped:
        return last
    told = f"{last.message}\nLeft out in other tasks before, among others:{_listed(skipped)}"
    return Failure(last.kind, told)


def _listed(skipped: Sequence[BadRecord]) -> str:
    return "".join(
        f"\n  {bad.where}{': ' if bad.record else ''}{bad.record}: {bad.error}"
        for bad in skipped[:BAD_NAMED_MAX]
    )


def lost_too_often(task: Task, last: str) -> Failure:
    return Failure(
        ClusterError.__name__,
        f"{task.phase} task {task.index} was lost {task.losses} times without a fault of its "
        f"own, the last time because {last}. See whether the nodes stay up and reach one "
        "another, then submit the job again.",
    )


def no_node(seconds: float) -> Failure:
    return Failure(
        NoNodeError.__name__,
        f"for {seconds:g} s there has been no node with worker slots to run the job's tasks. "
        "Start one, then submit the job again.",
    )


def all_refuse(seconds: float, last_refusal: tuple[Member, str] | None) -> Failure:
    """No node has taken a task for ``seconds``."""
    last = ""
    if last_refusal is not None:
        node, reason = last_refusal
        last = f" The last to refuse was {node}: {reason or 'it gave no reason'}."
    return Failure(
        Refused.__name__,
        f"for {seconds:g} s no node has taken a task of the job.{last} See whether the nodes "
        "reach one another, then submit the job again.",
    )


def no_reader(seconds: float, path: str, readers: Sequence[Address]) -> Failure:
    """For ``seconds``, none of the nodes that see the file at ``path`` has been there."""
    names = ", ".join(map(str, readers[:NAMED_MAX]))
    if len(readers) > NAMED_MAX:
        names += f" and {len(readers) - NAMED_MAX} more nodes"
    return Failure(
        InputMissingError.__name__,
        f"{path} can be read only on {names}, and none of these nodes has been there for "
        f"{seconds:g} s. Start one of them, or put the file where other nodes see it under the "
        "same path, then submit the job again.",
    )


def wrong_output(attempt: AttemptId, node: Member, outcome: Outcome) -> Failure:
    return Failure(
        ProtocolError.__name__,
        f"{attempt} on {node} ended with a {type(outcome).__name__} that cannot be that of a "
        f"{attempt.phase} task. See whether all nodes run the same version.",
    )


def too_many_counters(what: str) -> Failure:
    return Failure(
        CounterError.__name__,
        f"{what}. What has a count for each of many things is a result: give pairs, and sum them "
        "in reduce",
    )


def cancelled(reason: str) -> Failure:
    return Failure(JobCancelledError.__name__, reason)
