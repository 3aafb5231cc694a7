"""Every node that can be reached, and what each knows of its place: also of a broken ring.

A survey (``survey.py``) goes round one ring and trusts it. The census asks everybody that anybody
names, in lists, as predecessor or as mere contact, until no new name comes up. So it also finds
both of two rings that have not met yet, members that nobody points at any more, and those that are
cut off. It changes nothing and believes nobody: the invariants are asked of the answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from map_reduce.core.chord.invariants import MemberState, Ring, ring_of
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import GetPlace, Place
from map_reduce.core.procedure import Ask, Procedure
from map_reduce.errors import ClusterError

ASKS_MAX = 10_000
"""Nodes asked in one census."""

MEMBER = "member"
"""The standing of who is in the ring."""


class Silent(NamedTuple):
    """A member that others count on, and that did not answer as that very member."""

    member: Member
    why: str


class Census(NamedTuple):
    """What came back.

    Attributes:
        places: in ring order.
        silent: those named in lists or as predecessors; a mere contact that has gone is no news.
    """

    places: tuple[Place, ...]
    silent: tuple[Silent, ...]

    def ring(self) -> Ring:
        """The members' states, for ``invariants.py``. Who did not answer counts as dead."""
        return ring_of(
            [
                MemberState(place.member, place.predecessor, place.successors)
                for place in self.places
                if place.standing == MEMBER
            ]
        )

    def cut_off(self) -> tuple[Member, ...]:
        """Members that own and serve nothing, since none of those they know answers."""
        return tuple(place.member for place in self.places if place.cut_off)


def census(start: Sequence[Address]) -> Procedure[Census]:
    """Ask everybody, beginning with ``start``. Whom nobody names is not found."""
    places: dict[Address, Place] = {}
    failures: dict[Address, str] = {}
    waiting = deque(dict.fromkeys(start))
    seen = set(waiting)
    while waiting and len(places) + len(failures) < ASKS_MAX:
        address = waiting.popleft()
        try:
            reply = yield Ask(address, GetPlace())
        except ClusterError as error:
            failures[address] = str(error).removeprefix(f"{address}: ")
            continue
        if not isinstance(reply, Place):
            failures[address] = f"{address} answered {type(reply).__name__}"
            continue
        places[reply.member.address] = reply  # which a name that stands for it is not
        seen.add(reply.member.address)
        named = [*(member.address for member in _counted_on(reply)), *reply.contacts]
        news = [each for each in dict.fromkeys(named) if each not in seen]
        seen.update(news)
        waiting.extend(news)
    found = tuple(sorted(places.values(), key=lambda place: place.member.identifier))
    return Census(found, _silent(found, failures))


def _counted_on(place: Place) -> tuple[Member, ...]:
    if place.standing != MEMBER:
        return ()
    return place.successors if place.predecessor is None else (*place.successors, place.predecessor)


def _silent(places: Sequence[Place], failures: dict[Address, str]) -> tuple[Silent, ...]:
    answered = {place.member for place in places}
    named = dict.fromkeys(member for place in places for member in _counted_on(place))
    return tuple(
        Silent(member, failures.get(member.address, "it has been restarted since"))
        for member in sorted(named, key=lambda member: member.identifier)
        if member not in answered
    )
