"""What an attempt tells of its user code: what it counted, and which records it left out."""

from __future__ import annotations

import msgspec

COUNTERS_MAX = 100
"""Names of counters that a job may have."""

COUNT_MAX = 1 << 62
"""The most, in either direction, that a counter may stand at: what fits a message, with room."""

BAD_RECORDS_KEPT_MAX = 100
"""Records left out that are kept for looking at, of an attempt and of a job; all are counted."""


class BadRecord(msgspec.Struct, frozen=True, array_like=True):
    """A record, or a key of a reduce, that was left out. Each text is cut to a bound.

    ``where`` names it ("line 17 of /data/a.txt", "key 'x'"), ``record`` is its repr, "" where
    that is not known, and ``error`` what went wrong.
    """

    where: str
    record: str
    error: str


class Suspect(msgspec.Struct, frozen=True, array_like=True):
    """The record ("map") or key ("reduce") of a task at which an attempt failed.

    ``position`` is the same in every attempt at the task: the line's number or the item's, the
    key's hash. ``cause`` says what it failed with, in a word; "" where it may pass, as a lost
    connection does. ``sure``: there is no need to see it a second time.
    """

    phase: str
    position: int
    bad: BadRecord
    cause: str = ""
    sure: bool = False


class Skipping(msgspec.Struct, frozen=True, array_like=True):
    """For an attempt at a job that allows bad records to be left out.

    ``left``: how many the attempt may leave out at most; negative: as many as there are.
    ``known``: those that ended earlier attempts, to be left out unseen.
    """

    left: int = -1
    known: tuple[Suspect, ...] = ()


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """Of an attempt, or of all attempts of a job whose outputs count.

    ``counters`` are (name, count), sorted. ``skipped`` are the first of the records and keys that
    were left out.
    """

    counters: tuple[tuple[str, int], ...] = ()
    records_skipped: int = 0
    keys_skipped: int = 0
    skipped: tuple[BadRecord, ...] = ()
