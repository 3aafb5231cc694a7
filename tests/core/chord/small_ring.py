"""A ring in one thread for tests: requests are answered at once, time moves when told to."""

from __future__ import annotations

from collections.abc import Iterable

from map_reduce.core.chord.invariants import Ring, ring_of, state_of
from map_reduce.core.chord.member import RingMember
from map_reduce.core.chord.view import MEMBERS_MAX
from map_reduce.core.identifiers import Address, Identifier, Member, distance
from map_reduce.core.messages import Message
from map_reduce.core.procedure import Ask, perform
from map_reduce.errors import NotListening


class SmallRing:
    """Members by address; who is taken out of ``up`` does not answer."""

    def __init__(self, successors_max: int = 4, view_max: int = MEMBERS_MAX) -> None:
        self.view_max = view_max
        self.successors_max = successors_max
        self.now = 0.0
        self.up: dict[Address, RingMember] = {}
        self.asked: list[Ask] = []
        self._incarnation = 0

    def new(self, address: Address, kind: type[RingMember] = RingMember) -> RingMember:
        self._incarnation += 1
        member = kind(
            Member(address, self._incarnation),
            now_s=lambda: self.now,
            successors_max=self.successors_max,
            view_max=self.view_max,
            dead_after_s=5.0,
        )
        self.up[address] = member
        return member

    def ask(self, ask: Ask) -> Message:
        self.asked.append(ask)
        peer = self.up.get(ask.address)
        if peer is None:
            raise NotListening(f"{ask.address} does not answer")
        reply = peer.handle(ask.message)
        assert reply is not None
        return reply

    def begin(self, address: Address) -> RingMember:
        member = self.new(address)
        member.create()
        return member

    def join(self, address: Address, *seeds: Address) -> RingMember:
        member = self.new(address)
        perform(member.join(seeds), self.ask)
        return member

    def rounds(self, number: int = 1, *, reunite: bool = False) -> None:
        """Half a second passes before each, and everybody maintains once."""
        for _ in range(number):
            self.now += 0.5
            for member in list(self.up.values()):
                for step in (member.stabilize, member.probe, member.fix_finger):
                    perform(step(), self.ask)
                if reunite:
                    perform(member.reunite(), self.ask)

    def state(self) -> Ring:
        return ring_of([state_of(member) for member in self.up.values() if member.joined])

    def owner(self, target: Identifier) -> Member:
        """By sorting: the brute-force twin of a lookup."""
        return min((m.me for m in self.up.values()), key=lambda m: distance(target, m.identifier))


def settled(
    addresses: Iterable[Address], successors_max: int = 4, view_max: int = MEMBERS_MAX
) -> SmallRing:
    """A ring of these that has come to rest."""
    ring = SmallRing(successors_max, view_max)
    first, *others = addresses
    ring.begin(first)
    for address in others:
        ring.join(address, first)
        ring.rounds(2)
    ring.rounds(len(others) + 2)
    return ring
