"""A large ring in which nobody does anything but answer.

What a lookup costs in a quiet ring, or in one that has not yet noticed that half of it is gone,
needs no time and no queue: each question is answered at once, by the production code.
"""

from __future__ import annotations

from map_reduce.core.chord.lookup import lookup
from map_reduce.core.chord.member import RingMember
from map_reduce.core.identifiers import Address, Identifier, Member, identifier_of
from map_reduce.core.procedure import perform
from map_reduce.errors import ClusterError
from map_reduce.simulation.draws import Draws
from map_reduce.simulation.figures.counting import Cost, counted
from map_reduce.simulation.settled import Circle, directly, settle

PORT = 9000


def address_of(number: int, ring: int = 0) -> Address:
    """Of the node with that number, as long as real ones are; each ring has others."""
    return Address(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", PORT + ring)


def key_of(number: int) -> Identifier:
    """The place of the key with that number."""
    return identifier_of(f"key {number}")


class StillRing:
    """An ideal ring, of which some may be dead without anybody knowing.

    Unless ``view_max`` says otherwise, views hold no more than lists: as the papers' rings, it then
    has lists and fingers only.
    """

    def __init__(
        self, members: int, successors_max: int, ring: int = 0, view_max: int | None = None
    ) -> None:
        rings = [
            RingMember(
                Member(address_of(number, ring), 1),
                now_s=lambda: 0.0,
                successors_max=successors_max,
                view_max=view_max or successors_max,
            )
            for number in range(members)
        ]
        self.circle = settle(rings, successors_max)
        self.rings = {ring.me.address: ring for ring in rings}

    def kill(self, share: float, draws: Draws) -> set[Member]:
        """Each member dies with that probability, at least one stays; the dead are returned."""
        dead = {member for member in self.circle.members if draws.chance(share)}
        if len(dead) == len(self.circle.members):
            dead.pop()
        for member in dead:
            del self.rings[member.address]
        self.circle = Circle(ring.me for ring in self.rings.values())
        return dead

    def look_up(self, start: Member, target: Identifier) -> tuple[Cost, bool]:
        """What it costs ``start`` to find the owner, and whether it finds the right one.

        As ``RingMember.lookup``, but nobody remembers afterwards who did not answer.
        """
        cost = Cost()
        procedure = counted(lookup(target, [start]), cost, asker=start.address)
        try:
            found = perform(procedure, directly(self.rings))
        except ClusterError:
            return cost, False
        return cost, found[0] == self.circle.owner(target)
