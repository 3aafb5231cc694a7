"""A ring at rest whose members answer at once, and a brute-force idea of where blocks belong."""

from __future__ import annotations

from collections.abc import Iterable

from map_reduce.core.digests import digest_of
from map_reduce.core.identifiers import Address, Identifier, Member, distance, identifier_of
from map_reduce.core.messages import (
    BlockRef,
    CompareArc,
    EndedJob,
    FindSuccessor,
    GetArcs,
    Message,
    No,
    Route,
    WhichMissing,
)
from map_reduce.core.procedure import Ask, Procedure, T, perform
from map_reduce.core.repair.arc import plan_arc
from map_reduce.core.repair.compare import answer_comparison
from map_reduce.core.repair.deletions import Deletions
from map_reduce.core.repair.health import answer_summaries
from map_reduce.core.repair.inventory import Inventory
from map_reduce.core.repair.strays import answer_missing, missing_at, plan_leave, plan_strays
from map_reduce.errors import Unreachable


def block(name: str, content: bytes | None = None) -> BlockRef:
    content = name.encode() if content is None else content
    return BlockRef(name, len(content), digest_of(content))


def members(count: int) -> list[Member]:
    return [Member(Address("node", port), 1) for port in range(1, count + 1)]


class World:
    """Members in ring order, each with its blocks; moves bytes as the plans say.

    Attributes:
        moved: (block, from, to) of every transfer.
        shortest: for each deletion of a surplus copy, how many of its group held the block.
    """

    def __init__(self, ring: Iterable[Member], replicas: int) -> None:
        self.replicas = replicas
        self.ring: list[Member] = sorted(ring, key=lambda member: member.identifier)
        self.held: dict[Member, set[BlockRef]] = {member: set() for member in self.ring}
        self.deletions = {member: Deletions(lambda: 0.0) for member in self.ring}
        self.surplus: dict[Member, set[str]] = {member: set() for member in self.ring}
        self.dead: set[Member] = set()
        self.short_lists: dict[Member, int] = {}
        self.moved: list[tuple[BlockRef, Member, Member]] = []
        self.shortest: list[int] = []
        self.asked = 0
        self._inventories: dict[Member, tuple[set[BlockRef], Inventory]] = {}

    # -------------------------------------------------------------- the ring, by brute force

    def behind(self, member: Member) -> tuple[Member, ...]:
        at = self.ring.index(member)
        line = (*self.ring[at + 1 :], *self.ring[:at]) or (member,)
        return line[: self.short_lists.get(member, 16)]

    def predecessor(self, member: Member) -> Member:
        return self.ring[self.ring.index(member) - 1]

    def owner(self, place: Identifier) -> Member:
        return min(self.ring, key=lambda member: distance(place, member.identifier))

    def group(self, ref: BlockRef) -> set[Member]:
        place = identifier_of(ref.name)
        by_distance = sorted(self.ring, key=lambda m: distance(place, m.identifier))
        return set(by_distance[: self.replicas])

    def inventory(self, member: Member) -> Inventory:
        held, made = self._inventories.get(member, (set(), Inventory(())))
        if held != self.held[member]:
            held, made = set(self.held[member]), Inventory(self.held[member])
            self._inventories[member] = held, made
        return made

    def everywhere(self) -> set[BlockRef]:
        return set().union(*self.held.values())

    def missing(self) -> int:
        """(block, member) pairs that a whole ring would have more."""
        return sum(len(self.group(ref) - self.holders(ref)) for ref in self.everywhere())

    def holders(self, ref: BlockRef) -> set[Member]:
        return {member for member, refs in self.held.items() if ref in refs}

    # -------------------------------------------------------------- messages

    def ask(self, ask: Ask) -> Message:
        self.asked += 1
        peer = next(m for m in self.held if m.address == ask.address)
        if peer in self.dead or peer not in self.ring:
            raise Unreachable(f"{peer} does not answer")
        match ask.message:
            case CompareArc():
                return answer_comparison(self.inventory(peer), ask.message)
            case GetArcs():
                return answer_summaries(self.inventory(peer), ask.message)
            case WhichMissing():
                surplus, inventory = self.surplus[peer], self.inventory(peer)
                return answer_missing(inventory, self.deletions[peer], surplus, ask.message)
            case FindSuccessor(target):
                owner = self.owner(Identifier(int.from_bytes(target, "big")))
                if owner == peer:
                    return Route(True, (peer, *(m for m in self.behind(peer) if m != peer)))
                return Route(False, (owner,))
        return No("what is that?")

    def perform(self, procedure: Procedure[T]) -> T:
        return perform(procedure, self.ask)

    # -------------------------------------------------------------- what members do

    def copy(self, ref: BlockRef, source: Member, target: Member) -> None:
        assert ref in self.held[source], "sends what it has not"
        assert ref not in self.held[target], "a block travels to who has it"
        self.held[target].add(ref)
        self.moved.append((ref, source, target))

    def end_job(self, member: Member, ended: EndedJob) -> None:
        self.deletions[member].note(ended)
        self.held[member] = {
            ref for ref in self.held[member] if self.deletions[member].of(ref.name) is None
        }

    def mend_arc(self, member: Member) -> bool:
        """The first rule; whether there was anything to do."""
        plan = self.perform(
            plan_arc(
                member,
                self.predecessor(member),
                self.behind(member),
                self.inventory(member),
                self.deletions[member],
                replicas=self.replicas,
            )
        )
        for peer, ended in plan.tell:
            self.end_job(peer, ended)
        for ref, sources in plan.fetches:
            self.copy(ref, sources[0], member)
        for ref, peer in plan.sends:
            self.offer(ref, member, peer)
        return bool(plan.tell or plan.fetches or plan.sends or plan.problems)

    def offer(self, ref: BlockRef, member: Member, peer: Member) -> None:
        missing = self.perform(missing_at(peer, [ref]))
        for ended in missing.ended:
            self.end_job(member, ended)
        if ref in missing.refs and ref in self.held[member]:
            self.copy(ref, member, peer)

    def settle_strays(self, member: Member) -> bool:
        """The second rule; whether there was anything to do."""
        plan = self.perform(
            plan_strays(
                member,
                self.inventory(member),
                self.deletions[member],
                self.surplus[member],
                replicas=self.replicas,
            )
        )
        for ended in plan.ended:
            self.end_job(member, ended)
        for ref in plan.discards:
            self.shortest.append(len(self.holders(ref) & self.group(ref) - {member}))
            self.held[member].discard(ref)
        self.surplus[member].clear()
        for ref, peer in plan.sends:
            self.offer(ref, member, peer)
        return bool(plan.ended or plan.discards or plan.sends or plan.problems)

    def leave(self, member: Member) -> None:
        """The third rule, and then be gone."""
        plan = self.perform(plan_leave(member, self.inventory(member), replicas=self.replicas))
        for ended in plan.ended:
            self.end_job(member, ended)
        for ref, peer in plan.sends:
            self.offer(ref, member, peer)
        self.remove(member)

    def remove(self, member: Member) -> None:
        self.ring.remove(member)
        del self.held[member]

    def add(self, member: Member) -> None:
        self.ring = sorted([*self.ring, member], key=lambda m: m.identifier)
        self.held[member] = set()
        self.deletions[member] = Deletions(lambda: 0.0)
        self.surplus[member] = set()

    def repair(self, order: Iterable[Member] | None = None, rounds_max: int = 6) -> int:
        """Rounds until nobody has anything to do; each member in turn does both."""
        turn = list(order) if order is not None else list(self.ring)
        for number in range(rounds_max):
            busy = [
                done
                for member in turn
                for done in (self.mend_arc(member), self.settle_strays(member))
            ]
            if not any(busy):
                return number
        raise AssertionError(f"still something to do after {rounds_max} rounds")
