"""How much is asked of a node at a time: links of any speed, and nodes that come to a halt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.fetching.pace import (
    BYTES_MAX,
    BYTES_MIN,
    QUICK_S,
    SLOW_S,
    TIMEOUT_S,
    UNDER_WAY_MAX,
    Pace,
    timeout_s,
)


def over_a_link(pace, bytes_per_s, nodes, answers, latency_s=0.0):
    """Ask over a link that so many nodes use in the same way; how many bytes each answer had, and
    how many were under way."""
    came = []
    while len(came) < answers:
        size, under_way = pace.bytes_max, pace.under_way_max
        seconds = latency_s + nodes * under_way * size / bytes_per_s
        if seconds <= timeout_s(size):
            pace.took(size, seconds)
            came.append((size, under_way))
        else:
            assert pace.failed(size), f"{bytes_per_s} bytes/s are taken for an unreachable node"
    return came


@given(st.integers(1, 1_000_000_000), st.integers(1, 64))
def test_no_link_seems_dead_over_which_the_smallest_pieces_come_in_time(bytes_per_s, nodes):
    if nodes * BYTES_MIN / bytes_per_s <= TIMEOUT_S:
        over_a_link(Pace(), bytes_per_s, nodes, 30)


@pytest.mark.parametrize(
    ("bytes_per_s", "nodes", "settled"),
    [
        (100_000_000, 2, (BYTES_MAX, UNDER_WAY_MAX)),
        (5_000_000, 1, (BYTES_MAX, UNDER_WAY_MAX)),
        (2_000_000, 1, (BYTES_MAX, 1)),
        (500_000, 1, (256 << 10, 1)),
        (500_000, 2, (128 << 10, 1)),
        (500_000, 9, (BYTES_MIN, 1)),
        (14_000, 2, (BYTES_MIN, 1)),  # as the module's text reckons
        (60_000, 9, (BYTES_MIN, 1)),
    ],
)
def test_what_is_asked_for_settles_at_what_the_link_can_carry(bytes_per_s, nodes, settled):
    assert set(over_a_link(Pace(), bytes_per_s, nodes, 30)[10:]) == {settled}


@pytest.mark.parametrize("latency_s", [0.0, 0.005, 0.1])
def test_a_fast_link_is_used_whole_after_a_few_answers(latency_s):
    came = over_a_link(Pace(), 1e9, 1, 6, latency_s)
    assert came[0] == (BYTES_MIN, 1)
    assert came[-1] == (BYTES_MAX, UNDER_WAY_MAX)


def test_after_a_slow_answer_one_request_is_under_way_at_a_time():
    pace = Pace()
    pace.took(BYTES_MIN, 0.001)
    assert pace.under_way_max == UNDER_WAY_MAX
    pace.took(1000, SLOW_S + 0.1)
    assert pace.under_way_max == 1
    pace.took(1000, QUICK_S)  # neither slow nor quick
    assert pace.under_way_max == 1
    pace.took(1000, 0.001)
    assert pace.under_way_max == UNDER_WAY_MAX
    pace.failed(1000)
    assert pace.under_way_max == 1


def test_answers_that_were_slow_together_count_once():
    pace = Pace()
    pace.took(512 << 10, 0.01)
    for _ in range(3):
        pace.took(BYTES_MAX, 2 * SLOW_S)
    assert pace.bytes_max == BYTES_MAX // 2


def test_quick_answers_to_small_requests_say_nothing_of_large_ones():
    pace = Pace()
    for _ in range(10):
        pace.took(1000, 0.001)
    assert pace.bytes_max == BYTES_MIN


@given(st.integers(1, BYTES_MAX))
def test_a_request_without_an_answer_is_repeated_once_and_smaller(length_bytes):
    pace = Pace()
    assert pace.failed(length_bytes) == (length_bytes > BYTES_MIN)
    assert pace.bytes_max == BYTES_MIN
    assert not pace.failed(pace.bytes_max)


@given(st.lists(st.tuples(st.integers(1, BYTES_MAX), st.floats(0, 20)), max_size=50))
def test_sizes_stay_within_their_bounds(answers):
    pace = Pace()
    for length_bytes, seconds in answers:
        pace.took(length_bytes, seconds)
        assert BYTES_MIN <= pace.bytes_max <= BYTES_MAX
        assert 1 <= pace.under_way_max <= UNDER_WAY_MAX
