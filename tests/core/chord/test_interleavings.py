"""Random walks through the interleavings of five members, shrunk where one goes wrong."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from map_reduce.simulation.explore import Explorer
from map_reduce.simulation.placing import in_ring_order


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 99), max_size=40), st.booleans())
def test_joins_crashes_and_stabilizes_in_any_order(choices: list[int], late: bool) -> None:
    explorer = Explorer(in_ring_order(5), 3, late_replies=late)
    state = explorer.start()
    story = []
    for choice in choices:
        steps = list(explorer.steps(state))
        label, state = steps[choice % len(steps)]
        story.append(label)
        assert explorer.wrong_in(state) == [], story
    assert explorer.heals(state, set()), story


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 99), max_size=40))
def test_wrong_verdicts_in_any_order_heal(choices: list[int]) -> None:
    explorer = Explorer(in_ring_order(5), 3, wrong_drops=True, crashes=False, settled=True)
    state = explorer.start()
    story = []
    for choice in choices:
        steps = list(explorer.steps(state))
        label, state = steps[choice % len(steps)]
        story.append(label)
    assert explorer.heals(state, set()), story
