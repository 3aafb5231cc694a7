"""Power-of-d placement: the rule, by brute force, and the balance that it is for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core import names
from map_reduce.core.chord.placement import CHOICES, Placement
from map_reduce.core.identifiers import Address, Member, distance, identifier_of


def members(count):
    return [Member(Address("node", port), 1) for port in range(1, count + 1)]


def owner_by_brute_force(ring, name):
    place = identifier_of(name)
    return min(ring, key=lambda member: distance(place, member.identifier))


@given(
    st.integers(1, 9),
    st.lists(st.integers(0, 3), max_size=9),
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), max_size=30),
)
def test_the_owner_with_the_least_load_is_chosen_and_charged(count, known, blocks):
    ring = members(count)
    loads = dict(zip(ring, known, strict=False))
    placement = Placement(ring, loads)
    for number, (choices, size) in enumerate(blocks):
        candidates = [f"block {number}~{choice}" for choice in range(choices)]
        owners = [owner_by_brute_force(ring, name) for name in candidates]
        least = min(loads.get(owner, 0) for owner in owners)
        chosen = candidates.index(placement.choose(candidates, size))
        assert loads.get(owners[chosen], 0) == least
        assert all(loads.get(owner, 0) > least for owner in owners[:chosen])
        loads[owners[chosen]] = least + size
    assert placement.loads == {member: loads.get(member, 0) for member in ring}


def fullest(ring, choices, blocks=8000):
    """How many times its share the fullest of the owners has."""
    placement = Placement(ring)
    for number in range(blocks):
        placement.choose([f"{number}~{choice}" for choice in range(choices)], 1)
    return max(placement.loads.values()) * len(ring) / blocks


def test_choices_even_out_what_nodes_own():
    ring = members(100)
    one, two, four = (fullest(ring, choices) for choices in (1, 2, CHOICES))
    assert one > 3
    assert two < 2
    assert four < 1.4


def test_a_newcomer_without_load_gets_the_blocks():
    *old, new = ring = members(12)
    placement = Placement(ring, dict.fromkeys(old, 10.0**6))
    chosen = [
        placement.choose([names.input_block("job", number, choice) for choice in range(64)], 1)
        for number in range(50)
    ]
    assert {owner_by_brute_force(ring, name) for name in chosen} == {new}
