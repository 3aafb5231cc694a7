"""Jobs, between clients and masters."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages.base import NOT_DECODABLE, MebiBytes, Message, Priority, Seconds
from map_reduce.core.messages.blocks import BlockRef
from map_reduce.core.messages.figures import Figures
from map_reduce.core.messages.inputs import Split
from map_reduce.core.messages.tally import Tally
from map_reduce.errors import ProtocolError

SPEC_BYTES_MAX = 64 << 20
"""Of an encoded specification. Nodes hold a job's splits in memory, at some ten times the bytes: a
client that could make them longer could take all of it."""


class Functions(msgspec.Struct, frozen=True, array_like=True):
    """The cloudpickled (map, reduce, combine or None, …): inline where small, else a block."""

    inline: bytes
    ref: BlockRef | None
    digest: bytes  # of the pickle: what a worker caches the loaded functions by


class TaskRules(msgspec.Struct, frozen=True, array_like=True):
    """What a job asks of its tasks (``map_reduce.Options``, as data).

    Bad records may be left out where ``skips``: up to ``skips_max`` records and keys together or,
    where that is negative, up to ``skips_share_max`` of the records and of the keys.
    ``timeout_s`` 0.0, ``result_ttl_s`` 0.0 and ``backups`` None: what the cluster is set to.
    ``memory_mb_max`` 0: no bound but the node's.
    """

    skips: bool = False
    skips_max: int = -1
    skips_share_max: float = 0.0
    timeout_s: Seconds = 0.0
    memory_mb_max: MebiBytes = 0
    backups: bool | None = None
    priority: Priority = 1.0
    result_ttl_s: Seconds = 0.0


class JobSpec(msgspec.Struct, frozen=True, array_like=True):
    """All there is to know of a job before it runs. Stored as a block at the place of its id."""

    job_id: str
    birth: bytes  # the certificate that the id is the hash of (``core/registers/birth.py``)
    name: str
    functions: Functions
    combines: bool
    splits: tuple[Split, ...]
    partitions: int
    readers: tuple[Address, ...]  # nodes that can open the files of splits; () = any
    input_bytes: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]  # 0 where unknown
    python: str
    submitted_at_s: float  # the client's wall clock, for people
    rules: TaskRules = TaskRules()
    bounds: bytes = b""  # pickled keys that cut the ranges of a job that sorts; for workers alone

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> JobSpec:
        """Raises ProtocolError where ``data`` is no specification."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except NOT_DECODABLE as error:
            raise ProtocolError(f"a job's specification cannot be read: {error}") from error


class SubmitJob(Message, frozen=True):
    """Be this job's master, unless it has one. -> Done, No

    Its specification ``spec`` is in the ring, and whoever holds it would see to the job in any
    case: this only saves time. Repeating it is harmless.
    """

    job_id: str
    spec: BlockRef


class GetJob(Message, frozen=True):
    """How is this job? Any node may be asked. -> JobStatus, NoJob, Busy (ask again)

    ``tally``: tell what was counted and left out so far. Once the job has ended it is told anyway.

    ``hold_s``: the job's master may hold the answer back for so long, until there is news: that the
    job has ended or, for who does not know yet that it has ``begun``, that it has a master.
    """

    job_id: str
    first_part: int = 0  # of the result: an answer holds as many as fit a message
    tally: bool = False
    hold_s: Seconds = 0.0
    begun: bool = False


class CancelJob(Message, frozen=True):
    """End this job. Any node that knows it takes this, and has it done. -> Done, NoJob"""

    job_id: str


class ReleaseJob(Message, frozen=True):
    """Nobody needs the job any more: end it, forget it, delete what is stored for it.
    -> Done

    Any node may be asked, of a job that was submitted in part only, too."""

    job_id: str


class NoJob(Message, frozen=True):
    """It is not known here, which says nothing about other nodes."""

    job_id: str


class JobOver(Message, frozen=True):
    """The job has ended, as its record says."""

    job_id: str


class WatchJobs(Message, frozen=True):
    """Which of these jobs are you the master of? -> JobsWatched"""

    job_ids: tuple[str, ...]


class JobsWatched(Message, frozen=True):
    """For each job asked for, the epoch in which the node is its master; 0 where it is not, and
    ``OVER`` where the job has ended."""

    epochs: tuple[int, ...]


OVER = -1


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Why a task or a job failed, as data.

    ``kind`` is the name of a class of ``map_reduce.errors``; ``message`` is complete, for
    people. ``exception`` is the user's pickled exception or empty; only a client opens it.
    """

    kind: str
    message: str
    exception: bytes = b""


class OutputPart(msgspec.Struct, frozen=True, array_like=True):
    """A piece of the result, in order, inline or a block: a pickled ([keys], [values]) or, where a
    ``form`` is named, the text that is to be in a file."""

    records: int
    inline: bytes
    ref: BlockRef | None
    form: Literal["", "jsonl", "text", "csv", "lines"] = ""


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far a job is. ``*_total`` is 0 while unknown; nothing here ever goes back."""

    phase: str = "waiting"  # waiting, map, reduce, done, failed, cancelled
    map_tasks_done: int = 0
    map_tasks_total: int = 0
    reduce_tasks_done: int = 0
    reduce_tasks_total: int = 0
    records: int = 0  # input records mapped
    input_bytes_done: int = 0
    input_bytes_total: int = 0
    attempts_failed: int = 0
    elapsed_s: float = 0.0


class JobStatus(Message, frozen=True):
    """A job as its master sees it, or another node that watches it."""

    job_id: str
    name: str
    progress: Progress
    parts: tuple[OutputPart, ...]  # once the phase is done: those from first_part on that fit
    parts_total: int
    failure: Failure | None  # once the phase is failed
    master: Member | None  # the node to ask; None while it has none
    tally: Tally = Tally()  # of the tasks that are committed
    epoch: int = 0
    waiting_for: tuple[Address, ...] = ()
    """Members of the job's record that do not answer, where too few do for it to go on."""
    figures: Figures = Figures()
    """Told together with the tally, by the job's master and once it has ended."""
