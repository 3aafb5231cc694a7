"""What must hold of a ring, as pure functions over the states of its members.

The simulator asks them after every atomic step, the tests at their ends, and status of a real
ring. Each returns what is wrong, in words; nothing returned means that it holds.

Given are the states of all members that are *live and joined*; whoever is not among them is
dead. In words:

R1  Every member has a live member in its successor list.
R2  Every list runs strictly clockwise, names nobody twice, and names its owner only where it is
    alone.
R3  There is exactly one ring: following best (first live) successors, there is exactly one
    cycle, and it goes round the circle once.
R4  Everybody else, by following best successors, comes to the ring.
R5  A *principal*, a member that no list skips, ceases to be one only by dying.
R6  Nobody points at a member that it had no message from, unless a list it took over did.
R7  A ring is created once.

With a perfect failure detector R1 to R7 hold after every step. With a real one, which judges
wrongly at times, R1 to R5 hold *eventually*: once faults stop and all verdicts are true, the ring
becomes ideal (:func:`flaws`) within a bounded number of rounds.

R6 and R7 are about steps, not states: see :func:`unfounded` and the simulator's judge.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from map_reduce.core.chord.member import RingMember
from map_reduce.core.identifiers import RING_BITS, Member, between, distance


@dataclass(frozen=True)
class MemberState:
    """What one live and joined member knows of its place."""

    member: Member
    predecessor: Member | None
    successors: tuple[Member, ...]


Ring = Mapping[Member, MemberState]


def ring_of(states: Collection[MemberState]) -> Ring:
    """By member."""
    return {state.member: state for state in states}


def state_of(member: RingMember) -> MemberState:
    return MemberState(member.me, member.predecessor, member.successors)


def without_live_successor(ring: Ring) -> list[str]:
    """R1."""
    return [
        f"R1: no successor of {state.member} is live: {_named(state.successors)}"
        for state in ring.values()
        if best_successor(ring, state) is None
    ]


def disordered_lists(ring: Ring) -> list[str]:
    """R2."""
    wrong = []
    for state in ring.values():
        if state.successors == (state.member,):
            continue
        chain = [state.member, *state.successors]
        steps = pairwise(chain[1:])
        ordered = all(between(chain[0].identifier, a.identifier, b.identifier) for a, b in steps)
        if not ordered or any(m.identifier == chain[0].identifier for m in chain[1:]):
            wrong.append(f"R2: the list of {state.member} is disordered: {_named(chain[1:])}")
    return wrong


def rings(ring: Ring) -> list[list[Member]]:
    """Every cycle of best successors."""
    found: list[list[Member]] = []
    seen: dict[Member, int] = {}
    for number, start in enumerate(ring):
        path: list[Member] = []
        at: Member | None = start
        while at is not None and at not in seen:
            seen[at] = number
            path.append(at)
            at = best_successor(ring, ring[at])
        if at is not None and seen[at] == number:
            found.append(path[path.index(at) :])
    return found


def not_one_ring(ring: Ring) -> list[str]:
    """R3 and R4: with one cycle and R1, every best-successor walk ends in it."""
    if not ring:
        return []
    cycles = rings(ring)
    if len(cycles) != 1:
        return [f"R3: {len(cycles)} rings instead of one: " + " and ".join(map(_named, cycles))]
    if (windings := _windings(cycles[0])) != 1:
        return [f"R3: the ring goes round {windings} times: {_named(cycles[0])}"]
    return []


def _windings(cycle: Sequence[Member]) -> int:
    """How often a cycle of members goes round the circle of identifiers."""
    if len(cycle) == 1:
        return 1
    steps = zip(cycle, [*cycle[1:], cycle[0]], strict=True)
    return sum(distance(a.identifier, b.identifier) for a, b in steps) >> RING_BITS


def principals(
    ring: Ring, on_their_way: Iterable[tuple[Member, Sequence[Member]]] = ()
) -> frozenset[Member]:
    """Members that no adjacent pair of any member's [self] + list skips.

    ``on_their_way``: lists in answers that have not arrived yet, and at whom. A list that is taken
    over late brings a pair back that its sender has replaced meanwhile.

    One that is alone, with the pair (self, self), skips everybody else: who has joined it and is
    not in its list yet is no principal yet. An earlier incarnation in a list does not stand for
    the member that is at its place now; at a list's end, what lies before it is skipped all the
    same.
    """
    places = {member.identifier: member for member in ring}
    ordered = sorted(places)
    # Each pair skips a run of ``ordered``: where runs begin and end, the count of runs changes.
    changes = [0] * (len(ordered) + 1)
    lists = [(state.member, state.successors) for state in ring.values()]
    for owner, chain in (*lists, *on_their_way):
        # A pair across an earlier life spans more than the two with it. At the end there is none.
        named = [m for m in chain[:-1] if places.get(m.identifier, m) == m]
        named += chain[-1:]
        for a, b in pairwise([owner, *named]):
            first = bisect_right(ordered, a.identifier)
            end = bisect_left(ordered, b.identifier)
            changes[first] += 1
            changes[end] -= 1
            if a.identifier >= b.identifier:  # the run goes on at the beginning
                changes[0] += 1
    skipping = accumulate(changes)
    return frozenset(
        places[identifier] for identifier, runs in zip(ordered, skipping, strict=False) if not runs
    )


def lost_principals(before: frozenset[Member], after: frozenset[Member], ring: Ring) -> list[str]:
    """R5, over one step; ``ring`` is as after it."""
    return [
        f"R5: {member} lives but is no principal any more"
        for member in sorted(before - after)
        if member in ring
    ]


def unfounded(before: MemberState, after: MemberState, answered: Collection[Member]) -> list[str]:
    """R6, over one step of one member: its first successor and its predecessor are as they
    were, or were next in the list, or are among those that it just had a message from."""
    founded = {before.member, *before.successors, *answered}
    wrong = []
    if after.successors and after.successors[0] not in founded:
        wrong.append(f"R6: {after.member} took {after.successors[0]} for its successor unheard")
    if after.predecessor not in {None, before.predecessor, before.member, *answered}:
        wrong.append(f"R6: {after.member} took {after.predecessor} for its predecessor unheard")
    return wrong


def broken(ring: Ring) -> list[str]:
    """R1 to R4 of a state."""
    return without_live_successor(ring) + disordered_lists(ring) + not_one_ring(ring)


def flaws(ring: Ring, successors_max: int) -> list[str]:
    """In what the ring is not ideal: every list and every predecessor is as it should be."""
    clockwise = sorted(ring, key=lambda m: m.identifier)
    length = min(successors_max, len(clockwise) - 1)
    twice = clockwise + clockwise[:length]
    wrong = []
    for i, member in enumerate(clockwise):
        ideal = tuple(twice[i + 1 : i + 1 + length]) or (member,)
        state = ring[member]
        if state.successors != ideal:
            wrong.append(f"{member} has successors {_named(state.successors)}, not {_named(ideal)}")
        if state.predecessor != (expected := clockwise[i - 1]):
            wrong.append(f"{member} has predecessor {state.predecessor}, not {expected}")
    return wrong


def is_ideal(ring: Ring, successors_max: int) -> bool:
    """Whether every list and predecessor is as it should be."""
    return not flaws(ring, successors_max)


def best_successor(ring: Ring, state: MemberState) -> Member | None:
    """The first live entry of the list."""
    return next((member for member in state.successors if member in ring), None)


def _named(members: Collection[Member]) -> str:
    return " ".join(map(str, members)) or "nobody"
