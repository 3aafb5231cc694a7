"""Whether a simulated ring is as it must be.

With accurate detectors, the invariants R1 to R6 of ``core/chord/invariants.py`` are checked after
every atomic step that changed a member's place; in a ring of more than ``SMALL_MEMBERS``, those
that need a look at all members (R1, R3, R4, R5) at intervals. What the published proof assumes is
granted: a member may crash or leave only while every other one keeps a live successor, in its
list and in the lists on their way to it, and while a principal remains.

With the production detector nothing is granted, and the ring has to be ideal again after quiet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from map_reduce.core.chord.fingers import Fingers
from map_reduce.core.chord.invariants import (
    MemberState,
    Ring,
    broken,
    disordered_lists,
    flaws,
    lost_principals,
    principals,
    ring_of,
    rings,
    state_of,
    unfounded,
)
from map_reduce.core.chord.member import RingMember
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import Message, Neighbours, Notify
from map_reduce.simulation.settled import Circle, fill, has_fingers

if TYPE_CHECKING:
    from map_reduce.simulation.process import Process
    from map_reduce.simulation.world import World


SMALL_MEMBERS = 32
"""Rings up to this size are checked whole after every change, larger ones after every so many
changes as there are members in each such number."""


FLAWS_TOLD = 8
"""Of a ring that is not ideal."""

GRACE_ROUNDS = 3
"""Rounds after its own pause in which a member judges nobody (F1)."""


class FalseDeath(NamedTuple):
    """A member that lives was judged to be dead."""

    at_us: int
    by: Member
    member: Member
    stopped: bool  # its process stood still then, or shortly before


class Violation(Exception):
    """The ring is not as it must be; the text says in what."""


class Judge:
    """Sees every step of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._states: dict[Member, MemberState] = {}
        self._principals: frozenset[Member] = frozenset()
        self._changes = 0
        self.checks = 0  # of the whole ring
        self.false_deaths: list[FalseDeath] = []
        self.grace_checked = True

    def settled(self, rings: Collection[RingMember]) -> None:
        """These members are in the ring without having joined it."""
        if self._world.settings.accurate:
            self._states.update((ring.me, state_of(ring)) for ring in rings)
            self._raise(self._wrong_with_the_whole())

    def stepped(self, process: Process, message: Message | None) -> None:
        """A step of ``process`` has ended, to which ``message`` had come.

        Raises:
            Violation: an invariant is broken.
        """
        ring = process.ring
        if not self._world.settings.accurate or not (process.up and ring.joined):
            return
        before = self._states.get(ring.me)
        if before is not None and (
            before.successors == ring.successors and before.predecessor == ring.predecessor
        ):
            return
        after = state_of(ring)
        self._states[after.member] = after
        wrong = disordered_lists({after.member: after})
        wrong += unfounded(before or _newcomer(after.member), after, _sources(message, before))
        self._changes += 1
        if self._changes % max(1, len(self._states) // SMALL_MEMBERS) == 0:
            wrong += self._wrong_with_the_whole()
        self._raise(wrong)

    def _wrong_with_the_whole(self) -> list[str]:
        self.checks += 1
        now = principals(self._states)
        wrong = broken(self._states) + lost_principals(self._principals, now, self._states)
        self._principals = principals(self._states, self._lists_on_their_way())
        if not now:
            wrong.append("R5: no principal is left")
        return wrong

    def view_is(self, process: Process) -> None:
        """A round of the process begins: what it believes of each member, in a small ring.

        Raises:
            Violation: F2, something that has been refuted is believed again.
        """
        if len(self._world.addresses) > SMALL_MEMBERS:
            return
        for address in self._world.addresses:
            told = process.ring.acquaintances.members.sighting(address, 0.0)
            if told is None:
                process.believed.pop(address, None)
                continue
            rank = (told.member.incarnation, told.version, told.gone)
            if rank < process.believed.get(address, rank):
                self._raise([f"F2: {process.ring.me} believes again {told}, which was refuted"])
            process.believed[address] = rank

    def judged_dead(self, process: Process, member: Member) -> None:
        """The detector of the process has judged that the member is dead.

        Raises:
            Violation: F1, it may not judge so soon after its own pause.
        """
        rounds = process.rounds - process.rounds_at_pause
        if self.grace_checked and rounds <= GRACE_ROUNDS:
            self._raise([f"F1: {process.ring.me} judges {member} {rounds} rounds after a pause"])
        if self._world.is_up(member):
            stopped = self._world.stopped_lately(member)
            self.false_deaths.append(
                FalseDeath(self._world.now_us, process.ring.me, member, stopped)
            )

    def may_lose(self, process: Process) -> bool:
        """Whether the protocol is to survive that this process ends now."""
        victim = process.ring.me
        if not process.ring.joined:
            return True
        rest = {member: state for member, state in self._states.items() if member != victim}
        lists = [(state.member, state.successors) for state in rest.values()]
        lists += self._lists_on_their_way()
        spared = all(lives_on(owner, chain, rest) for owner, chain in lists if owner != victim)
        return bool(rest) and spared and bool(principals(rest))

    def _lists_on_their_way(self) -> list[tuple[Member, tuple[Member, ...]]]:
        """What askers would have for a list, if they took over the answers that are to come."""
        length_max = self._world.settings.successors_max
        return [
            (asker, (view.member, *view.successors)[:length_max])
            for asker, view in self._world.views_in_flight()
        ]

    def lost(self, process: Process) -> None:
        """It crashed or left."""
        self._states.pop(process.ring.me, None)
        self._principals = self._principals - {process.ring.me}

    def after_quiet(self) -> list[str]:
        """In what the ring is not ideal, or a verdict not true, over all processes that are up:
        the first few things."""
        processes = list(self._world.processes())
        circle = self.circle()
        wrong = list(islice(self._untrue(processes, circle), FLAWS_TOLD))
        return wrong or flaws(self.ring(), self._world.settings.successors_max)[:FLAWS_TOLD]

    def _untrue(self, processes: Collection[Process], circle: Circle) -> Iterator[str]:
        """What processes believe that is not so, one after the other."""
        yield from (f"{p.ring.me} has not joined" for p in processes if not p.ring.joined)
        yield from (f"{p.ring.me} is cut off" for p in processes if p.ring.cut_off)
        for process in processes:
            ring = process.ring
            for member in (ring.predecessor, *ring.successors):
                if member and ring.believed_dead(member) and self._world.is_up(member):
                    yield f"{ring.me} believes {member} dead, which lives"
            yield from _wrong_with_the_view(ring, circle)

    def wrong_fingers(self) -> list[str]:
        """Whose fingers are not right, in an ideal ring: the first few."""
        circle = self.circle()
        wrong = (
            f"the fingers of {process.ring.me} are not right"
            for process in self._world.processes()
            if has_fingers(process.ring, self._world.settings.successors_max)
            and not _fingers_are_right(process.ring, circle)
        )
        return list(islice(wrong, FLAWS_TOLD))

    def is_content(self) -> bool:
        """Whether all is as it must be after quiet."""
        return not self.after_quiet()

    def ideal_among_serving(self) -> bool:
        """Whether those that serve are one ideal ring, whoever else is up or cut off."""
        serving = [state_of(p.ring) for p in self._world.processes() if p.ring.serves]
        return not flaws(ring_of(serving), self._world.settings.successors_max)

    def has_right_neighbours(self) -> bool:
        """Whether every member has the right predecessor and first successor."""
        return self.has_closed_over(None)

    def has_closed_over(self, member: Member | None) -> bool:
        """Whether all others have the right neighbours without it."""
        near = [
            MemberState(place.member, place.predecessor, place.successors[:1])
            for place in self.ring().values()
            if place.member != member
        ]
        return not flaws(ring_of(near), 1)

    def number_of_rings(self) -> int:
        """Cycles of best successors."""
        return len(rings(self.ring()))

    def circle(self) -> Circle:
        """All processes that are up and joined, in ring order."""
        return Circle(p.ring.me for p in self._world.processes() if p.ring.joined)

    def ring(self) -> Ring:
        """The places of all processes that are up and joined."""
        return ring_of([state_of(p.ring) for p in self._world.processes() if p.ring.joined])

    def _raise(self, wrong: list[str]) -> None:
        if wrong:
            raise Violation(f"at {self._world.now_s():.6f} s: " + "; ".join(wrong))


def _wrong_with_the_view(ring: RingMember, circle: Circle) -> list[str]:
    """Whom it misses, and whom it names though it is gone. (Not of views that are full.)"""
    view = ring.acquaintances.members
    if view.is_full or ring.alone or view.living() == circle.behind(ring.me):
        return []
    named = {ring.me, *view.living()}
    there = set(circle.members)
    missed, gone = sorted(there - named), sorted(named - there)
    wrong = [f"the view of {ring.me} misses {_hosts(missed)}"] if missed else []
    return wrong + ([f"the view of {ring.me} has {_hosts(gone)}"] if gone else [])


def _fingers_are_right(ring: RingMember, circle: Circle) -> bool:
    ideal = Fingers(ring.me)
    fill(ideal, ring.successors[-1], circle)
    return sorted(ring.fingers.members()) == sorted(ideal.members())


def lives_on(owner: Member, chain: Collection[Member], ring: Ring) -> bool:
    """Whether a list, taken over by ``owner``, would name another live member. A member that is
    alone has the list (owner,) and lives by that."""
    if tuple(chain) == (owner,):
        return True
    return any(member in ring and member != owner for member in chain)


def _hosts(members: Collection[Member]) -> str:
    return " ".join(member.address.host for member in members)


def _newcomer(member: Member) -> MemberState:
    return MemberState(member, None, ())


def _sources(message: Message | None, before: MemberState | None) -> set[Member]:
    """Whom a step may point at after a message: its sender, and, when joining, its list."""
    if isinstance(message, Notify):
        return {message.member}
    if isinstance(message, Neighbours):
        return {message.member, *(message.successors if before is None else ())}
    return set()
