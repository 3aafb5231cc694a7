"""A ring as it is after a long quiet, without simulating the way there.

To let ten thousand members join one after the other takes hours of virtual time; what is measured
then begins where nothing changes any more. So lists, predecessors, views and fingers are put where
the protocol leads them in the end: the fingers through the production table, which asks for one
start after the other and is told each owner. Then every member runs the production's stabilize
twice, which fills in what else a member knows.
``tests/simulation/test_settled.py`` compares both.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

from map_reduce.core.chord.fingers import Fingers
from map_reduce.core.chord.member import RingMember
from map_reduce.core.chord.state import Standing
from map_reduce.core.identifiers import Address, Identifier, Member
from map_reduce.core.messages import Message
from map_reduce.core.procedure import Ask, perform
from map_reduce.errors import NotListening

ROUNDS = 2
"""Of stabilize: by the second everything is as the first one left it."""


class Circle:
    """Members in ring order, and who owns what."""

    def __init__(self, members: Iterable[Member]) -> None:
        self.members = sorted(members, key=lambda m: m.identifier)
        self._places = [m.identifier for m in self.members]

    def owner(self, target: Identifier) -> Member:
        """The first member at or behind the target."""
        return self.members[self.place_of(target)]

    def place_of(self, target: Identifier) -> int:
        """The number of the owner in ring order."""
        return bisect_left(self._places, target) % len(self.members)

    def behind(self, member: Member) -> tuple[Member, ...]:
        """All others clockwise, where the member is one of them; or else all."""
        place = self.place_of(member.identifier) if self.members else 0
        others = (*self.members[place + 1 :], *self.members[:place])
        return others if self.members[place : place + 1] == [member] else tuple(self.members)

    def from_place(self, place: int, number: int) -> tuple[Member, ...]:
        """So many members from there clockwise; each once."""
        end = place + min(number, len(self.members))
        members = self.members[place:end]
        return (*members, *self.members[: end - place - len(members)])


def settle(rings: Sequence[RingMember], successors_max: int) -> Circle:
    """Make the members, which are outside so far, one ideal ring."""
    circle = Circle(ring.me for ring in rings)
    by_address = {ring.me.address: ring for ring in rings}
    for ring in rings:
        place = circle.place_of(ring.me.identifier)
        behind = circle.from_place((place + 1) % len(rings), min(successors_max, len(rings) - 1))
        ring.predecessor = circle.members[place - 1]
        ring.successors = behind or (ring.me,)
        ring.standing = Standing.MEMBER
        view = ring.acquaintances.members
        view.learn(
            circle.from_place((place + 1) % len(rings), min(view.members_max, len(rings) - 1))
        )
        view.tell_nothing()
        if has_fingers(ring, successors_max):
            fill(ring.fingers, ring.successors[-1], circle)
    for _ in range(ROUNDS):
        for ring in rings:
            perform(ring.stabilize(), directly(by_address, ring.me))
    return circle


def has_fingers(ring: RingMember, successors_max: int) -> bool:
    """Whether a member needs fingers after a long quiet. As in fix_finger, it needs none where the
    list goes round the ring, or the view holds all of it."""
    if ring.alone or len(ring.successors) < successors_max:
        return False
    return ring.acquaintances.members.is_full


def fill(fingers: Fingers, last_successor: Member, circle: Circle) -> None:
    """Let all fingers be right."""
    covered = last_successor.identifier
    while (start := fingers.next_start(covered)) is not None:
        fingers.found(start, circle.owner(start))


def directly(
    rings: Mapping[Address, RingMember], sender: Member | None = None
) -> Callable[[Ask], Message]:
    """Asks answered at once, in no time, by those of ``rings``; nobody else is up."""

    def ask(wanted: Ask) -> Message:
        ring = rings.get(wanted.address)
        if ring is None:
            raise NotListening(f"{wanted.address} refuses connections")
        if sender is not None:
            ring.heard_from(sender)
        reply = ring.handle(wanted.message, sender)
        assert reply is not None, f"{wanted.message} is no message of the ring"
        return reply

    return ask
