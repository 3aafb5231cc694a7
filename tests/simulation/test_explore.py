"""Every interleaving of small rings, to the end where that is near."""

from __future__ import annotations

import pytest

from map_reduce.core.chord.member import RingMember
from map_reduce.simulation import mutants
from map_reduce.simulation.explore import Explorer, Small
from map_reduce.simulation.placing import in_ring_order


def test_three_members_hold_and_heal_in_every_state() -> None:
    findings = Explorer(in_ring_order(3), 2).explore(10_000, healing=True)
    assert findings.wrong == []
    assert findings.exhausted
    assert findings.states > 1_000


def test_so_they_do_with_one_successor() -> None:
    findings = Explorer(in_ring_order(3), 1).explore(10_000)
    assert findings.wrong == []
    assert findings.exhausted


def test_four_members_hold_as_far_as_we_look() -> None:
    findings = Explorer(in_ring_order(4), 2).explore(3_000)
    assert findings.wrong == []


def test_late_answers_and_wrong_drops_heal() -> None:
    late = Explorer(in_ring_order(3), 2, late_replies=True)
    assert late.explore(1_000, healing=True).wrong == []
    dropping = Explorer(in_ring_order(4), 2, wrong_drops=True, crashes=False, settled=True)
    assert dropping.explore(500, healing=True).wrong == []


@pytest.mark.parametrize("kind", [mutants.Untruncated, mutants.LoyalToTheDead])
def test_the_exploration_sees_a_guard_missing(kind: type[RingMember]) -> None:
    assert Explorer(in_ring_order(3), 2, kind=kind).explore(5_000, healing=True).wrong != []


def double_loop(kind: type[RingMember]) -> tuple[Explorer, Small]:
    """Everybody drops its live successor, which takes the one before for dead: a c a, b d b."""
    explorer = Explorer(
        in_ring_order(4), 2, wrong_drops=True, crashes=False, settled=True, kind=kind
    )
    state = explorer.start()
    for name in "acbd":
        for step in ("wrongly drops", "goes on, and the notified wrongly doubts its predecessor"):
            state = dict(explorer.steps(state))[f"{name} {step}"]
    return explorer, state


def test_a_double_loop_heals_by_candidate_injection_and_not_without() -> None:
    explorer, state = double_loop(RingMember)
    assert explorer.heals(state, set())
    explorer, state = double_loop(mutants.Uninjected)
    assert not explorer.heals(state, set())
