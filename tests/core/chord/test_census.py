from __future__ import annotations

from small_ring import SmallRing, settled

from map_reduce.core.chord.census import census
from map_reduce.core.chord.invariants import broken, flaws
from map_reduce.core.identifiers import Address
from map_reduce.core.procedure import perform
from map_reduce.simulation.placing import in_ring_order

ADDRESSES = in_ring_order(12)


def ring_order(addresses):
    return sorted(addresses, key=lambda address: address.identifier)


def test_everybody_is_found_from_anywhere_once_in_ring_order():
    ring = settled(ADDRESSES, successors_max=3)
    for start in ADDRESSES:
        ring.asked.clear()
        found = perform(census([start]), ring.ask)
        assert [place.member.address for place in found.places] == ring_order(ADDRESSES)
        assert len(ring.asked) == len(ADDRESSES)
        assert found.silent == ()
        assert flaws(found.ring(), 3) == []
        assert found.ring() == ring.state()


def test_a_name_that_stands_for_a_node_is_not_counted_beside_it():
    ring = settled(ADDRESSES[:4], successors_max=3)
    name = Address("node", 9000)
    ring.up[name] = ring.up[ADDRESSES[2]]
    found = perform(census([name, ADDRESSES[0]]), ring.ask)
    assert [place.member.address for place in found.places] == ring_order(ADDRESSES[:4])


def test_the_dead_that_are_still_counted_on_are_named_with_the_reason():
    ring = settled(ADDRESSES, successors_max=4)
    dead = ring.up.pop(ADDRESSES[5]).me
    found = perform(census([Address("gone", 1), ADDRESSES[0]]), ring.ask)
    assert [(each.member, each.why) for each in found.silent] == [(dead, f"{dead} does not answer")]
    assert broken(found.ring()) == []
    assert flaws(found.ring(), 4)
    ring.rounds(20)
    after = perform(census([ADDRESSES[0]]), ring.ask)
    assert after.silent == ()
    assert flaws(after.ring(), 4) == []


def test_a_restarted_member_that_others_still_name_is_told_apart():
    ring = settled(ADDRESSES[:4], successors_max=4)
    ring.new(ADDRESSES[2])  # another incarnation, in no ring yet
    found = perform(census([ADDRESSES[0]]), ring.ask)
    assert [each.why for each in found.silent] == ["it has been restarted since"]
    assert len(found.places) == 4
    assert len(found.ring()) == 3


def test_both_of_two_rings_are_found_where_one_remembers_the_other():
    ring = settled(ADDRESSES[:3], successors_max=4)
    other = ring.begin(ADDRESSES[7])
    other.acquaintances.remember_seeds([ADDRESSES[0]])
    found = perform(census([ADDRESSES[7]]), ring.ask)
    assert len(found.places) == 4
    assert any("2 rings" in text for text in broken(found.ring()))


def test_a_cut_off_member_is_named():
    ring = settled(ADDRESSES[:4], successors_max=4)
    for dead in ADDRESSES[1:4]:
        del ring.up[dead]
    ring.rounds(30)
    found = perform(census([ADDRESSES[0]]), ring.ask)
    assert [member.address for member in found.cut_off()] == [ADDRESSES[0]]
    assert found.silent


def test_nobody_answers():
    found = perform(census([ADDRESSES[0]]), SmallRing().ask)
    assert found.places == ()
    assert found.ring() == {}
