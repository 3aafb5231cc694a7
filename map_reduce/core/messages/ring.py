"""What members of the ring ask each other about the ring."""

from __future__ import annotations

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


class GetCluster(Message, frozen=True):
    """What must agree on every node? Asked before joining. -> Cluster"""


class Cluster(Message, frozen=True):
    cluster_id: str
    settings: dict[str, int | float | str]
    python: str  # "3.11": bytecode travels between equal minor versions only
    version: str  # of this library
