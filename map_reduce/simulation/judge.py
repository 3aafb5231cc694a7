"""Whether a simulated ring is as it must be.

With accurate detectors, the invariants R1 to R6 of ``core/chord/invariants.py`` are checked after
every atomic step that changed a member's place. What the published proof assumes is granted: a
member may crash or leave only while every other one keeps a live successor, in its list and in
the lists on their way to it, and while a principal remains.

With the production detector nothing is granted, and the ring has to be ideal again after quiet.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from map_reduce.core.chord.invariants import (
    MemberState,
    Ring,
    broken,
    flaws,
    lost_principals,
    principals,
    ring_of,
    state_of,
    unfounded,
)
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import Message, Neighbours, Notify

if TYPE_CHECKING:
    from map_reduce.simulation.process import Process
    from map_reduce.simulation.world import World


class Violation(Exception):
    """The ring is not as it must be; the text says in what."""


class Judge:
    """Sees every step of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._states: dict[Member, MemberState] = {}
        self._principals: frozenset[Member] = frozenset()
        self.checks = 0

    def stepped(self, process: Process, message: Message | None) -> None:
        """A step of ``process`` has ended, to which ``message`` had come.

        Raises:
            Violation: an invariant is broken.
        """
        if not self._world.settings.accurate or not (process.up and process.ring.joined):
            return
        after = state_of(process.ring)
        before = self._states.get(after.member)
        if after == before:
            return
        self._states[after.member] = after
        self.checks += 1
        wrong = broken(self._states)
        now = principals(self._states)
        wrong += lost_principals(self._principals, now, self._states)
        self._principals = now
        if not now:
            wrong.append("R5: no principal is left")
        wrong += unfounded(before or _newcomer(after.member), after, _sources(message, before))
        self._raise(wrong)

    def may_lose(self, process: Process) -> bool:
        """Whether the protocol is to survive that this process ends now."""
        victim = process.ring.me
        if not process.ring.joined:
            return True
        rest = {member: state for member, state in self._states.items() if member != victim}
        lists = [(state.member, state.successors) for state in rest.values()]
        lists += [
            (asker, (view.member, *view.successors))
            for asker, view in self._world.views_in_flight()
        ]
        spared = all(lives_on(owner, chain, rest) for owner, chain in lists if owner != victim)
        return bool(rest) and spared and bool(principals(rest))

    def lost(self, process: Process) -> None:
        """It crashed or left."""
        self._states.pop(process.ring.me, None)
        self._principals = self._principals - {process.ring.me}

    def after_quiet(self) -> list[str]:
        """In what the ring is not ideal, or a verdict not true, over all processes that are up."""
        processes = list(self._world.processes())
        wrong = [f"{p.ring.me} has not joined" for p in processes if not p.ring.joined]
        wrong += [f"{p.ring.me} is cut off" for p in processes if p.ring.cut_off]
        for process in processes:
            place = [process.ring.predecessor, *process.ring.successors]
            wrong += [
                f"{process.ring.me} believes {member} dead, which lives"
                for member in place
                if member and process.ring.believed_dead(member) and self._world.is_up(member)
            ]
        return wrong or flaws(self.ring(), self._world.settings.successors_max)

    def ring(self) -> Ring:
        """The places of all processes that are up and joined."""
        return ring_of([state_of(p.ring) for p in self._world.processes() if p.ring.joined])

    def _raise(self, wrong: list[str]) -> None:
        if wrong:
            raise Violation(f"at {self._world.now_s():.6f} s: " + "; ".join(wrong))


def lives_on(owner: Member, chain: Collection[Member], ring: Ring) -> bool:
    """Whether a list, taken over by ``owner``, would name another live member. A member that is
    alone has the list (owner,) and lives by that."""
    if tuple(chain) == (owner,):
        return True
    return any(member in ring and member != owner for member in chain)


def _newcomer(member: Member) -> MemberState:
    return MemberState(member, None, ())


def _sources(message: Message | None, before: MemberState | None) -> set[Member]:
    """Whom a step may point at after a message: its sender, and, when joining, its list."""
    if isinstance(message, Notify):
        return {message.member}
    if isinstance(message, Neighbours):
        return {message.member, *(message.successors if before is None else ())}
    return set()
