from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_ring import SmallRing, settled

from map_reduce.core.chord.lookup import ASKS_MAX, lookup
from map_reduce.core.identifiers import Address, Identifier, Member, identifier_of
from map_reduce.core.messages import Message, No, Route
from map_reduce.core.procedure import Ask, perform
from map_reduce.errors import Unreachable
from map_reduce.simulation.placing import in_ring_order

ADDRESSES = [Address("node", port) for port in range(24)]


@pytest.fixture(scope="module")
def ring() -> SmallRing:
    ring = settled(ADDRESSES, successors_max=4)
    ring.rounds(20)  # for the fingers
    return ring


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_every_member_and_client_finds_the_owner_that_sorting_finds(size: int) -> None:
    ring = settled(ADDRESSES[:size])
    for key in range(40):
        target = identifier_of(f"key {key}")
        for address, member in ring.up.items():
            assert perform(lookup(target, [address]), ring.ask)[0] == ring.owner(target)
            assert perform(member.lookup(target), ring.ask)[0] == ring.owner(target)


@pytest.mark.parametrize("address", ADDRESSES[:5])
def test_a_member_owns_its_own_place_and_not_the_one_behind(address: Address) -> None:
    ring = settled(ADDRESSES[:5])
    here = address.identifier
    behind = Identifier(here + 1)
    assert perform(lookup(here, [ADDRESSES[0]]), ring.ask)[0].address == address
    assert perform(lookup(behind, [ADDRESSES[0]]), ring.ask)[0] == ring.owner(behind)
    assert perform(lookup(behind, [ADDRESSES[0]]), ring.ask)[0].address != address


def test_the_owner_is_followed_by_its_successors(ring: SmallRing) -> None:
    owner, *rest = perform(lookup(identifier_of("some key"), [ADDRESSES[0]]), ring.ask)
    assert tuple(rest) == ring.up[owner.address].successors


def test_with_the_view_the_first_asked_names_the_owner(ring: SmallRing) -> None:
    for key in range(100):
        ring.asked.clear()
        perform(lookup(identifier_of(f"key {key}"), [ADDRESSES[key % 24]]), ring.ask)
        assert len(ring.asked) <= 2
    assert not any(member.fingers.members() for member in ring.up.values())


def test_in_a_ring_larger_than_the_view_fingers_keep_lookups_short() -> None:
    ring = settled(ADDRESSES, successors_max=4, view_max=5)
    ring.rounds(20)  # for the fingers
    asks = []
    for key in range(100):
        ring.asked.clear()
        perform(lookup(identifier_of(f"key {key}"), [ADDRESSES[key % 24]]), ring.ask)
        asks.append(len(ring.asked))
    assert max(asks) <= 6, "the first, half of log2 24, and the owner's confirmation"
    assert any(member.fingers.members() for member in ring.up.values())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_lookups_go_round_the_dead(data: st.DataObject) -> None:
    ring = settled(ADDRESSES[:12], successors_max=6)
    dead = data.draw(st.sets(st.sampled_from(ADDRESSES[:12]), max_size=5))
    for address in dead:
        del ring.up[address]
    key = identifier_of(data.draw(st.text()))
    start = data.draw(st.sampled_from(sorted(ring.up)))
    assert perform(lookup(key, [start]), ring.ask)[0] == ring.owner(key)


def test_a_wrongly_suspected_owner_keeps_its_keys() -> None:
    ring = settled(in_ring_order(4))
    a, b, c, d = ring.up.values()
    for member in (a, c, d):
        member.failed(b.me)
    assert perform(lookup(b.me.identifier, [d.me.address]), ring.ask)[0] == b.me


def test_an_owner_that_few_know_is_found_through_the_one_behind_it() -> None:
    """b has joined between a and c and told c; a has not heard of it."""
    ring = settled(in_ring_order(4)[::2])
    a, c = ring.up.values()
    b = ring.join(in_ring_order(4)[1], a.me.address)
    perform(b.stabilize(), ring.ask)
    assert a.successor == c.me
    assert perform(lookup(b.me.identifier, [a.me.address]), ring.ask)[0] == b.me


def test_no_answer_names_who_was_asked_and_why() -> None:
    ring = SmallRing()
    outside = ring.new(Address("outside", 1))
    gone = Address("gone", 2)
    with pytest.raises(Unreachable) as raised:
        perform(lookup(Identifier(7), [gone, outside.me.address]), ring.ask)
    text = str(raised.value)
    assert "gone:2: gone:2 does not answer" in text
    assert "outside:1: refused: outside:1 is not in the ring" in text


def test_nobody_to_ask_is_said_plainly() -> None:
    with pytest.raises(Unreachable, match="no address to ask"):
        perform(lookup(Identifier(7), []), SmallRing().ask)


def test_a_lookup_among_liars_ends() -> None:
    """Each answer names new members, none of which owns anything."""
    asked: list[Address] = []

    def ask(ask: Ask) -> Message:
        asked.append(ask.address)
        return Route(False, tuple(Member(Address(f"x{len(asked)}", p), 1) for p in range(4)))

    with suppress(Unreachable):
        perform(lookup(Identifier(7), [Address("first", 1)]), ask)
    assert len(asked) <= ASKS_MAX
    assert len(set(asked)) == len(asked), "nobody is asked twice"


def test_a_reply_that_is_no_route_counts_as_a_failure() -> None:
    with pytest.raises(Unreachable, match="refused: not today"):
        perform(lookup(Identifier(7), [Address("a", 1)]), lambda _: No("not today"))
