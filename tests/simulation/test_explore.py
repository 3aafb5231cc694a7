"""Every interleaving of small rings, to the end where that is near."""

from __future__ import annotations

import pytest

from map_reduce.core.chord.member import RingMember
from map_reduce.simulation import mutants
from map_reduce.simulation.explore import explore
from map_reduce.simulation.placing import in_ring_order
from map_reduce.simulation.small_ring import Small, SmallRing


def test_three_members_hold_and_heal_in_every_state() -> None:
    findings = explore(SmallRing(in_ring_order(3), 2), 10_000, healing=True)
    assert findings.wrong == []
    assert findings.exhausted
    assert findings.states > 1_000


def test_so_they_do_with_one_successor() -> None:
    findings = explore(SmallRing(in_ring_order(3), 1), 10_000)
    assert findings.wrong == []
    assert findings.exhausted


def test_four_members_hold_as_far_as_we_look() -> None:
    findings = explore(SmallRing(in_ring_order(4), 2), 3_000)
    assert findings.wrong == []


def test_late_answers_and_wrong_drops_heal() -> None:
    late = SmallRing(in_ring_order(3), 2, late_replies=True)
    assert explore(late, 1_000, healing=True).wrong == []
    dropping = SmallRing(in_ring_order(4), 2, wrong_drops=True, crashes=False, settled=True)
    assert explore(dropping, 500, healing=True).wrong == []


@pytest.mark.parametrize("late_replies", [False, True])
@pytest.mark.parametrize("successors_max", [1, 2])
def test_three_members_that_learn_of_deaths_by_asking(
    successors_max: int, late_replies: bool
) -> None:
    ring = SmallRing(in_ring_order(3), successors_max, by_asking=True, late_replies=late_replies)
    findings = explore(ring, 30_000, healing=True)
    assert findings.wrong == []
    assert findings.exhausted


@pytest.mark.parametrize(
    ("kind", "by_asking", "found"),
    [
        (mutants.Untruncated, False, "R2"),
        (mutants.LoyalToTheDead, False, "does not heal"),
        (mutants.LoyalToTheDead, True, "does not heal"),
        (mutants.BlindAdopter, True, "R1"),
    ],
)
def test_the_exploration_sees_a_guard_missing(
    kind: type[RingMember], by_asking: bool, found: str
) -> None:
    ring = SmallRing(in_ring_order(3), 2, kind=kind, by_asking=by_asking)
    wrong, *_ = explore(ring, 5_000, healing="heal" in found).wrong
    assert found in wrong


def test_the_exploration_finds_the_double_loop_that_only_candidates_heal() -> None:
    ring = SmallRing(
        in_ring_order(4),
        2,
        wrong_drops=True,
        crashes=False,
        settled=True,
        kind=mutants.Uninjected,
    )
    wrong, *_ = explore(ring, 200_000, healing=True).wrong
    assert "does not heal" in wrong


def test_a_story_leads_from_the_start_to_what_is_wrong() -> None:
    ring = SmallRing(in_ring_order(3), 2, kind=mutants.BlindAdopter, by_asking=True)
    told = [line for line in explore(ring, 5_000).wrong if line.split()[0] in "abc"]
    state = ring.start()
    for line in told:
        assert ring.wrong_in(state) == []
        state = after(ring, state, line)
    assert ring.wrong_in(state) != []


def after(ring: SmallRing, state: Small, told: str) -> Small:
    return {ring.in_words(label): found for label, found in ring.steps(state)}[told]


def double_loop(kind: type[RingMember]) -> tuple[SmallRing, Small]:
    """Everybody drops its live successor, which takes the one before for dead: a c a, b d b."""
    ring = SmallRing(in_ring_order(4), 2, wrong_drops=True, crashes=False, settled=True, kind=kind)
    state = ring.start()
    for name in "acbd":
        for step in ("wrongly drops", "goes on, and the notified wrongly doubts its predecessor"):
            state = after(ring, state, f"{name} {step}")
    return ring, state


def test_a_double_loop_heals_by_candidate_injection_and_not_without() -> None:
    ring, state = double_loop(RingMember)
    assert ring.heals(state, set())
    ring, state = double_loop(mutants.Uninjected)
    assert not ring.heals(state, set())
