"""What is said about records: the messages of ``core/registers``.

All but :class:`GetReplica` are requests of a proposer to one *replica*, and its answers. A request
names the identity of the replica that it means; whoever listens there with another identity answers
:class:`~map_reduce.core.messages.No`, and never in the old one's stead.
"""

from __future__ import annotations

import msgspec

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages.base import Message


class Replica(msgspec.Struct, frozen=True, array_like=True, order=True):
    """One life of a node's memory of records.

    ``identity`` (63 bits) is drawn at random when the memory is first made and kept in it. A
    restart that finds the memory is the same replica; one that does not is another.
    """

    address: Address
    identity: int

    def __str__(self) -> str:
        return str(self.address)


Config = tuple[Replica, ...]
"""Replicas that decide by majority: distinct, at least one."""


class Ballot(msgspec.Struct, frozen=True, array_like=True, order=True):
    """The number of one attempt to change a record; never used twice.

    ``epoch`` is at least that of the configuration that was read. ``proposer`` is a life of a
    *process* (not of its memory), so that a restart cannot repeat a ballot.
    """

    epoch: int
    number: int
    proposer: Member


NO_BALLOT = Ballot(0, 0, Member(Address("", 0), 0))
"""Lower than every ballot."""


class RecordState(msgspec.Struct, frozen=True, array_like=True):
    """A record at one point of its history, with who decides about it.

    ``configs`` is (C,), or (C, C') while the members change from C to C'; ``epoch`` counts those
    changes, two for each replacement. ``version`` counts all changes, and ``writers`` are the
    ballots that the last of them were first written at, newest last. ``born`` are the members that
    the birth certificate names: whoever holds a state can reach the record by it.
    """

    value: bytes | None  # None: never written
    configs: tuple[Config, ...]
    epoch: int
    version: int
    writers: tuple[Ballot, ...]
    deleted: bool = False
    born: Config = ()


class GetReplica(Message, frozen=True):
    """Which replica are you? -> ReplicaIs; No where it has failed"""


class ReplicaIs(Message, frozen=True):
    """The replica of the node that was asked."""

    replica: Replica


class RecordLine(msgspec.Struct, frozen=True, array_like=True):
    """Who decides about a record, as one replica knows it."""

    name: str
    epoch: int
    configs: tuple[Config, ...]


class ListRecords(Message, frozen=True):
    """Which records do you hold, in the order of their names, behind this one? For people who look
    at a ring. -> RecordLines"""

    after: str


class RecordLines(Message, frozen=True):
    replica: Replica
    lines: tuple[RecordLine, ...]
    more: bool


class GetRecord(Message, frozen=True):
    """What do you hold? Promises nothing. -> RecordHeld, RecordBuried"""

    name: str
    identity: int


class PrepareRecord(Message, frozen=True):
    """Promise to accept nothing below this ballot (phase 1).

    -> RecordHeld, RecordConflict, RecordBuried
    """

    name: str
    identity: int
    ballot: Ballot


class AcceptRecord(Message, frozen=True):
    """Take this over at this ballot (phase 2).

    -> RecordAccepted, RecordConflict, RecordBuried
    """

    name: str
    identity: int
    ballot: Ballot
    state: RecordState


class RecordHeld(Message, frozen=True):
    """What the replica accepted last. In answer to PrepareRecord also its promise."""

    accepted: Ballot  # NO_BALLOT where it accepted nothing; then state is None
    state: RecordState | None


class RecordAccepted(Message, frozen=True):
    """Taken over, and on disk."""


class RecordBuried(Message, frozen=True):
    """The record was deleted, long ago and for ever; nothing else is remembered of it."""


class RecordConflict(Message, frozen=True):
    """Another proposer was promised more."""

    promised: Ballot
