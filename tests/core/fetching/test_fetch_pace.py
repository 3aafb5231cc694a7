"""How much is asked of a node at a time: links of any speed, and nodes that come to a halt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.fetching.pace import (
    BYTES_MAX,
    BYTES_MIN,
    BYTES_START,
    SLOW_S,
    TIMEOUT_S,
    Pace,
    timeout_s,
)


def over_a_link(pace, bytes_per_s, requests, answers):
    """Ask over a link that so many requests share; how many bytes each answer had."""
    came = []
    while len(came) < answers:
        size = pace.bytes_max
        seconds = requests * size / bytes_per_s
        if seconds <= timeout_s(size):
            pace.took(size, seconds)
            came.append(size)
        else:
            assert pace.failed(size), f"{bytes_per_s} bytes/s are taken for an unreachable node"
    return came


@given(st.integers(1, 1_000_000_000), st.integers(1, 64))
def test_no_link_seems_dead_over_which_the_smallest_pieces_come_in_time(bytes_per_s, requests):
    if requests * BYTES_MIN / bytes_per_s <= TIMEOUT_S:
        over_a_link(Pace(), bytes_per_s, requests, 30)


@pytest.mark.parametrize(
    ("bytes_per_s", "requests", "most", "least"),
    [
        (100_000_000, 6, BYTES_MAX, BYTES_MAX),
        (500_000, 6, 128 << 10, 128 << 10),  # as the module's text reckons
        (500_000, 27, BYTES_MIN, BYTES_MIN),
        (40_000, 6, BYTES_MIN, BYTES_MIN),
    ],
)
def test_sizes_settle_at_what_the_link_can_carry(bytes_per_s, requests, most, least):
    settled = over_a_link(Pace(), bytes_per_s, requests, 30)[10:]
    assert max(settled) <= most
    assert min(settled) >= least


def test_a_fast_link_is_used_whole_after_a_few_answers():
    assert over_a_link(Pace(), 1e9, 3, 4) == [BYTES_START, 512 << 10, BYTES_MAX, BYTES_MAX]


def test_answers_that_were_slow_together_count_once():
    pace = Pace()
    for _ in range(3):
        pace.took(BYTES_START, 2 * SLOW_S)
    assert pace.bytes_max == BYTES_START // 2


def test_quick_answers_to_small_requests_say_nothing_of_large_ones():
    pace = Pace()
    for _ in range(10):
        pace.took(1000, 0.001)
    assert pace.bytes_max == BYTES_START


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
