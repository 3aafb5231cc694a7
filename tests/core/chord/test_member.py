from __future__ import annotations

import pytest
from small_ring import SmallRing, settled

from map_reduce.core.chord.invariants import broken, flaws, is_ideal
from map_reduce.core.chord.state import Standing
from map_reduce.core.identifiers import Address
from map_reduce.core.messages import Busy, Done, GetNeighbours, Neighbours, No, Notify, Ping, Pong
from map_reduce.core.procedure import perform
from map_reduce.errors import Refused, Unreachable
from map_reduce.simulation.placing import in_ring_order

ADDRESSES = in_ring_order(6)
A, B, C, D, *_ = ADDRESSES


def test_one_member_is_a_ring_and_owns_everything() -> None:
    member = SmallRing().begin(A)
    assert member.alone
    assert member.predecessor == member.me
    assert all(member.owns(address.identifier) for address in ADDRESSES)


@pytest.mark.parametrize("size", range(2, 7))
def test_joiners_come_to_an_ideal_ring_and_no_step_breaks_it(size: int) -> None:
    ring = SmallRing(successors_max=4)
    ring.begin(A)
    for address in ADDRESSES[1:size]:
        ring.join(address, A)
        assert broken(ring.state()) == []
        ring.rounds(1)
        assert broken(ring.state()) == []
    ring.rounds(size + 2)
    assert flaws(ring.state(), 4) == []


def test_every_place_has_exactly_one_owner() -> None:
    ring = settled(ADDRESSES)
    for address in ADDRESSES:
        owners = [m for m in ring.up.values() if m.owns(address.identifier)]
        assert [m.me.address for m in owners] == [address]


def test_a_joiner_needs_a_member_that_answers() -> None:
    ring = SmallRing()
    with pytest.raises(Unreachable, match="b:"):
        ring.join(A, B)


def test_a_busy_place_to_join_is_refused_after_a_while() -> None:
    ring = settled([A, C])
    stabilize = ring.up[A].stabilize()
    next(stabilize)
    with pytest.raises(Refused, match="busy"):
        ring.join(B, A)
    stabilize.close()
    perform(ring.up[B].join([A]), ring.ask)


def test_a_list_in_the_making_is_not_given_away_but_pings_are_answered() -> None:
    ring = settled([A, B])
    member = ring.up[A]
    stabilize = member.stabilize()
    next(stabilize)
    assert member.handle(GetNeighbours()) == Busy()
    assert member.handle(Ping()) == Pong(member.me)
    assert list(member.stabilize()) == [], "one at a time"
    stabilize.close()
    assert isinstance(member.handle(GetNeighbours()), Neighbours)


def test_who_is_outside_names_nobody_and_refuses_the_rest() -> None:
    member = SmallRing().new(A)
    assert member.handle(GetNeighbours()) == Neighbours(member.me, None, ())
    assert isinstance(member.handle(Notify(SmallRing().new(B).me)), No)


def test_only_the_dead_are_dropped() -> None:
    ring = settled([A, B, C])
    del ring.up[B]
    ring.rounds(4)
    assert ring.up[A].successor.address == B, "silent for two seconds"
    ring.rounds(12)
    assert ring.up[A].successor.address == C
    assert is_ideal(ring.state(), 4)


def test_a_restarted_member_takes_its_place_again_at_once() -> None:
    ring = settled([A, B, C])
    old = ring.up.pop(B).me
    ring.join(B, A)
    ring.rounds(4)
    assert is_ideal(ring.state(), 4)
    assert ring.up[A].believed_dead(old)


def test_a_leaver_is_closed_over_at_once() -> None:
    ring = settled([A, B, C])
    leaver = ring.up[B]
    perform(leaver.leave(), ring.ask)
    assert leaver.standing is Standing.LEFT
    del ring.up[B]
    ring.rounds(3)
    assert is_ideal(ring.state(), 4)


def test_a_member_that_left_is_not_taken_back() -> None:
    ring = settled([A, B])
    perform(ring.up[B].leave(), ring.ask)
    assert isinstance(ring.up[A].handle(Notify(ring.up[B].me)), No)


def test_of_two_either_carries_on_alone() -> None:
    ring = settled([A, B])
    del ring.up[B]
    ring.rounds(16)
    assert ring.up[A].alone
    assert ring.up[A].owns(B.identifier)


def test_of_three_the_last_does_not_carry_on_when_two_vanish_at_once() -> None:
    ring = settled([A, B, C])
    del ring.up[B], ring.up[C]
    ring.rounds(40)
    last = ring.up[A]
    assert last.cut_off
    assert not last.serves
    assert not last.owns(A.identifier)
    with pytest.raises(Unreachable, match="cut off"):
        ring.join(D, A)
    # One of them is started again at its address: now only one has vanished without a word.
    restarted = ring.new(B)
    ring.rounds(4)
    assert last.alone
    perform(restarted.join([A]), ring.ask)
    ring.rounds(4)
    assert is_ideal(ring.state(), 4)


def test_of_three_the_last_carries_on_when_both_left_in_order() -> None:
    ring = settled([A, B, C])
    for address in (B, C):
        perform(ring.up[address].leave(), ring.ask)
        del ring.up[address]
    ring.rounds(3)
    assert ring.up[A].alone


def test_who_was_cut_off_is_back_with_the_first_answer() -> None:
    ring = settled([A, B, C])
    away = {address: ring.up.pop(address) for address in (B, C)}
    ring.rounds(40)
    assert ring.up[A].cut_off
    ring.up |= away
    ring.rounds(10, reunite=True)
    assert is_ideal(ring.state(), 4)
    assert not ring.up[A].cut_off


def test_two_rings_that_remember_each_other_become_one() -> None:
    ring = settled(ADDRESSES[:4])
    halves = ({A, C}, {B, D})
    everybody = dict(ring.up)
    for half in halves:  # each half runs on without the other
        ring.up = {address: m for address, m in everybody.items() if address in half}
        ring.rounds(40)
        assert is_ideal(ring.state(), 4)
    ring.up = everybody
    assert broken(ring.state()), "two rings"
    ring.rounds(20, reunite=True)
    assert flaws(ring.state(), 4) == []


def test_a_joiner_that_died_unseen_leaves_nothing_behind() -> None:
    ring = SmallRing()
    first = ring.begin(A)
    joiner = ring.join(B, A)
    perform(joiner.stabilize(), ring.ask)
    assert first.predecessor == joiner.me
    del ring.up[B]
    ring.rounds(16)
    assert first.owns(B.identifier)
    assert is_ideal(ring.state(), 4)


def test_the_predecessor_is_replaced_by_one_that_is_nearer_or_if_dead() -> None:
    ring = settled([A, C])
    c = ring.up[C]
    a, b = ring.up[A].me, ring.new(B).me
    assert c.handle(Notify(b)) == Done()
    assert c.predecessor == b
    c.handle(Notify(a))
    assert c.predecessor == b, "a is farther away, and b is alive"
    c.detector.left(b)
    c.handle(Notify(a))
    assert c.predecessor == a


def test_a_member_settles() -> None:
    ring = SmallRing()
    ring.begin(A)
    ring.join(B, A)
    ring.rounds(1)
    assert not ring.up[A].settled
    ring.rounds(4)
    assert ring.up[A].settled


def test_every_member_names_all_members_unless_it_cannot_know_them() -> None:
    ring = settled([A, B, C, D])
    for member in ring.up.values():
        named = member.members()
        assert named is not None
        assert named[0] == member.me
        assert {m.address for m in named} == {A, B, C, D}
    joiner = ring.new(Address("outside", 1))
    assert joiner.members() is None
    small = settled([A, B, C, D], view_max=3)
    assert small.up[A].members() is None, "there may be more"


def test_contacts_are_whoever_is_known() -> None:
    ring = settled([A, B, C])
    gone = Address("gone", 1)
    ring.up[A].acquaintances.remember_seeds([gone])
    assert set(ring.up[A].contacts()) == {B, C, gone}
