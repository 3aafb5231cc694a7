"""What can happen to a job, as the scheduler hears of it. Values only; times come beside them."""

from __future__ import annotations

import msgspec

from map_reduce.core.identifiers import Member
from map_reduce.core.jobs.state import FinalWin, MapWin, Trouble
from map_reduce.core.messages import AttemptId, Outcome, Running


class NodeSlots(msgspec.Struct, frozen=True):
    """A node that may be given tasks, and how many it runs at once (0: none, for now)."""

    member: Member
    slots: int


class NodesKnown(msgspec.Struct, frozen=True):
    """The whole list of usable nodes. One that was listed before and is not now is lost."""

    nodes: tuple[NodeSlots, ...]


class Holding(msgspec.Struct, frozen=True):
    """What a node says that it has of a job which a new master has taken over: attempts that run
    or are about to be reported, and the tasks whose outputs should be there and are not."""

    node: Member
    attempts: tuple[AttemptId, ...]
    lost: tuple[int, ...]


class TakenOver(msgspec.Struct, frozen=True):
    """The first event of a job that had a master before: what its ledger says, what the nodes say
    that answered, and the usable nodes."""

    nodes: tuple[NodeSlots, ...]
    cuts: tuple[int, ...] | None
    maps: tuple[MapWin, ...]
    finals: tuple[FinalWin, ...]
    holdings: tuple[Holding, ...]
    troubles: tuple[Trouble, ...] = ()
    adds: bool = True


class Committed(msgspec.Struct, frozen=True):
    """The batch of that number is in the ledger, for good."""

    number: int


class AttemptTaken(msgspec.Struct, frozen=True):
    """The node's answer to a Start: it runs, or waits in the node's queue."""

    attempt: AttemptId
    node: Member


class AttemptRefused(msgspec.Struct, frozen=True):
    """The node's answer to a Start, or the lack of one.

    ``busy``: it has no room now and did not take it. Otherwise it said no or could not be
    reached, and it may even have begun; ``reason`` is a sentence for people.
    """

    attempt: AttemptId
    node: Member
    busy: bool
    reason: str = ""


class AttemptEnded(msgspec.Struct, frozen=True):
    """The node that ran it says how it went."""

    attempt: AttemptId
    node: Member
    outcome: Outcome


class StillRunning(msgspec.Struct, frozen=True):
    """A node's sign of life, with how far its attempts at this job's tasks are."""

    node: Member
    running: tuple[Running, ...]


class Tick(msgspec.Struct, frozen=True):
    """Time has passed. Due at least every quarter of ``node_silence_s_max``."""


class Cancel(msgspec.Struct, frozen=True):
    """Somebody wants the job to end; ``reason`` is a sentence for people."""

    reason: str


Event = (
    NodesKnown
    | TakenOver
    | Committed
    | AttemptTaken
    | AttemptRefused
    | AttemptEnded
    | StillRunning
    | Tick
    | Cancel
)
