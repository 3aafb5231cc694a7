"""The states of a job and of its tasks, and every way from one to another.

    job      waiting ──planned──▶ map ──all_mapped──▶ reduce ──all_committed──▶ done
                │                  └────────────────all_committed────────────────▲
                └───────────────────────────────────all_committed────────────────┘
             waiting, map, reduce ──failed──▶ failed      ──cancelled──▶ cancelled

    task     pending ──started──▶ running ──committed──▶ committed
                ▲                    │                       │
                ├──all_attempts_gone─┘                       │
                └────────────────output_lost (map only)──────┘

A job goes from map straight to done where its only task maps and reduces on the spot, or where
the maps gave no pairs; from waiting to done where it has no input. It never goes back: map tasks
whose output was lost run again while the job is in its reduce phase.

A running task may be started again: that is a second attempt beside the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar


class JobPhase(Enum):
    """Values are those of ``Progress.phase``."""

    WAITING = "waiting"
    MAP = "map"
    REDUCE = "reduce"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return not JOB_TRANSITIONS[self]


class JobStep(Enum):
    PLANNED = "planned"
    ALL_MAPPED = "all_mapped"
    ALL_COMMITTED = "all_committed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskState(Enum):
    PENDING = "pending"
    RUNNING = "running"
    COMMITTED = "committed"


class TaskStep(Enum):
    STARTED = "started"
    ALL_ATTEMPTS_GONE = "all_attempts_gone"
    COMMITTED = "committed"
    OUTPUT_LOST = "output_lost"


_ENDINGS = {JobStep.FAILED: JobPhase.FAILED, JobStep.CANCELLED: JobPhase.CANCELLED}

JOB_TRANSITIONS: Mapping[JobPhase, Mapping[JobStep, JobPhase]] = {
    JobPhase.WAITING: {
        JobStep.PLANNED: JobPhase.MAP,
        JobStep.ALL_COMMITTED: JobPhase.DONE,
        **_ENDINGS,
    },
    JobPhase.MAP: {
        JobStep.ALL_MAPPED: JobPhase.REDUCE,
        JobStep.ALL_COMMITTED: JobPhase.DONE,
        **_ENDINGS,
    },
    JobPhase.REDUCE: {JobStep.ALL_COMMITTED: JobPhase.DONE, **_ENDINGS},
    JobPhase.DONE: {},
    JobPhase.FAILED: {},
    JobPhase.CANCELLED: {},
}

LAST_STEP: Mapping[JobPhase, JobStep] = {
    JobPhase.DONE: JobStep.ALL_COMMITTED,
    JobPhase.FAILED: JobStep.FAILED,
    JobPhase.CANCELLED: JobStep.CANCELLED,
}
"""The step that leads to each end."""

FINAL_TASK_TRANSITIONS: Mapping[TaskState, Mapping[TaskStep, TaskState]] = {
    TaskState.PENDING: {TaskStep.STARTED: TaskState.RUNNING},
    TaskState.RUNNING: {
        TaskStep.STARTED: TaskState.RUNNING,
        TaskStep.ALL_ATTEMPTS_GONE: TaskState.PENDING,
        TaskStep.COMMITTED: TaskState.COMMITTED,
    },
    TaskState.COMMITTED: {},
}
"""Of reduce tasks and of the only task of a small job: their output is stored for good."""

MAP_TASK_TRANSITIONS: Mapping[TaskState, Mapping[TaskStep, TaskState]] = {
    **FINAL_TASK_TRANSITIONS,
    TaskState.COMMITTED: {TaskStep.OUTPUT_LOST: TaskState.PENDING},
}
"""Of map tasks: their output lies on one node and may be lost with it."""

State = TypeVar("State", bound=Enum)
Step = TypeVar("Step", bound=Enum)


def after(table: Mapping[State, Mapping[Step, State]], state: State, step: Step) -> State:
    """The state that ``step`` leads to.

    Raises:
        AssertionError: the table has no such step from there, so the scheduler has a fault;
            names both.
    """
    try:
        return table[state][step]
    except KeyError:
        raise AssertionError(
            f"illegal transition: {step.value} of something that is {state.value}"
        ) from None
