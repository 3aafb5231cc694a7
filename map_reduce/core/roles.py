"""Who may ask what: the two roles, and what each request is open to.

Whoever speaks to a node has proved, before any of its bytes was decoded, that it belongs to the
cluster, and in which role. A **client** submits jobs and reads what became of them; its functions
run in worker processes. A **node** is a member of the ring: it keeps blocks and records, runs
attempts, and is believed in what it says about them.

A message that is new has to be given its place in one of the three tables below; until then it is
closed to clients.
"""

from __future__ import annotations

import enum
import ipaddress
from typing import NamedTuple

from map_reduce.core import names
from map_reduce.core.digests import DIGEST_BYTES
from map_reduce.core.messages import (
    AcceptRecord,
    Accounts,
    AdoptJob,
    Answers,
    ArcBlocks,
    ArcEqual,
    ArcParts,
    ArcSummaries,
    AttemptsRunning,
    BlockRef,
    Busy,
    CancelJob,
    CheckFiles,
    CheckFunctions,
    CheckVerdict,
    Cluster,
    CompareArc,
    DamagedBlock,
    Done,
    EndJob,
    Files,
    FilesSeen,
    FindSuccessor,
    GetArcs,
    GetCheck,
    GetCluster,
    GetFiles,
    GetJob,
    GetNeighbours,
    GetNode,
    GetPiece,
    GetPlace,
    GetRanges,
    GetRecord,
    GetReplica,
    Gossip,
    Gossiped,
    HeardOf,
    JobAdopted,
    JobOver,
    JobStatus,
    JobsWatched,
    Leaving,
    ListRecords,
    Message,
    MissingBlocks,
    Neighbours,
    No,
    NoBlock,
    Node,
    NoJob,
    Notify,
    OrderAttempts,
    Piece,
    PieceStored,
    Ping,
    Place,
    Pong,
    PrepareRecord,
    PutPiece,
    Ranges,
    RecordAccepted,
    RecordBuried,
    RecordConflict,
    RecordHeld,
    RecordLines,
    ReleaseJob,
    ReplicaIs,
    ReportAttempts,
    Request,
    Route,
    StopNode,
    SubmitJob,
    WatchJobs,
    WhichMissing,
    WrongCluster,
)


class Role(enum.Enum):
    """What a process is to a cluster. The values stand in certificates."""

    NODE = "node"
    CLIENT = "client"


CLIENTS_ASK: frozenset[type[Message]] = frozenset(
    {
        # where things are
        *(GetCluster, GetNeighbours, FindSuccessor, GetNode, Ping),
        # for people who look at a ring, and at a record
        *(GetPlace, GetArcs, GetReplica, GetRecord, ListRecords),
        # a job, and its blocks
        *(CheckFunctions, GetCheck, CheckFiles, PutPiece, GetPiece),
        *(SubmitJob, GetJob, CancelJob, ReleaseJob),
    }
)
"""What clients may ask, and nodes too."""

NODES_ASK: frozenset[type[Message]] = frozenset(
    {
        *(Notify, Leaving, Gossip, HeardOf),
        *(CompareArc, WhichMissing, DamagedBlock),
        *(PrepareRecord, AcceptRecord),
        *(OrderAttempts, ReportAttempts, AttemptsRunning, EndJob, GetRanges, GetFiles),
        *(WatchJobs, AdoptJob),
        StopNode,
    }
)
"""What is for nodes alone."""

REPLIES: frozenset[type[Message]] = frozenset(
    {
        *(Done, Busy, No, WrongCluster),
        *(Cluster, Neighbours, Route, Node, Pong, Place, Gossiped, Accounts),
        *(CheckVerdict, FilesSeen, PieceStored, Piece, Ranges, Files, NoBlock, JobStatus, NoJob),
        *(Answers, JobOver, JobsWatched, JobAdopted),
        *(ArcEqual, ArcBlocks, ArcParts, ArcSummaries, MissingBlocks),
        *(RecordLines, ReplicaIs, RecordHeld, RecordAccepted, RecordBuried, RecordConflict),
    }
)
"""What answers; nobody asks it."""


class Caller(NamedTuple):
    """Who asks, as it has proved.

    ``hosts`` are the addresses and names that it may be a node at; None where that is not told
    apart: within one process, and among the processes of one user on one machine.
    """

    role: Role
    name: str
    hosts: frozenset[str] | None = None

    def __str__(self) -> str:
        return f"{self.role.value} {self.name}"

    def may_be_at(self, host: str) -> bool:
        """Whether it may say that it listens at this host."""
        return self.hosts is None or plain_host(host) in self.hosts


THIS_PROCESS = Caller(Role.NODE, "in this process")


def plain_host(host: str) -> str:
    """A host in the one form in which hosts are compared."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower().rstrip(".")


def refusal(caller: Caller, request: Request) -> str | None:
    """Why the caller may not ask this, for people; None where it may."""
    body, sender = request.body, request.sender
    if caller.role is Role.NODE:
        if sender is not None and not caller.may_be_at(sender.address.host):
            return f"the certificate of {caller} is not for {sender.address.host}"
        return None
    if sender is not None:
        return f"{caller} is no member of the ring"
    if type(body) not in CLIENTS_ASK:
        return f"a {type(body).__name__} is for nodes alone, and {caller} is none"
    if isinstance(body, PutPiece):
        return _block_refusal(body.ref)
    if isinstance(body, SubmitJob | GetJob | CancelJob | ReleaseJob):
        return None if names.is_job_id(body.job_id) else f"no job is called {body.job_id[:80]!r}"
    if isinstance(body, CheckFunctions) and not names.is_check_id(body.check_id):
        return f"no check is called {body.check_id[:80]!r}"
    return None


def _block_refusal(ref: BlockRef) -> str | None:
    """Why a client may not store such a block, for people; None where it may."""
    if not names.is_block(ref.name) or len(ref.digest) != DIGEST_BYTES:
        return f"no block is called {ref.name[:80]!r}, or none has such a digest"
    if names.is_made_by_workers(ref.name):
        return f"{ref.name!r} is not for clients to store"
    return None
