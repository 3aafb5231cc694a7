from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.chord.successors import goes_round, truncated
from map_reduce.core.identifiers import Address, Member, distance
from map_reduce.simulation.placing import in_ring_order

MEMBERS = [Member(address, 1) for address in in_ring_order(8)]
A, B, C, D, *_ = MEMBERS

members = st.sampled_from(MEMBERS)


def test_a_list_ends_before_its_owner() -> None:
    assert truncated(A, B, (C, D, A, B), 16) == (B, C, D)


def test_a_list_ends_before_an_earlier_incarnation_of_its_owner() -> None:
    assert truncated(A, B, (C, Member(A.address, 0), D), 16) == (B, C)


def test_a_list_is_no_longer_than_allowed() -> None:
    assert truncated(A, B, (C, D), 2) == (B, C)


def test_what_comes_out_of_order_is_left_out() -> None:
    assert truncated(A, C, (B, D), 16) == (C,)
    assert truncated(A, B, (B, C), 16) == (B,)


@given(members, members, st.lists(members), st.integers(1, 6))
def test_any_list_is_ordered_short_and_without_its_owner(
    owner: Member, head: Member, rest: list[Member], length_max: int
) -> None:
    if head == owner:
        return
    chain = truncated(owner, head, rest, length_max)
    ways = [distance(owner.identifier, member.identifier) for member in chain]
    assert ways == sorted(set(ways))
    assert owner not in chain
    assert chain == (head, *rest)[: len(chain)]
    assert len(chain) <= length_max


def test_a_list_goes_round_if_it_names_its_owner_in_order() -> None:
    assert goes_round(A, B, (C, A))
    assert goes_round(A, B, (A,))
    assert not goes_round(A, B, (C, D))
    assert not goes_round(A, C, (B, A))
    assert not goes_round(A, B, ())
    assert goes_round(Member(Address("a", A.address.port), 2), B, (A,))
