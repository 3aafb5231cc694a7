from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.scheduling.plan import (
    CELLS_MAX,
    PARTITIONS_MAX,
    REDUCE_TASK_BYTES_MAX,
    check_cut,
    group_partitions,
    partitions_for,
    reduce_tasks_max,
)
from map_reduce.errors import ProtocolError

MIB = 1 << 20
GIB = 1 << 30

sizes_drawn = st.lists(st.one_of(st.just(0), st.integers(0, 9), st.integers(0, 10**9)), max_size=40)


def test_a_job_of_one_split_has_one_partition():
    assert partitions_for(1, 64, 100 * GIB) == 1


def test_partitions_outnumber_the_slots_and_grow_with_the_input():
    small, large = partitions_for(10, 4, MIB), partitions_for(1000, 4, 10 * GIB)
    assert 4 * 4 <= small < large <= PARTITIONS_MAX


@given(st.integers(2, 10**6), st.integers(1, 10**5), st.integers(0, 1 << 50))
def test_partitions_are_bounded(splits, slots, input_bytes):
    partitions = partitions_for(splits, slots, input_bytes)
    assert 1 <= partitions <= PARTITIONS_MAX
    assert partitions * splits <= CELLS_MAX


@given(st.integers(0, 1 << 30), st.integers(1, 10**5), st.integers(0, 1 << 50))
def test_what_a_client_cuts_is_let_pass(splits, slots, input_bytes):
    check_cut(splits, partitions_for(splits, slots, input_bytes))


@pytest.mark.parametrize(
    ("splits", "partitions"),
    [(2, 0), (2, -1), (1, PARTITIONS_MAX + 1), (2, 1 << 40), (CELLS_MAX, 2)],
)
def test_what_would_fill_the_memory_of_the_master_is_refused(splits, partitions):
    with pytest.raises(ProtocolError, match="partitions"):
        check_cut(splits, partitions)


def test_few_bytes_are_one_reduce_task_whatever_the_slots():
    assert reduce_tasks_max(1000, 500) == 1


def test_reduce_tasks_are_a_few_for_each_slot():
    assert reduce_tasks_max(GIB, 4) == 8


def test_no_reduce_task_is_huge_only_because_slots_are_few():
    assert reduce_tasks_max(100 * GIB, 1) == 100 * GIB // REDUCE_TASK_BYTES_MAX


@given(sizes_drawn, st.integers(1, 12))
def test_ranges_follow_one_another_and_leave_nothing_out(sizes, tasks_max):
    ranges = group_partitions(sizes, tasks_max)
    if not any(sizes):
        assert ranges == ()
        return
    assert len(ranges) <= tasks_max
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(sizes)
    assert all(end == start for (_, end), (start, _) in pairwise(ranges))
    assert all(any(sizes[first:last]) for first, last in ranges)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=9), st.integers(1, 9))
def test_no_other_cut_has_a_smaller_largest_range(sizes, tasks_max):
    """Against every way to cut; a range with a single partition that has bytes can't be cut."""

    def cost(cuts):
        ends = zip((0, *cuts), (*cuts, len(sizes)), strict=True)
        pieces = [sizes[first:last] for first, last in ends]
        return max((sum(p) for p in pieces if sum(map(bool, p)) > 1), default=0)

    ranges = group_partitions(sizes, tasks_max)
    if not ranges:
        return
    best = min(
        cost(cuts)
        for count in range(min(tasks_max, len(sizes)))
        for cuts in combinations(range(1, len(sizes)), count)
    )
    assert cost([first for first, _ in ranges[1:]]) == best


def test_a_hot_partition_stands_alone_and_the_rest_is_even():
    sizes = [10] * 8 + [1000] + [10] * 8
    assert group_partitions(sizes, 5) == ((0, 4), (4, 8), (8, 9), (9, 13), (13, 17))
