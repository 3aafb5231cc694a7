"""What members of the ring ask each other about the ring."""

from __future__ import annotations

import msgspec

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages.base import Bytes20, Message


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


class GetPlace(Message, frozen=True):
    """What do you know of your place, finished or not? For people who look at a ring; members
    ask GetNeighbours. -> Place"""


class Place(Message, frozen=True):
    member: Member
    standing: str  # "outside", "member" or "left": see core/chord/state.py
    cut_off: bool
    predecessor: Member | None
    successors: tuple[Member, ...]
    suspects: tuple[Member, ...]  # of those it knows, whose last request failed
    dead: tuple[Member, ...]  # of those it knows, whom it takes for dead
    contacts: tuple[Address, ...]  # whom else it has heard of


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


class HeardOf(Message, frozen=True):
    """When did you last hear of these? I cannot reach them. -> Accounts"""

    members: tuple[Member, ...]


class Account(msgspec.Struct, frozen=True, array_like=True):
    """What a member knows of another at first hand."""

    member: Member
    ago_s: float | None  # since the last sign of life of this very incarnation; None: never
    failing: bool  # the last request to it failed
    refused: bool  # because nobody listens at its address
    ended: bool  # it left, or a later incarnation was heard


class Accounts(Message, frozen=True):
    """One for each member asked about, of which the asked one tells all that it knows; none where
    the asked one is in no ring and cannot confirm anything."""

    accounts: tuple[Account, ...]


class Sighting(msgspec.Struct, frozen=True, array_like=True):
    """What is said of a member; see ``core/chord/view.py`` for which of two counts."""

    member: Member
    version: int
    gone: bool
    silent_s: float  # where gone: for how long, by now


class Gossip(Message, frozen=True):
    """Here is what is new of the ring's members; what do you know? -> Gossiped

    ``digests`` are 64 bits each, of the members in each sector; empty where they are not to be
    compared.
    """

    news: tuple[Sighting, ...]
    digests: tuple[int, ...]


class Gossiped(Message, frozen=True):
    """``rest``: what is known of the sectors whose digests differ."""

    news: tuple[Sighting, ...]
    rest: tuple[Sighting, ...]


class GetCluster(Message, frozen=True):
    """What must agree on every node? Asked before joining. -> Cluster"""


class Cluster(Message, frozen=True):
    cluster_id: str
    settings: dict[str, int | float | str]
    python: str  # "3.11": bytecode travels between equal minor versions only
    version: str  # of this library
