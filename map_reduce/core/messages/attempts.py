"""Attempts at tasks, between masters and the nodes that run them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages.base import (
    Busy,
    Count,
    Done,
    MebiBytes,
    Message,
    No,
    Priority,
    Seconds,
)
from map_reduce.core.messages.inputs import Split
from map_reduce.core.messages.jobs import Failure, Functions, JobOver, NoJob, OutputPart
from map_reduce.core.messages.tally import Skipping, Suspect, Tally

SAMPLE_SPLITS_MAX = 64
SAMPLE_RANGES_MAX = 4096
"""Of a sample, which a node fetches and maps for whoever asks."""

BOUNDS_BYTES_MAX = 32 << 10
"""Of the pickled keys that cut ranges. They are part of every map task's order, so there are fewer
where keys are large."""


class Source(msgspec.Struct, frozen=True, array_like=True):
    """Where a reduce task finds one map task's output for its partitions."""

    node: Address
    name: str
    offset: int
    length_bytes: int


class CheckWork(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Unpickle the functions and nothing more."""


class SampleWork(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Map records of some splits, and tell keys that cut their pairs into about even ranges: at
    most ``ranges``. Which they are is up to who asks; nothing else follows from them."""

    splits: Annotated[tuple[Split, ...], msgspec.Meta(max_length=SAMPLE_SPLITS_MAX)]
    ranges: Annotated[int, msgspec.Meta(ge=1, le=SAMPLE_RANGES_MAX)]


class MapWork(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Map a split into ``partitions`` partitions: by the keys' hashes or, in a job that sorts, by
    the ranges of keys between ``bounds``, which only a worker reads.

    ``adds``: ints may be added up where only the reducer adds them (``execution/summing.py``).
    """

    split: Split
    partitions: int
    bounds: bytes = b""
    adds: bool = True


class ReduceWork(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Reduce partitions first … last - 1 of all map outputs, given in the order of splits.

    There may be as many sources as map tasks, so what they have in common is said once: ``rows``
    has for each the place of its node in ``nodes``, its name without the ``prefix``, its offset and
    its length: some 20 bytes, where a Source takes 100.
    """

    first_partition: int
    last_partition: int
    partitions: int
    prefix: str
    nodes: tuple[Address, ...]
    rows: tuple[tuple[int, str, int, int], ...]

    def __post_init__(self) -> None:
        if not {row[0] for row in self.rows} <= set(range(len(self.nodes))):
            raise ValueError("a map output is said to lie on a node that is not named")

    @classmethod
    def of(cls, first: int, last: int, partitions: int, sources: Iterable[Source]) -> ReduceWork:
        """The work for partitions first … last - 1, to be read from these sources."""
        places: dict[Address, int] = {}
        known: dict[int, tuple[Address, int]] = {}  # by identity: to hash an address takes longer
        rows = []
        for source in sources:
            node = source.node
            if (found := known.get(id(node))) is None:
                found = known[id(node)] = node, places.setdefault(node, len(places))
            rows.append((found[1], source.name, source.offset, source.length_bytes))
        prefix = rows[0][1][: rows[0][1].rfind("/") + 1] if rows else ""
        if not all(name.startswith(prefix) for _, name, _, _ in rows):
            prefix = ""
        cut = len(prefix)
        short = tuple((place, name[cut:], offset, size) for place, name, offset, size in rows)
        return cls(first, last, partitions, prefix, tuple(places), short)

    @property
    def sources(self) -> tuple[Source, ...]:
        """In the order of splits; made anew each time."""
        return tuple(
            Source(self.nodes[place], self.prefix + name, offset, length)
            for place, name, offset, length in self.rows
        )


class WholeWork(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Map a split and reduce it on the spot: the only task of a small job."""

    split: Split


Work = CheckWork | SampleWork | MapWork | ReduceWork | WholeWork


class AttemptId(msgspec.Struct, frozen=True, array_like=True, order=True):
    """One try at one task of a job. ``phase`` is "check", "map", "reduce" or "whole".

    ``epoch`` is that of the master which began it: a later master counts from 0 again, without
    having to know of every attempt before.
    """

    job_id: str
    phase: str
    task: int
    number: int  # from 0
    epoch: int = 1

    def __str__(self) -> str:
        return f"{self.phase} task {self.task}, attempt {self.number + 1}"


Answer = Done | Busy | No | JobOver | NoJob
"""To an order or a report."""


class StartAttempt(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Run this. -> Done (taken or already taken), Busy (no room), No

    ``careful``: note each record before it is mapped, so that the one that kills the process
    can be named. ``epoch`` is the master's; a node refuses lower ones than it has seen.
    ``skipping``: where bad records may be left out. ``memory_mb_max`` 0: no bound but the node's.
    ``priority``: the job's share of the node's slots, against that of others.
    """

    attempt: AttemptId
    epoch: int
    master: Address
    functions: Functions
    work: Work
    timeout_s: Seconds
    careful: bool
    skipping: Skipping | None = None
    memory_mb_max: MebiBytes = 0
    priority: Priority = 1.0


class StopAttempt(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """End it if it runs; it is not reported. -> Done, No

    ``epoch`` is the master's.
    """

    attempt: AttemptId
    epoch: int


Order = StartAttempt | StopAttempt


class OrderAttempts(Message, frozen=True):
    """Orders of the masters on one node to another, to be carried out in this order. -> Answers"""

    orders: tuple[Order, ...]


class Answers(Message, frozen=True):
    """To each order or report of a request, in its order."""

    answers: tuple[Answer, ...]


class OutputKey(msgspec.Struct, frozen=True, array_like=True):
    """A job's map output, by the attempt that made it."""

    task: int
    number: int
    epoch: int


class AdoptJob(Message, frozen=True):
    """I am the job's master now: go on with what you run of it, and report to me.
    -> JobAdopted, No

    ``committed_maps`` and ``committed_finals`` have a bit for each task that is done, the lowest
    bit of the first byte being task 0's. ``outputs`` are the map outputs that count and should be
    at the node that is asked. Unless ``adds``, those that were added up are of no use any more.
    """

    job_id: str
    epoch: int
    master: Address
    committed_maps: bytes
    committed_finals: bytes
    outputs: tuple[OutputKey, ...]
    adds: bool = True


class JobAdopted(Message, frozen=True):
    """``attempts`` run here, or have ended and are now reported again; ``lost`` are the tasks
    whose ``outputs`` are not here."""

    attempts: tuple[AttemptId, ...]
    lost: tuple[int, ...]


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """What an attempt did."""

    records_in: Count = 0
    bytes_in: Count = 0
    records_out: Count = 0
    bytes_out: Count = 0
    user_s: float = 0.0  # processor time of the worker process, all of it
    wall_s: float = 0.0
    watched_s: float = 0.0  # for so long it was looked at now and then what the process does,
    in_user_code_s: float = 0.0  # and for so much of that it was in the user's functions
    spilled_bytes: Count = 0


class MapOutput(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """``name`` is served by the node that made it; ``sizes`` has a length for each partition,
    which stand one after another in it. ``added``: its ints were added up, as MapWork allows."""

    name: str
    sizes: tuple[Count, ...]
    counts: Counts
    tally: Tally = Tally()
    added: bool = False


class ReduceOutput(msgspec.Struct, frozen=True, tag=True, array_like=True):
    part: OutputPart
    counts: Counts
    tally: Tally = Tally()


class Checked(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The functions unpickle here."""


class Sampled(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The pickled list of ``bounds`` keys, in order."""

    pickled: Annotated[bytes, msgspec.Meta(max_length=BOUNDS_BYTES_MAX)]
    bounds: int


class Failed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """``lost_source``: the map output that could not be fetched, where that is why.
    ``lost_sums``: it could, but its ints were added up, and should not have been.
    ``retry``: whether another attempt may end better. ``suspect``: what it failed at, if known."""

    failure: Failure
    retry: bool
    lost_source: Source | None = None
    suspect: Suspect | None = None
    lost_sums: bool = False


Outcome = MapOutput | ReduceOutput | Checked | Sampled | Failed


class AttemptEnded(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """From the node that ran it to the job's master. -> Done, JobOver, NoJob, Busy"""

    attempt: AttemptId
    epoch: int
    node: Member
    outcome: Outcome


class ReportAttempts(Message, frozen=True):
    """Reports of one node to the masters on another. -> Answers"""

    reports: tuple[AttemptEnded, ...]


class Running(msgspec.Struct, frozen=True, array_like=True):
    attempt: AttemptId
    records: int
    bytes_in: int


class AttemptsRunning(Message, frozen=True):
    """A node's sign of life to a job's master, with how far its attempts are.
    -> Done, JobOver, NoJob"""

    job_id: str
    node: Member
    running: tuple[Running, ...]


class EndJob(Message, frozen=True):
    """To every node: stop the job's attempts, delete its map outputs. -> Done

    It carries no epoch, for it is sent only once the job's record says that the job has ended, or
    that nobody wants it any more. ``blocks``: delete everything stored for it, its records too.
    """

    job_id: str
    blocks: bool
