"""The shortcut for sums gives what the ordinary way gives, or is not taken."""

from __future__ import annotations

import enum
import functools
from contextlib import closing
from decimal import Decimal
from fractions import Fraction

import pytest
from execution_runs import attempt, folder, items_split, reduce_work, results_of
from execution_runs import run_job as run_parts
from hypothesis import example, given
from hypothesis import strategies as st

from map_reduce.core.messages import Counts, MapWork, ReduceOutput, Tally
from map_reduce.execution import summing
from map_reduce.execution.functions import LoadedFunctions
from map_reduce.execution.gauge import Unbounded
from map_reduce.execution.results import ResultWriter
from map_reduce.execution.segments import encoded
from map_reduce.execution.spill import decoded_whole
from map_reduce.execution.summing import SumReduceSide, adds_up
from map_reduce.execution.tracker import Tracker


def run_job(splits, map, reduce, combine, partitions):
    functions = LoadedFunctions(map, reduce, combine)
    parts = run_parts(functions, [items_split(split) for split in splits], partitions)
    return dict(pair for part in parts for pair in part)


def total(key, values):
    return sum(values)


def documented(word: str, counts: list[int]) -> int:
    """How often the word stands there."""
    return sum(counts)


def total_in_another_way(key, values):
    result = 0
    for value in values:
        result = result + value
    return result


def identity(number, pairs):
    return pairs


def shadowed():
    scope = {"sum": lambda values: -1}
    exec("def total(key, values): return sum(values)", scope)
    return scope["total"]


def nested():
    def total(key, values):
        return sum(values)

    return total


def enclosing():
    sum = max

    def total(key, values):
        return sum(values)

    return total


offset = 1


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (total, True),
        (documented, True),
        (lambda k, v: sum(v), True),
        (total_in_another_way, False),
        (lambda k, v: sum(v) + 1, False),
        (lambda k, v: sum(k), False),
        (lambda v, k: sum(k), True),
        (lambda k, v: sum(v, offset), False),
        (lambda k, v: max(v), False),
        (lambda k, *v: sum(v), False),
        (lambda k, v, w=3: sum(v), False),
        (functools.partial(total), False),
        (shadowed(), False),
        (nested(), True),
        (enclosing(), False),
        (max, False),
    ],
)
def test_what_is_a_sum(function, expected):
    assert adds_up(LoadedFunctions(identity, function, None)) is expected
    assert adds_up(LoadedFunctions(identity, max, function)) is expected
    assert adds_up(LoadedFunctions(identity, total, max)) is False


class Level(enum.IntEnum):
    ONE = 1


numbers = st.one_of(
    st.integers(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9),
    st.sampled_from([Level.ONE, 0.1, 1e16]),
)
keys = st.sampled_from(["a", "b", 1, 1.0, True, None, float("nan"), (1, None), b"a"])


@given(
    splits=st.lists(st.lists(st.lists(st.tuples(keys, numbers), max_size=6)), max_size=4),
    partitions=st.integers(1, 3),
    combines=st.booleans(),
)
def test_it_equals_its_ordinary_twin(splits, partitions, combines):
    exact = [  # what is added in parts must not depend on the parts, as sums of floats do
        [[(k, v) for k, v in pairs if not combines or type(v) is not float] for pairs in split]
        for split in splits
    ]
    got = run_job(exact, identity, total, total if combines else None, partitions)
    twin = total_in_another_way if combines else (lambda k, v: (sum(v),)[0])
    expected = run_job(exact, identity, twin, twin if combines else None, partitions)
    assert sorted(map(repr, got.items())) == sorted(map(repr, expected.items()))


edges = st.sampled_from([1, -1, 2**62, -(2**62), 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**65])
any_numbers = st.one_of(
    edges,
    st.booleans(),
    st.sampled_from([0.1, 0.2, -0.3, 1e16, -1e16, 1e300, -0.0, Fraction(1, 3), Fraction(-7)]),
    st.sampled_from([float("inf"), float("-inf"), float("nan")]),
)
digits = st.sampled_from([0.1, 0.2, -0.3])
split_values = st.one_of(
    st.lists(edges, max_size=4), st.lists(digits, max_size=9), st.lists(any_numbers, max_size=5)
)


@given(splits=st.lists(split_values, min_size=1, max_size=5))
@example([[2**63, -(2**63)], [0.1] * 10])
@example([[2**63], [-(2**63)], [0.1] * 10])
@example([[2**62, True], [2**62, -(2**62)], [0.1] * 10])
@example([[1e16, *[0.1] * 3], [2**63], [-(2**63)], [0.1] * 10])
def test_the_sum_is_that_of_all_values_in_their_order_to_the_last_digit(splits):
    """From Python 3.12 on ``sum`` corrects errors of floats, unless ints have left 64 bits."""
    expected = sum(value for split in splits for value in split)
    items = [[[("a", value)] for value in split] for split in splits]
    if any(splits):
        for mapping in (identity, yielded):
            got = run_job(items, mapping, total, None, 1)
            assert repr(got) == repr({"a": expected})


def test_a_value_that_cannot_be_added_is_an_error_of_reduce_as_ever():
    with pytest.raises(AssertionError, match="ReduceError"):
        run_job([[[("a", 1)], [("a", "text")]]], identity, total, None, 1)


def test_a_late_float_is_noticed(monkeypatch):
    monkeypatch.setattr(summing, "LOOK_LATER", 1)
    pairs = [("a", 1)] * 9 + [("a", 0.1)] * 10
    records = [[pair] for pair in pairs]
    assert run_job([records], identity, total, None, 2) == {"a": sum([1] * 9 + [0.1] * 10)}


LARGE = 1e16
"""To which 1 cannot be added; 2 can."""


def mapped(here, splits, adds=True, combine=None):
    """The map outputs of some lists of pairs, and a reduce task's work on them."""
    outputs = []
    functions = LoadedFunctions(identity, total, combine)
    for at, split in enumerate(splits):
        work = MapWork(items_split(split), 1, adds=adds)
        outcome, path = attempt(work, functions, here / f"m{at}")
        ints = all(type(value) is int for pairs in split for _, value in pairs)
        assert outcome.added == (adds and combine is None and ints)
        outputs.append((path, outcome.sizes))
    work, local = reduce_work(outputs, 0, 1)
    return work, attempt(work, functions, here / "r", local)


ONES_OF_A = [[("a", 1), ("a", 1)]]
FLOAT_OF_A = [[("a", LARGE)]]


def test_ints_that_were_added_up_may_stand_beside_ints_alone(tmp_path):
    _, done = mapped(tmp_path, [ONES_OF_A, ONES_OF_A])
    assert results_of(*done) == [("a", 4)]
    first, second = [FLOAT_OF_A, ONES_OF_A, ONES_OF_A], [ONES_OF_A, ONES_OF_A, FLOAT_OF_A]
    for splits, added, other in ((first, 1, 0), (second, 0, 2)):
        work, (failed, output) = mapped(tmp_path, splits)
        assert (failed.lost_source, failed.lost_sums) == (work.sources[added], True)
        assert (failed.retry, output) == (True, None)
        told = failed.failure.message
        assert f"ints in map output map-{added} of node" in told
        assert f"other numbers in map output map-{other} of node" in told


def test_maps_that_are_told_not_to_add_do_not(tmp_path):
    _, done = mapped(tmp_path, [FLOAT_OF_A, ONES_OF_A, ONES_OF_A], adds=False)
    assert results_of(*done) == [("a", sum([LARGE, 1, 1, 1, 1]))]


def test_with_a_combiner_it_is_as_the_user_has_asked(tmp_path):
    for adds in (True, False):
        splits = [FLOAT_OF_A, ONES_OF_A]
        _, done = mapped(tmp_path, splits, adds, combine=total)
        assert results_of(*done) == [("a", LARGE + 2)]


def test_pairs_that_are_lists_are_mapped_in_the_ordinary_way():
    assert run_job([[[["a", 1], ("a", 2)]]], identity, total, None, 1) == {"a": 3}


def test_other_numbers_stay_what_they_are():
    pairs = [("a", Decimal("0.5")), ("a", 1), ("b", Level.ONE), ("c", True), ("c", True)]
    got = run_job([[pairs], [pairs]], identity, total, total, 2)
    assert got == {"a": Decimal("3.0"), "b": 2, "c": 4}
    assert {key: type(value) for key, value in got.items()} == {"a": Decimal, "b": int, "c": int}


class Plain:
    """Hashes by identity, so it cannot be a key."""


def yielded(number, pairs):
    yield from pairs


class Best:
    """A value whose ``sum`` is an int, the largest, and must not be added to another's."""

    def __init__(self, value):
        self.value = value

    def __radd__(self, other):
        return max(other, self.value)


class Capped(int):
    """The same of an int's own kind."""

    def __radd__(self, other):
        return min(10, int(other) + int(self))

    __add__ = __radd__


@pytest.mark.parametrize("mapping", [identity, yielded])
def test_ints_that_come_of_values_of_another_kind_are_no_sums(mapping):
    for kind, expected in ((Best, 9), (Capped, 10)):
        splits = [[[("a", kind(7)), ("a", kind(5))]], [[("a", kind(9))]]]
        assert run_job(splits, mapping, total, None, 1) == {"a": expected}


@pytest.mark.parametrize("mapping", [identity, yielded])
def test_a_late_key_that_needs_care_is_noticed(monkeypatch, mapping):
    monkeypatch.setattr(summing, "LOOK_LATER", 1)
    pairs = [("a", 1)] * 9 + [(float("nan"), 1), (float("nan"), 2), ((1, None), 3), ((1, None), 4)]
    records = [[pair] for pair in pairs]
    got = run_job([records, records], mapping, total, None, 2)
    assert sorted(map(repr, got.items())) == ["('a', 18)", "((1, None), 14)", "(nan, 6)"]


def test_a_late_key_without_a_hash_of_its_own_is_named():
    with pytest.raises(AssertionError, match=r"BadKeyError.*item 1"):
        run_job([[[("a", 1)], [(Plain(), 1)]]], identity, total, None, 1)


class Short:
    """A gauge by which memory is short from the ``after``-th look on."""

    def __init__(self, after):
        self.looks_left = after

    def is_over(self):
        self.looks_left -= 1
        return self.looks_left < 0

    def is_filled(self, pickled_bytes):
        return self.is_over()

    def is_eased(self):
        return False

    def relieved(self):
        pass

    def grown(self):
        return 0.0


def reduced(segments, gauge=None, sorts=False, added=False):
    """What a reduce task makes of (keys, counts, values), and what it had to reduce key by key."""
    asked = []

    def reduce(key, values):
        asked.append(key)
        return sum(values)

    with folder() as here, closing(ResultWriter(here / "results")) as results:
        functions = LoadedFunctions(identity, reduce, total, sorts)
        side = SumReduceSide(functions, Tracker(), None, results, gauge or Unbounded(), here)
        side.add(
            decoded_whole(encoded(0, list(keys), list(counts), list(values), added=added))
            for keys, counts, values in segments
        )
        assert side.values_in == sum(len(values) for _, _, values in segments)
        part = results.finish()
        assert side.keys == part.records
        return results_of(ReduceOutput(part, Counts(), Tally()), here / "results"), asked


ONES = (("a", "b"), (), (1, 2))
MORE = (("b", "c"), (), (5, 7))


def test_ints_are_added_without_a_call_for_each_key():
    assert reduced([ONES, MORE]) == ([("a", 1), ("b", 7), ("c", 7)], [])


def test_without_a_combiner_this_is_done_where_maps_have_added(monkeypatch):
    monkeypatch.setattr(summing, "adds_unasked", lambda functions: True)
    expected = [("a", 1), ("b", 7), ("c", 7)]
    assert reduced([ONES, MORE], added=True) == (expected, [])
    assert reduced([ONES, MORE]) == (expected, ["a", "b", "c"])


def test_a_job_that_sorts_is_reduced_in_the_order_of_keys():
    got, asked = reduced([MORE, ONES], sorts=True)
    assert got == [("a", 1), ("b", 7), ("c", 7)]
    assert asked == []
    got, asked = reduced([MORE, ONES, (("b",), (), (0.5,))], sorts=True)
    assert got == [("a", 1), ("b", 7.5), ("c", 7)]
    assert asked == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ((("b",), (), (0.5,)), 7.5),
        ((("b",), (), (True,)), 8),
        ((("b",), (2,), (1, 1)), 9),
    ],
)
def test_what_else_comes_goes_the_ordinary_way_from_there(odd, expected):
    got, asked = reduced([ONES, MORE, odd])
    assert got == [("a", 1), ("b", expected), ("c", 7)]
    assert asked == ["a", "b", "c"]
    got, _ = reduced([odd, ONES, MORE])
    assert dict(got) == {"a": 1, "b": expected, "c": 7}


@pytest.mark.parametrize("sorts", [False, True])
@pytest.mark.parametrize("after", range(4))
def test_where_memory_is_short_the_ordinary_way_goes_on(after, sorts):
    got, _ = reduced([ONES, MORE, ONES], Short(after), sorts)
    assert (got if sorts else sorted(got)) == [("a", 2), ("b", 9), ("c", 7)]
