"""Everything two nodes, or a client and a node, can say to each other.

Each message is a frozen value; its type is its tag on the wire, its fields an array in this
order. The transport encodes and strictly validates them (``transport/wire.py``); nothing here
is ever pickled. User functions, user data and user exceptions appear only as opaque ``bytes``
that a daemon carries and never opens.

Requests say who may ask them and which replies are allowed; any request may also be answered
with :class:`Busy`, :class:`No` or, by a node of another cluster, :class:`WrongCluster`.
"""

from __future__ import annotations

import msgspec

from map_reduce.core.identifiers import Member
from map_reduce.core.messages.attempts import (
    BOUNDS_BYTES_MAX,
    SAMPLE_RANGES_MAX,
    SAMPLE_SPLITS_MAX,
    AdoptJob,
    AttemptEnded,
    AttemptId,
    AttemptsRunning,
    Checked,
    CheckWork,
    Counts,
    EndJob,
    Failed,
    JobAdopted,
    MapOutput,
    MapWork,
    Outcome,
    OutputKey,
    ReduceOutput,
    ReduceWork,
    Running,
    Sampled,
    SampleWork,
    Source,
    StartAttempt,
    StopAttempt,
    WholeWork,
    Work,
)
from map_reduce.core.messages.base import (
    Busy,
    Bytes20,
    Done,
    Message,
    No,
    WrongCluster,
    identifier_bytes,
)
from map_reduce.core.messages.blocks import (
    ArcBlocks,
    ArcEnds,
    ArcEqual,
    ArcParts,
    ArcSummaries,
    ArcSummary,
    BlockRef,
    CompareArc,
    DamagedBlock,
    EndedJob,
    GetArcs,
    GetPiece,
    MissingBlocks,
    NoBlock,
    Piece,
    PieceStored,
    PutPiece,
    WhichMissing,
)
from map_reduce.core.messages.figures import Figures, Spread
from map_reduce.core.messages.inputs import (
    SHIFTING_ENCODINGS,
    BlockItems,
    BlockText,
    FileText,
    InlineItems,
    PartItems,
    Split,
    TextFormat,
    block_of,
    size_bytes_of,
)
from map_reduce.core.messages.jobs import (
    OVER,
    SPEC_BYTES_MAX,
    CancelJob,
    Failure,
    Functions,
    GetJob,
    JobOver,
    JobSpec,
    JobStatus,
    JobsWatched,
    NoJob,
    OutputPart,
    Progress,
    ReleaseJob,
    SubmitJob,
    TaskRules,
    WatchJobs,
)
from map_reduce.core.messages.nodes import (
    CheckFiles,
    CheckFunctions,
    CheckVerdict,
    FilesSeen,
    FileStamp,
    GetCheck,
    GetNode,
    JobLine,
    Node,
    StopNode,
)
from map_reduce.core.messages.records import (
    NO_BALLOT,
    AcceptRecord,
    Ballot,
    Config,
    GetRecord,
    GetReplica,
    ListRecords,
    PrepareRecord,
    RecordAccepted,
    RecordBuried,
    RecordConflict,
    RecordHeld,
    RecordLines,
    RecordState,
    Replica,
    ReplicaIs,
)
from map_reduce.core.messages.ring import (
    Account,
    Accounts,
    Cluster,
    FindSuccessor,
    GetCluster,
    GetNeighbours,
    GetPlace,
    Gossip,
    Gossiped,
    HeardOf,
    Leaving,
    Neighbours,
    Notify,
    Ping,
    Place,
    Pong,
    Route,
    Sighting,
)
from map_reduce.core.messages.tally import (
    BAD_RECORDS_KEPT_MAX,
    COUNT_MAX,
    COUNTERS_MAX,
    BadRecord,
    Skipping,
    Suspect,
    Tally,
)


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

HELD = (GetJob, GetCheck)
"""Requests whose answer may be held back, for their ``hold_s``, until there is something new."""

HOLD_S_MAX = 60.0
"""So long a node holds an answer back at most, whatever is asked for."""

__all__ = [
    "BAD_RECORDS_KEPT_MAX",
    "BOUNDS_BYTES_MAX",
    "BULK",
    "COUNTERS_MAX",
    "COUNT_MAX",
    "HELD",
    "HOLD_S_MAX",
    "MESSAGES",
    "NO_BALLOT",
    "OVER",
    "SAMPLE_RANGES_MAX",
    "SAMPLE_SPLITS_MAX",
    "SHIFTING_ENCODINGS",
    "SPEC_BYTES_MAX",
    "AcceptRecord",
    "Account",
    "Accounts",
    "AdoptJob",
    "ArcBlocks",
    "ArcEnds",
    "ArcEqual",
    "ArcParts",
    "ArcSummaries",
    "ArcSummary",
    "AttemptEnded",
    "AttemptId",
    "AttemptsRunning",
    "BadRecord",
    "Ballot",
    "BlockItems",
    "BlockRef",
    "BlockText",
    "Busy",
    "Bytes20",
    "CancelJob",
    "CheckFiles",
    "CheckFunctions",
    "CheckVerdict",
    "CheckWork",
    "Checked",
    "Cluster",
    "CompareArc",
    "Config",
    "Counts",
    "DamagedBlock",
    "Done",
    "EndJob",
    "EndedJob",
    "Failed",
    "Failure",
    "Figures",
    "FileStamp",
    "FileText",
    "FilesSeen",
    "FindSuccessor",
    "Functions",
    "GetArcs",
    "GetCheck",
    "GetCluster",
    "GetJob",
    "GetNeighbours",
    "GetNode",
    "GetPiece",
    "GetPlace",
    "GetRecord",
    "GetReplica",
    "Gossip",
    "Gossiped",
    "HeardOf",
    "InlineItems",
    "JobAdopted",
    "JobLine",
    "JobOver",
    "JobSpec",
    "JobStatus",
    "JobsWatched",
    "Leaving",
    "ListRecords",
    "MapOutput",
    "MapWork",
    "Message",
    "MissingBlocks",
    "Neighbours",
    "No",
    "NoBlock",
    "NoJob",
    "Node",
    "Notify",
    "Outcome",
    "OutputKey",
    "OutputPart",
    "PartItems",
    "Piece",
    "PieceStored",
    "Ping",
    "Place",
    "Pong",
    "PrepareRecord",
    "Progress",
    "PutPiece",
    "RecordAccepted",
    "RecordBuried",
    "RecordConflict",
    "RecordHeld",
    "RecordLines",
    "RecordState",
    "ReduceOutput",
    "ReduceWork",
    "ReleaseJob",
    "Replica",
    "ReplicaIs",
    "Request",
    "Route",
    "Running",
    "SampleWork",
    "Sampled",
    "Sighting",
    "Skipping",
    "Source",
    "Split",
    "Spread",
    "StartAttempt",
    "StopAttempt",
    "StopNode",
    "SubmitJob",
    "Suspect",
    "Tally",
    "TaskRules",
    "TextFormat",
    "WatchJobs",
    "WhichMissing",
    "WholeWork",
    "Work",
    "WrongCluster",
    "block_of",
    "identifier_bytes",
    "size_bytes_of",
]
