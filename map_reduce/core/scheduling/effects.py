"""What the scheduler wants done. Whoever drives it performs them in the order given.

No effect has to succeed: a Start is answered by AttemptTaken or AttemptRefused, a Stop that is
lost costs a slot's time and nothing else. Exactly one of Finish and Fail comes, and nothing but
Stop after it.
"""

from __future__ import annotations

import msgspec

from map_reduce.core.identifiers import Member
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


class Finish(msgspec.Struct, frozen=True):
    """The job is done; its result is these parts, in this order."""

    parts: tuple[OutputPart, ...]


class Fail(msgspec.Struct, frozen=True):
    """The job has failed, or was cancelled (kind JobCancelledError)."""

    failure: Failure


Effect = Start | Stop | Finish | Fail
