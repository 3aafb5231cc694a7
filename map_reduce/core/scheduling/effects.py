"""What the scheduler wants done. Whoever drives it performs them in the order given.

A Start is answered by AttemptTaken or AttemptRefused, and need not succeed; a Stop that is lost
costs a slot's time and nothing else. A Commit has to be written, however long that takes, and is
answered by Committed; one is under way at a time. Exactly one of Finish and Fail comes, after the
Commit that says so is written, and nothing but Stop after it.
"""

from __future__ import annotations

import msgspec

from map_reduce.core.identifiers import Member
from map_reduce.core.jobs.state import JobEnd, Shard
from map_reduce.core.messages import AttemptId, Failure, OutputPart, Skipping, Work


class Start(msgspec.Struct, frozen=True):
    """Have the node run this. ``careful``: an earlier attempt ended badly, note each record.
    ``skipping``: where bad records may be left out."""

    node: Member
    attempt: AttemptId
    work: Work
    careful: bool
    skipping: Skipping | None = None


class Stop(msgspec.Struct, frozen=True):
    """Nobody needs this attempt any more. Never names one whose output counts."""

    node: Member
    attempt: AttemptId


class Commit(msgspec.Struct, frozen=True):
    """Write this to the ledger, before anything that follows from it.

    ``shards`` are complete: each takes the place of what the ledger had under its label. ``cuts``
    and ``ending`` go to the job's own record, where they are not None, and so does ``adds`` where
    it is False: from then on no map task adds up unasked. The tasks are those that are new in the
    shards.
    """

    number: int
    shards: tuple[tuple[str, Shard], ...]
    cuts: tuple[int, ...] | None
    ending: JobEnd | None
    map_tasks: tuple[int, ...]
    final_tasks: tuple[int, ...]
    adds: bool = True


class Finish(msgspec.Struct, frozen=True):
    """The job is done; its result is these parts, in this order."""

    parts: tuple[OutputPart, ...]


class Fail(msgspec.Struct, frozen=True):
    """The job has failed, or was cancelled (kind JobCancelledError)."""

    failure: Failure


Effect = Start | Stop | Commit | Finish | Fail
