from __future__ import annotations

import pytest
from small_ring import SmallRing, settled

from map_reduce.core.chord.replication import majority, replica_group
from map_reduce.core.chord.survey import survey
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.procedure import perform
from map_reduce.errors import Unreachable
from map_reduce.simulation.placing import in_ring_order

ADDRESSES = in_ring_order(12)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 12])
@pytest.mark.parametrize("start", [0, -1])
def test_a_survey_names_everybody_clockwise_from_the_start(size: int, start: int) -> None:
    ring = settled(ADDRESSES[:size], successors_max=4)
    first = start % size
    found = perform(survey([ADDRESSES[:size][start]]), ring.ask)
    expected = ADDRESSES[:size][first:] + ADDRESSES[:size][:first]
    assert tuple(member.address for member in found) == expected


def test_a_ring_no_larger_than_the_lists_is_surveyed_by_two_requests() -> None:
    ring = settled(ADDRESSES[:5], successors_max=4)
    ring.asked.clear()
    perform(survey([ADDRESSES[0]]), ring.ask)
    assert len(ring.asked) == 2


def test_a_survey_goes_on_past_the_dead() -> None:
    ring = settled(ADDRESSES, successors_max=4)
    for dead in (3, 4, 8):
        del ring.up[ADDRESSES[dead]]
    found = perform(survey([Address("gone", 1), ADDRESSES[0]]), ring.ask)
    assert {member.address for member in found} >= set(ring.up)


def test_a_survey_that_nobody_answers_says_so() -> None:
    ring = SmallRing()
    ring.new(ADDRESSES[0])
    with pytest.raises(Unreachable, match=r"gone:1: gone:1 does not answer.*is no member"):
        perform(survey([Address("gone", 1), ADDRESSES[0]]), ring.ask)


def test_a_replica_group_is_the_owner_and_the_next_distinct() -> None:
    a, b, c, d = (Member(address, 1) for address in ADDRESSES[:4])
    assert replica_group((a, b, c, d), 3) == (a, b, c)
    assert replica_group((a, b), 5) == (a, b)
    assert replica_group((a, b, Member(a.address, 0), c), 3) == (a, b, c)


def test_a_majority_is_more_than_half() -> None:
    assert [majority(n) for n in range(1, 7)] == [1, 2, 2, 3, 3, 4]
