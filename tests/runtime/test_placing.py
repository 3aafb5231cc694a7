"""A node spreads the results that it stores, and goes on doing so when the ring changes."""

from __future__ import annotations

from map_reduce.core import names
from map_reduce.core.chord.placement import CHOICES, Placement
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import AttemptId
from map_reduce.runtime.placing import Placing

MEMBERS = [Member(Address("node", port), 1) for port in range(1, 9)]


def results(placing, first, count):
    for task in range(first, first + count):
        attempt = AttemptId("job", "reduce", task, 0)
        yield placing.choose([names.result(attempt, choice) for choice in range(CHOICES)], 10)


def owned(placed):
    owner = Placement(MEMBERS).owner
    return [sum(owner(name) == member for name in placed) for member in MEMBERS]


def test_results_are_spread_over_the_nodes_that_are_known():
    placing = Placing(lambda: MEMBERS)
    placed = [*results(placing, 0, 400)]
    assert max(owned(placed)) < 1.6 * 50


def test_a_joiner_gets_more_until_it_has_as_much():
    known = MEMBERS[:7]
    placing = Placing(lambda: known)
    for _ in results(placing, 0, 200):
        pass
    known = MEMBERS
    placed = [*results(placing, 200, 60)]
    ring = Placement(MEMBERS)
    could = sum(
        MEMBERS[7] in {ring.owner(f"job/result/{task}.1.0{end}") for end in ("", "~1", "~2", "~3")}
        for task in range(200, 260)
    )
    assert 0 < could < 200 / 7, "so many are less than the others have"
    assert owned(placed)[7] == could


def test_without_a_ring_results_have_their_first_names():
    placing = Placing(list)
    assert [*results(placing, 3, 1)] == [names.result(AttemptId("job", "reduce", 3, 0))]
