from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.chord.fingers import Fingers
from map_reduce.core.identifiers import RING_SIZE, Address, Identifier, Member, distance

CROWD = [Member(Address("peer", port), 1) for port in range(64)]


def owner_of(target: Identifier, members: list[Member]) -> Member:
    return min(members, key=lambda m: distance(target, m.identifier))


@given(st.sets(st.sampled_from(CROWD), min_size=2), st.integers(1, 4))
def test_a_round_finds_every_finger_behind_the_list(chosen: set[Member], listed: int) -> None:
    me, *_ = members = sorted(chosen)
    others = sorted(members, key=lambda m: distance(me.identifier, m.identifier))[1:]
    covered = others[:listed][-1].identifier
    fingers = Fingers(me)
    lookups = 0
    while (start := fingers.next_start(covered)) is not None:
        fingers.found(start, owner_of(start, members))
        lookups += 1
    reach = distance(me.identifier, covered)
    expected = {
        owner_of(Identifier((me.identifier + 2**i) % RING_SIZE), members)
        for i in range(160)
        if 2**i > reach
    }
    assert set(fingers.members()) == expected - {me}
    assert lookups <= len(expected) + 1


def test_a_start_that_was_not_found_is_skipped() -> None:
    fingers = Fingers(CROWD[0])
    covered = Identifier((CROWD[0].identifier + 2**150) % RING_SIZE)
    first = fingers.next_start(covered)
    assert first is not None
    fingers.skip(first)
    assert fingers.next_start(covered) != first


def test_the_forgotten_are_gone() -> None:
    fingers = Fingers(CROWD[0])
    start = fingers.next_start(Identifier((CROWD[0].identifier + 1) % RING_SIZE))
    assert start is not None
    fingers.found(start, CROWD[1])
    assert fingers.members() == (CROWD[1],)
    fingers.forget(CROWD[1])
    assert fingers.members() == ()
