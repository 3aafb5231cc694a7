"""What the records of a job hold: the payloads of their leases (``core/registers/lease.py``).

A *win* says which attempt's output counts for a task. Wins are written in **shards** of so many
tasks that a shard stays small: it travels whole with each change. How many follows from the
specification alone, so that whoever reads the ledger knows where to look.

Until the job has ended its own record holds the little that must not be decided twice: how the
partitions were cut into reduce tasks. At the end it holds the outcome, and the shards are history.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from map_reduce.core.identifiers import Member
from map_reduce.core.messages import (
    AttemptId,
    BlockRef,
    Counts,
    Failure,
    Figures,
    OutputPart,
    Progress,
    Suspect,
    Tally,
)
from map_reduce.errors import ProtocolError

MAPS_PER_SHARD_MAX = 256
FINALS_PER_SHARD = 64
CELLS_PER_SHARD = 1 << 15
"""Sizes of partitions in a shard: about 64 kB of them."""

TROUBLES_BYTES_MAX = 32 << 10
"""Of a shard's memory of failures, the strings in it."""

ENDING_BYTES = 250
"""What an ending takes, without the record at which it was."""

PARTS_BYTES_MAX = 96 << 10
"""A result whose parts take more has them listed in a block."""


class MapWin(msgspec.Struct, frozen=True, array_like=True):
    """The attempt (task, number, epoch) won; its output ``name`` lies on ``node``. ``added``: as in
    MapOutput."""

    task: int
    number: int
    epoch: int
    node: Member
    name: str
    sizes: tuple[int, ...]
    counts: Counts
    tally: Tally
    added: bool = False

    def attempt(self, job_id: str) -> AttemptId:
        return AttemptId(job_id, "map", self.task, self.number, self.epoch)


class FinalWin(msgspec.Struct, frozen=True, array_like=True):
    """The attempt won, and made this part of the result."""

    task: int
    number: int
    epoch: int
    node: Member
    part: OutputPart
    counts: Counts
    tally: Tally


class Ending(msgspec.Struct, frozen=True, array_like=True):
    """How an attempt ended that failed by its own doing."""

    attempt: AttemptId
    node: Member
    kind: str
    suspect: Suspect | None = None

    @property
    def size_bytes(self) -> int:
        """About what it takes in a record."""
        suspect = 0 if self.suspect is None else suspect_bytes(self.suspect)
        return ENDING_BYTES + len(self.kind) + suspect


class Trouble(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a task by failed attempts: how they ended, and the records that have ended
    some and are left out from now on."""

    phase: str
    task: int
    endings: tuple[Ending, ...]
    known_bad: tuple[Suspect, ...]

    @property
    def size_bytes(self) -> int:
        """About what it takes in a record."""
        return sum(one.size_bytes for one in self.endings) + sum(map(suspect_bytes, self.known_bad))


class Shard(msgspec.Struct, frozen=True, array_like=True):
    """The wins of neighbouring tasks; tasks that nobody has won are left out. ``troubles`` has
    those that had failures, as far as they fit into ``TROUBLES_BYTES_MAX``: they are for the next
    master's good, which without them would find out for itself."""

    maps: tuple[MapWin, ...] = ()
    finals: tuple[FinalWin, ...] = ()
    troubles: tuple[Trouble, ...] = ()

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, payload: bytes) -> Shard:
        """Raises ProtocolError where ``payload`` is no shard; nothing is an empty one."""
        return _decoded(payload, cls) if payload else cls()


class JobEnd(msgspec.Struct, frozen=True, array_like=True):
    """How a job has ended: ``progress.phase`` is done, failed or cancelled.

    Of a large result ``parts`` is empty, and ``parts_ref`` the block with their list.
    """

    progress: Progress
    parts: tuple[OutputPart, ...] = ()
    failure: Failure | None = None
    parts_ref: BlockRef | None = None
    tally: Tally = Tally()
    figures: Figures = Figures()


class JobState(msgspec.Struct, frozen=True, array_like=True):
    """The job's own record.

    ``cuts`` are the ends of the reduce tasks' ranges of partitions, None as long as they are not
    cut. ``cancel`` says why somebody wants the job to end, or is "". ``adds``: whether map tasks
    may add ints up unasked; once they may not, outputs that were added up are of no use.
    """

    cuts: tuple[int, ...] | None = None
    ending: JobEnd | None = None
    cancel: str = ""
    adds: bool = True

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, payload: bytes) -> JobState:
        """Raises ProtocolError where ``payload`` is none; nothing is the state of a new job."""
        return _decoded(payload, cls) if payload else cls()


def suspect_bytes(suspect: Suspect) -> int:
    """About what it takes in a record; in characters that need four bytes it is more."""
    bad = suspect.bad
    return sum(map(len, (suspect.cause, bad.where, bad.record, bad.error))) + 50


T = TypeVar("T", bound=msgspec.Struct)


def _decoded(payload: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"a job's record holds no {kind.__name__}: {error}") from error


def encode_parts(parts: tuple[OutputPart, ...]) -> bytes:
    """The block that lists a large result's parts."""
    return msgspec.msgpack.encode(parts)


def decode_parts(data: bytes) -> tuple[OutputPart, ...]:
    """Raises ProtocolError where ``data`` is no such list."""
    try:
        return msgspec.msgpack.decode(data, type=tuple[OutputPart, ...])
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"a list of a result's parts cannot be read: {error}") from error


def maps_per_shard(partitions: int) -> int:
    return max(1, min(MAPS_PER_SHARD_MAX, CELLS_PER_SHARD // max(1, partitions)))


def map_shard(number: int) -> str:
    """The label of a shard of map tasks."""
    return f"maps/{number}"


def final_shard(number: int) -> str:
    """The label of a shard of the tasks that make the result."""
    return f"finals/{number}"


def labels(map_tasks: int, final_tasks: int, partitions: int) -> Iterator[str]:
    """The labels of all shards of a job with so many tasks."""
    for number in range(-(-map_tasks // maps_per_shard(partitions))):
        yield map_shard(number)
    for number in range(-(-final_tasks // FINALS_PER_SHARD)):
        yield final_shard(number)
