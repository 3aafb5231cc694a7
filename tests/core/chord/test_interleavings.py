"""Random walks through the interleavings of five members, shrunk where one goes wrong."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from map_reduce.simulation.placing import in_ring_order
from map_reduce.simulation.small_ring import SmallRing


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 99), max_size=40), st.booleans())
def test_joins_crashes_and_stabilizes_in_any_order(choices: list[int], late: bool) -> None:
    ring = SmallRing(in_ring_order(5), 3, late_replies=late)
    state = ring.start()
    story = []
    for choice in choices:
        steps = list(ring.steps(state))
        label, state = steps[choice % len(steps)]
        story.append(ring.in_words(label))
        assert ring.wrong_in(state) == [], story
    assert ring.heals(state, set()), story


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 99), max_size=40))
def test_wrong_verdicts_in_any_order_heal(choices: list[int]) -> None:
    ring = SmallRing(in_ring_order(5), 3, wrong_drops=True, crashes=False, settled=True)
    state = ring.start()
    story = []
    for choice in choices:
        steps = list(ring.steps(state))
        label, state = steps[choice % len(steps)]
        story.append(ring.in_words(label))
    assert ring.heals(state, set()), story
