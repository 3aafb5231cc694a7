"""Everything two nodes, or a client and a node, can say to each other.

Each message is a frozen value; its type is its tag on the wire, its fields an array in this
order. The transport encodes and strictly validates them (``transport/wire.py``); nothing here
is ever pickled. User functions, user data and user exceptions appear only as opaque ``bytes``
that a daemon carries and never opens.

Requests say who may ask them and which replies are allowed; any request may also be answered
with :class:`Busy`, :class:`No` or, by a node of another cluster, :class:`WrongCluster`.
"""

from __future__ import annotations

import codecs
from functools import lru_cache

import msgspec

from map_reduce.core.identifiers import Address, Member
from map_reduce.errors import ProtocolError

Bytes20 = bytes  # an identifier, big-endian: msgpack has no 160-bit integers


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Base of all messages."""


# ------------------------------------------------------------------ replies to anything


class Done(Message, frozen=True):
    """It is done; there is nothing to tell."""


class Busy(Message, frozen=True):
    """Alive, but in the middle of something that must not be seen half done. Ask again."""


class No(Message, frozen=True):
    """Understood and refused; ``reason`` is a sentence for people."""

    reason: str


class WrongCluster(Message, frozen=True):
    """The request named another cluster than this node's."""

    cluster_id: str


# ------------------------------------------------------------------ the ring


class Ping(Message, frozen=True):
    """Are you there? -> Pong"""


class Pong(Message, frozen=True):
    member: Member


class GetNeighbours(Message, frozen=True):
    """Your place in the ring? -> Neighbours"""


class Neighbours(Message, frozen=True):
    member: Member
    predecessor: Member | None
    successors: tuple[Member, ...]  # nearest first, without the member itself unless alone


class Notify(Message, frozen=True):
    """I believe I am your predecessor (Zave's rectify). -> Done"""

    member: Member


class Leaving(Message, frozen=True):
    """I am leaving in order; here is who remains on my two sides. -> Done"""

    member: Member
    predecessor: Member | None
    successors: tuple[Member, ...]


class FindSuccessor(Message, frozen=True):
    """One step of an iterative lookup. -> Route"""

    target: Bytes20


class Route(Message, frozen=True):
    """``owns``: members[0] is the owner of the target and the rest its successors in order.
    Otherwise members are closer to the target, best first, and one of them is to be asked next.
    """

    owns: bool
    members: tuple[Member, ...]


class GetCluster(Message, frozen=True):
    """What must agree on every node? Asked before joining. -> Cluster"""


class Cluster(Message, frozen=True):
    cluster_id: str
    settings: dict[str, int | float | str]
    python: str  # "3.11": bytecode travels between equal minor versions only
    version: str  # of this library


# ------------------------------------------------------------------ blocks (bulk plane)


class BlockRef(msgspec.Struct, frozen=True, array_like=True):
    """A block's name, its length and the digest of its bytes (``core/digests.py``)."""

    name: str
    size_bytes: int
    digest: bytes


class PutPiece(Message, frozen=True):
    """Store a piece; the block exists once all its bytes are there and match. -> PieceStored"""

    ref: BlockRef
    offset: int
    data: bytes


class PieceStored(Message, frozen=True):
    complete: bool


class GetPiece(Message, frozen=True):
    """Read ``length_bytes`` of a block or of a map output from ``offset``. -> Piece, NoBlock"""

    name: str
    offset: int
    length_bytes: int


class Piece(Message, frozen=True):
    data: bytes
    size_bytes: int  # of the whole block


class NoBlock(Message, frozen=True):
    name: str


# ------------------------------------------------------------------ repair of blocks


class CompareArc(Message, frozen=True):
    """My blocks in the arc (after, upto] have this digest; what are yours?
    -> ArcEqual, ArcBlocks, ArcParts. See ``core/repair``."""

    after: Bytes20
    upto: Bytes20
    digest: bytes


class ArcEqual(Message, frozen=True):
    """The same digest: the same blocks."""


class ArcBlocks(Message, frozen=True):
    """Another one; these few are all I have there."""

    refs: tuple[BlockRef, ...]


class ArcParts(Message, frozen=True):
    """Another one, and too many to list: the digest of each of so many equal parts."""

    digests: tuple[bytes, ...]


class WhichMissing(Message, frozen=True):
    """Which of these blocks do you not hold whole? -> MissingBlocks"""

    refs: tuple[BlockRef, ...]


class EndedJob(msgspec.Struct, frozen=True, array_like=True):
    """A job whose blocks were deleted: all, or those that only a running job needs."""

    job_id: str
    blocks: bool


class MissingBlocks(Message, frozen=True):
    missing: tuple[int, ...]  # which of those asked for, counted from 0
    different: tuple[int, ...]  # those under whose name other bytes are held
    ended: tuple[EndedJob, ...]  # jobs of theirs that were deleted here lately


class DamagedBlock(Message, frozen=True):
    """Your copy does not have the bytes that I was promised: see to it. -> Done"""

    ref: BlockRef


# ------------------------------------------------------------------ input splits


class InlineItems(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """A few items inside the job's specification. ``data`` is a pickled list of items
    (``keyed`` false: keys are first_index, first_index + 1, …) or of (key, value)."""

    data: bytes
    count: int
    first_index: int
    keyed: bool


class BlockItems(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """As InlineItems, the pickled list being a block of the ring."""

    ref: BlockRef
    count: int
    first_index: int
    keyed: bool


SHIFTING_ENCODINGS = ("utf_7", "hz", "iso2022")
"""How the names of encodings begin in which a byte's meaning depends on those before it."""


class TextFormat(msgspec.Struct, frozen=True, array_like=True):
    """How the bytes of a file become lines."""

    encoding: str = "utf-8"
    errors: str = "strict"
    compression: str = ""  # "", "gzip", "bz2" or "xz"

    @property
    def has_byte_lines(self) -> bool:
        """Whether a byte 0x0a is a line feed wherever it stands, so that text can be cut there.

        Raises:
            LookupError: there is no such encoding.
        """
        return _has_byte_lines(self.encoding)


@lru_cache(maxsize=64)
def _has_byte_lines(encoding: str) -> bool:
    if codecs.lookup(encoding).name.replace("-", "_").startswith(SHIFTING_ENCODINGS):
        return False
    return all(letter.encode(encoding) == letter.encode("ascii") for letter in "\na")


class FileText(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Lines of a file that the node opens itself: its bytes start … end, cut at line ends.

    ``file_size`` and ``file_mtime_ns`` are as at submission; a file that differs was changed.
    A compressed file is one split, with start 0 and end = file_size.
    """

    path: str  # absolute
    start: int
    end: int
    first_line: int  # the number, from 0, of the line at start
    file_size: int
    file_mtime_ns: int
    format: TextFormat


class BlockText(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """As FileText, the (decompressed) bytes being a block of the ring; path is for messages."""

    ref: BlockRef
    path: str
    start: int  # where the block's first byte stands in the decompressed file
    first_line: int
    format: TextFormat


Split = InlineItems | BlockItems | FileText | BlockText


# ------------------------------------------------------------------ jobs


class Functions(msgspec.Struct, frozen=True, array_like=True):
    """The cloudpickled (map, reduce, combine or None): inline where small, else a block."""

    inline: bytes
    ref: BlockRef | None
    digest: bytes  # of the pickle: what a worker caches the loaded functions by


class JobSpec(msgspec.Struct, frozen=True, array_like=True):
    """All there is to know of a job before it runs. Stored as a block of the ring."""

    job_id: str
    name: str
    functions: Functions
    combines: bool
    splits: tuple[Split, ...]
    readers: tuple[Address, ...]  # nodes that can open the files of FileText splits; () = any
    input_bytes: int  # 0 where unknown
    python: str
    submitted_at_s: float  # the client's wall clock, for people

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> JobSpec:
        """Raises ProtocolError where ``data`` is no specification."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise ProtocolError(f"a job's specification cannot be read: {error}") from error


class SubmitJob(Message, frozen=True):
    """Be this job's master; its specification is in the ring under ``spec``. -> Done, No

    Repeating it is harmless.
    """

    job_id: str
    spec: BlockRef


class GetJob(Message, frozen=True):
    """-> JobStatus, NoJob"""

    job_id: str
    first_part: int = 0  # of the result: an answer holds as many as fit a message


class CancelJob(Message, frozen=True):
    """-> Done, NoJob"""

    job_id: str


class ReleaseJob(Message, frozen=True):
    """The client has its results: forget the job and delete what is stored for it. -> Done"""

    job_id: str


class NoJob(Message, frozen=True):
    job_id: str


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """Why a task or a job failed, as data.

    ``kind`` is the name of a class of ``map_reduce.errors``; ``message`` is complete, for
    people. ``exception`` is the user's pickled exception or empty; only a client opens it.
    """

    kind: str
    message: str
    exception: bytes = b""


class OutputPart(msgspec.Struct, frozen=True, array_like=True):
    """A piece of the result, in order: a pickled ([keys], [values]), inline or a block."""

    records: int
    inline: bytes
    ref: BlockRef | None


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
    job_id: str
    name: str
    progress: Progress
    parts: tuple[OutputPart, ...]  # once the phase is done: those from first_part on that fit
    parts_total: int
    failure: Failure | None  # once the phase is failed
    master: Member


# ------------------------------------------------------------------ attempts at tasks


class Source(msgspec.Struct, frozen=True, array_like=True):
    """Where a reduce task finds one map task's output for its partitions."""

    node: Address
    name: str
    offset: int
    length_bytes: int


class CheckWork(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Unpickle the functions and nothing more."""


class MapWork(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Map a split into ``partitions`` partitions."""

    split: Split
    partitions: int


class ReduceWork(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Reduce partitions first … last - 1 of all map outputs, given in the order of splits."""

    first_partition: int
    last_partition: int
    partitions: int
    sources: tuple[Source, ...]


class WholeWork(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Map a split and reduce it on the spot: the only task of a small job."""

    split: Split


Work = CheckWork | MapWork | ReduceWork | WholeWork


class AttemptId(msgspec.Struct, frozen=True, array_like=True, order=True):
    """One try at one task of a job. ``phase`` is "check", "map", "reduce" or "whole"."""

    job_id: str
    phase: str
    task: int
    number: int  # from 0

    def __str__(self) -> str:
        return f"{self.phase} task {self.task}, attempt {self.number + 1}"


class StartAttempt(Message, frozen=True):
    """Run this. -> Done (taken or already taken), Busy (no room), No

    ``careful``: note each record before it is mapped, so that the one that kills the process
    can be named. ``epoch`` is the master's; a node refuses lower ones than it has seen.
    """

    attempt: AttemptId
    epoch: int
    master: Address
    functions: Functions
    work: Work
    timeout_s: float
    careful: bool


class StopAttempt(Message, frozen=True):
    """End it if it runs; it is not reported. -> Done"""

    attempt: AttemptId


class Counts(msgspec.Struct, frozen=True, array_like=True):
    """What an attempt did."""

    records_in: int = 0
    bytes_in: int = 0
    records_out: int = 0
    bytes_out: int = 0
    user_s: float = 0.0  # processor time of the worker process, all of it


class MapOutput(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """``name`` is served by the node that made it; ``sizes`` has a length for each partition,
    which stand one after another in it."""

    name: str
    sizes: tuple[int, ...]
    counts: Counts


class ReduceOutput(msgspec.Struct, frozen=True, tag=True, array_like=True):
    part: OutputPart
    counts: Counts


class Checked(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The functions unpickle here."""


class Failed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """``lost_source``: the map output that could not be fetched, where that is why.
    ``retry``: whether another attempt may end better."""

    failure: Failure
    retry: bool
    lost_source: Source | None = None


Outcome = MapOutput | ReduceOutput | Checked | Failed


class AttemptEnded(Message, frozen=True):
    """From the node that ran it to the job's master. -> Done, NoJob"""

    attempt: AttemptId
    epoch: int
    node: Member
    outcome: Outcome


class Running(msgspec.Struct, frozen=True, array_like=True):
    attempt: AttemptId
    records: int
    bytes_in: int


class AttemptsRunning(Message, frozen=True):
    """A node's sign of life to a job's master, with how far its attempts are. -> Done, NoJob"""

    job_id: str
    node: Member
    running: tuple[Running, ...]


class EndJob(Message, frozen=True):
    """From a master to every node: stop the job's attempts, delete its map outputs. -> Done

    ``blocks``: delete the blocks stored for it as well.
    """

    job_id: str
    blocks: bool


# ------------------------------------------------------------------ about nodes


class FileStamp(msgspec.Struct, frozen=True, array_like=True):
    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int


class CheckFiles(Message, frozen=True):
    """Do you see these very files? -> FilesSeen"""

    files: tuple[FileStamp, ...]


class FilesSeen(Message, frozen=True):
    all_seen: bool


class CheckFunctions(Message, frozen=True):
    """Unpickle these functions in one of your workers. -> Done; ask GetCheck for the verdict"""

    check_id: str
    functions: Functions


class GetCheck(Message, frozen=True):
    """-> CheckVerdict"""

    check_id: str


class CheckVerdict(Message, frozen=True):
    ready: bool
    failure: Failure | None


class GetNode(Message, frozen=True):
    """-> Node"""


class JobLine(msgspec.Struct, frozen=True, array_like=True):
    job_id: str
    name: str
    progress: Progress


class Node(Message, frozen=True):
    member: Member
    pid: int
    slots: int
    slots_busy: int
    blocks: int
    block_bytes: int
    jobs: tuple[JobLine, ...]  # those it is master of
    predecessor: Member | None
    successors: tuple[Member, ...]
    python: str
    version: str


class StopNode(Message, frozen=True):
    """Leave the ring and exit. -> Done"""


# ------------------------------------------------------------------ the envelope


class Request(msgspec.Struct, frozen=True, array_like=True):
    """What goes over the wire. A client is not of a cluster: cluster_id "", sender None."""

    cluster_id: str
    sender: Member | None
    body: Message


def _all_messages(base: type[Message]) -> list[type[Message]]:
    found: list[type[Message]] = []
    for kind in base.__subclasses__():
        found += [kind, *_all_messages(kind)]
    return found


MESSAGES: tuple[type[Message], ...] = tuple(_all_messages(Message))
"""Every message type, for the codec and for tests."""

BULK: tuple[type[Message], ...] = (PutPiece, GetPiece)
"""Requests that travel on the bulk plane, where they cannot delay the others."""


def identifier_bytes(identifier: int) -> Bytes20:
    return identifier.to_bytes(20, "big")
