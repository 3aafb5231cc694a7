"""What a failed attempt means for its task: try again, leave a record out, or give up.

    an attempt failed                                     then the task
    ────────────────────────────────────────────────────  ─────────────────────────────────────
    for good (no pairs, an unhashable key, bad input)     fails
    with an exception at a record, the first time         is tried again, elsewhere, with care
    with the same exception at the same record again      fails: it is no accident
    by what may pass (OSError, MemoryError)               is tried again, up to attempts_max
    with its process, killed or broken                    is tried again, up to attempts_max
    out of time                                           is tried again once

Where the job allows bad records to be left out, a worker leaves out by itself what raises or gives
no pairs. What ends attempts is found here: the record that a careful attempt was at is *convicted*
when it has surely done it (its process crashed; it took half of the attempt's time), or when two
attempts ended at it. The next attempts leave it out, and the task's failures are forgotten, so that
a task with many such records still ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from map_reduce.core.jobs.state import Ending
from map_reduce.core.messages import BadRecord, Failed, Failure, Skipping, Suspect, TaskRules
from map_reduce.core.scheduling import failures
from map_reduce.core.scheduling.ledger import Ledger
from map_reduce.core.scheduling.tasks import Attempt, Task
from map_reduce.errors import TaskTimeoutError

KNOWN_BAD_MAX = 100
"""Records of one task that may end attempts: each costs one."""


class Blame:
    """The judgement of failures, and of what was left out, for one job.

    Args:
        attempts_max: attempts at a task that may fail by their own doing.
    """

    def __init__(self, rules: TaskRules, attempts_max: int, ledger: Ledger) -> None:
        self._rules = rules
        self._attempts_max = attempts_max
        self._ledger = ledger

    def verdict(self, attempt: Attempt, failed: Failed) -> Failure | None:
        """Note on its task that the attempt failed. What the job fails with; None: try again."""
        task, suspect = attempt.task, failed.suspect
        if not failed.retry:
            return failures.with_those_before(failed.failure, self._ledger.tally.shown().skipped)
        if self._rules.skips and suspect is not None and is_convicted(task, suspect):
            return self._convict(task, suspect)
        if repeats(task, failed):
            return failures.repeated(task, failed.failure)
        node = attempt.node.member
        task.endings += (Ending(attempt.id, node, failed.failure.kind, suspect),)
        task.avoid |= {node}
        if len(task.endings) >= self._attempts_max:
            return failures.gave_up(task, failed.failure)
        return None

    def _convict(self, task: Task, suspect: Suspect) -> Failure | None:
        task.endings = ()
        if any(_same(suspect, known) for known in task.known_bad):
            return None  # by an attempt that was begun before that was known, as a backup may be
        task.known_bad += (suspect,)
        known = [convicted.bad for convicted in task.known_bad]
        if 0 <= self._rules.skips_max < self._ledger.tally.skipped + len(known):
            return self._too_many(known)
        if len(known) > KNOWN_BAD_MAX:
            what = f"{len(known)} records of one task have each ended an attempt at it, and at most"
            return failures.too_many_bad(f"{what} {KNOWN_BAD_MAX} may be", known)
        return None

    def skipping(self, task: Task) -> Skipping | None:
        """What an attempt at the task is told; None where nothing may be left out."""
        if not self._rules.skips:
            return None
        left = self._rules.skips_max
        return Skipping(
            max(0, left - self._ledger.tally.skipped) if left >= 0 else -1, task.known_bad
        )

    def excess(self) -> Failure | None:
        """What the job fails with where its user code has counted or left out more than it may.

        A share is judged when all records are mapped, or all keys reduced: before that it cannot
        be told.
        """
        rules, ledger = self._rules, self._ledger
        tally = ledger.tally
        if too_much := tally.too_much():
            return failures.too_many_counters(too_much)
        if not rules.skips or not tally.skipped:
            return None
        mapped = not ledger.maps_missing
        reduced = mapped and ledger.reduce_planned and not ledger.finals_missing
        if rules.skips_max >= 0:
            return self._too_many([]) if tally.skipped > rules.skips_max else None
        for whole, skipped, total, what in (
            (mapped, tally.records_skipped, ledger.records, "records"),
            (reduced, tally.keys_skipped, ledger.keys + tally.keys_skipped, "keys"),
        ):
            if whole and skipped > rules.skips_share_max * total:
                part = f"{skipped} of {total} {what} ({100 * skipped / total:.3g} %)"
                allowed = f"at most {100 * rules.skips_share_max:g} % may be"
                told = tally.shown().skipped
                return failures.too_many_bad(f"{part} cannot be processed, and {allowed}", told)
        return None

    def _too_many(self, known: Sequence[BadRecord]) -> Failure:
        tally = self._ledger.tally
        many = f"{tally.skipped + len(known)} records and keys cannot be processed"
        limit = f"at most {self._rules.skips_max} may be"
        return failures.too_many_bad(f"{many}, and {limit}", [*tally.shown().skipped, *known])


def is_convicted(task: Task, suspect: Suspect) -> bool:
    """Whether the record is to be left out from now on."""
    if suspect.position < 0:
        return False  # as where a combiner raised: there is nothing to leave out
    return suspect.sure or any(_same(suspect, ending.suspect) for ending in task.endings)


def repeats(task: Task, failed: Failed) -> bool:
    """Whether it has happened before in a way that leaves no hope for a third time."""
    if failed.failure.kind == TaskTimeoutError.__name__:
        return any(ending.kind == failed.failure.kind for ending in task.endings)
    suspect = failed.suspect
    if suspect is None or not suspect.cause:
        return False
    before = [ending.suspect for ending in task.endings if _same(suspect, ending.suspect)]
    return any(other is not None and other.cause == suspect.cause for other in before)


def _same(one: Suspect, other: Suspect | None) -> bool:
    return other is not None and (one.phase, one.position) == (other.phase, other.position)
