"""The outcomes of attempts that did not come to an end of their own, in words.

They read like those that ``execution/failures.py`` writes: what happened, and below it where.
"""

from __future__ import annotations

import traceback
from typing import NamedTuple

from map_reduce.core.messages import (
    AttemptId,
    BadRecord,
    Failed,
    Failure,
    StartAttempt,
    Suspect,
)
from map_reduce.errors import (
    JobError,
    MapReduceError,
    TaskTimeoutError,
    UserCodeError,
    WorkerDiedError,
)
from map_reduce.execution.failures import on, sendable
from map_reduce.workers.notes import Noted


class Place(NamedTuple):
    """Where an attempt was when it ended."""

    noted: Noted | None  # exactly, where it was careful
    current: str = ""  # as it last reported
    records: int = 0

    def in_words(self) -> str:
        if self.noted is not None:
            return f"at {self.noted.where}"
        if self.current:
            return f"near {self.current}"
        return f"after about {self.records} records" if self.records else ""

    def suspect(self, error: str, cause: str, sure: bool) -> Suspect | None:
        """The record that it was at, where that is known."""
        noted = self.noted
        if noted is None:
            return None
        bad = BadRecord(noted.where, noted.record, error)
        return Suspect(noted.phase, noted.position, bad, cause, sure)


def timed_out(order: StartAttempt, node: str, place: Place, now_s: float) -> Failed:
    """It ran past the limit and was killed.

    A record that has taken half of the time is surely what it was about; one that has not may
    just have been the last.
    """
    what = f"still running after {order.timeout_s:g} s, and ended for that"
    noted = place.noted
    slow_record = noted is not None and now_s - noted.begun_s >= order.timeout_s / 2
    suspect = place.suspect(what, TaskTimeoutError.__name__, sure=True) if slow_record else None
    return _failed(
        TaskTimeoutError,
        what,
        place.in_words(),
        on(node, order.attempt),
        "if its work takes that long, give the job more time, as in Options(timeout_s=600), or all "
        "jobs by MAX_TASK_TIMEOUT (environment variable MR_MAX_TASK_TIMEOUT, in seconds)",
        retry=True,
        suspect=suspect,
    )


def died(order: StartAttempt, node: str, how: str, killed: bool, place: Place) -> Failed:
    """Its process is gone; ``how`` says what is known of that.

    ``killed``: by SIGKILL, which the record that it was at need have nothing to do with.
    """
    what = f"the worker process ended: {how}"
    suspect = place.suspect(what, WorkerDiedError.__name__, sure=not killed)
    where = (place.in_words(), on(node, order.attempt))
    return _failed(WorkerDiedError, what, *where, retry=True, suspect=suspect)


def not_started(order: StartAttempt, node: str, tries: int, why: str) -> Failed:
    """There is no process to run it in."""
    what = f"worker processes do not start ({tries} tries): {why}"
    return _failed(JobError, what, on(node, order.attempt), retry=True)


def escaped(error: BaseException, attempt: AttemptId, node: str) -> Failed:
    """What an exception means that came out of an attempt instead of an outcome."""
    where = on(node, attempt)
    if isinstance(error, MapReduceError):
        return _failed(type(error), str(error), where)
    if not isinstance(error, Exception):
        what = f"user code raised {type(error).__name__}({error}), which ends programs, not tasks"
        return _failed(UserCodeError, what, where)
    told = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return _failed(JobError, "an error in map-reduce itself", where, told, retry=True)


def _failed(
    kind: type[Exception],
    what: str,
    *where: str,
    retry: bool = False,
    suspect: Suspect | None = None,
) -> Failed:
    lines = [what, *(f"  {line}" for line in where if line)]
    failure = Failure(kind.__name__, sendable("\n".join(lines)))
    return Failed(failure, retry=retry, suspect=suspect)
