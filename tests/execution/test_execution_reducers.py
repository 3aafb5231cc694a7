"""A ready-made reducer gives in a job what it gives in a loop, however the job was cut."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from fractions import Fraction

import pytest
from execution_runs import attempt, folder, items_split, results_of, run_job
from hypothesis import example, given
from hypothesis import strategies as st

from map_reduce import reducers
from map_reduce.core.messages import MapWork, Skipping, WholeWork
from map_reduce.execution import map_side
from map_reduce.execution.functions import LoadedFunctions, load_functions, prepared
from map_reduce.execution.summing import adds_up
from map_reduce.pickling import dumps

NAN = float("nan")
KEYS = st.sampled_from(["a", "b", 1, 1.0, True, None, NAN, (1, None)])
INTS = st.one_of(st.integers(), st.booleans())
FLOATS = st.one_of(
    st.floats(),
    st.sampled_from([0.1, 1e16, -1e16, 1.7e308, -1.7e308, 5e-324, -0.0, math.inf, -math.inf, NAN]),
)
NUMBERS = st.one_of(INTS, FLOATS)
DECIMALS = st.sampled_from([1, Decimal("0.1"), Decimal(1) / 3, Decimal(10) ** 27])
TEXTS = st.text(alphabet="ab", max_size=2)
PAIRS = st.tuples(st.sampled_from("ab"), st.one_of(st.none(), FLOATS, st.integers(0, 3)))

CASES = [
    (reducers.sum, INTS),
    (reducers.sum, NUMBERS),
    (reducers.sum, DECIMALS),
    (reducers.sum, st.fractions(max_denominator=99)),
    (reducers.count, st.one_of(NUMBERS, TEXTS, st.none(), PAIRS)),
    (reducers.mean, INTS.filter(lambda n: abs(n) < 1 << 900)),
    (reducers.mean, st.one_of(FLOATS, st.integers(-(1 << 60), 1 << 60))),
    (reducers.min, NUMBERS),
    (reducers.max, NUMBERS),
    (reducers.min, TEXTS),
    (reducers.max, PAIRS),
    (reducers.min, PAIRS),
    (reducers.top(2), st.one_of(INTS, FLOATS.filter(lambda x: x == x))),
    (reducers.bottom(3), PAIRS),
    (reducers.top(2, key=len), st.one_of(TEXTS, st.lists(INTS, max_size=3))),
    (reducers.first, NUMBERS),
    (reducers.last, st.one_of(NUMBERS, TEXTS)),
    (reducers.distinct, st.one_of(NUMBERS, TEXTS, st.none(), PAIRS)),
    (reducers.count_distinct, st.one_of(NUMBERS, TEXTS, PAIRS)),
    (reducers.collect, st.one_of(NUMBERS, TEXTS)),
]


def identity(index, pairs):
    return pairs


def one_nan(key):
    if isinstance(key, float) and key != key:
        return "NaN"
    return tuple(map(one_nan, key)) if type(key) is tuple else key


def sequential(records, reduce):
    groups = {}
    for pairs in records:
        for key, value in pairs:
            groups.setdefault(one_nan(key), []).append(value)
    return {key: reduce(key, values) for key, values in groups.items()}


def in_job(splits, reduce, partitions=1):
    loaded = load_functions(dumps((identity, reduce, None)))
    parts = run_job(loaded, [items_split(split) for split in splits], partitions)
    return {one_nan(key): value for part in parts for key, value in part}


def spelt(results):
    """Equal for equal results, types and NaN and order inside included."""
    return sorted((repr(key), repr(value)) for key, value in results.items())


@given(data=st.data())
def test_a_job_gives_what_a_loop_gives(data):
    check_a_job(*data.draw(st.sampled_from(CASES)), data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reducer", "values"), CASES, ids=[f"{reducer!r}-{n}" for n, (reducer, _) in enumerate(CASES)]
)
@given(data=st.data())
def test_each_reducer_gives_in_a_job_what_it_gives_in_a_loop(reducer, values, data):
    check_a_job(reducer, values, data)


def check_a_job(reducer, values, data):
    split = st.lists(st.lists(st.tuples(KEYS, values), max_size=6), max_size=3)
    splits = data.draw(st.lists(split, max_size=3))
    partitions = data.draw(st.integers(1, 2))
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:  # so that parts are combined again, with further values
        patch.setattr(map_side, "PAIRS_PER_SWEEP", data.draw(st.sampled_from([1, 3, 1 << 18])))
        patch.setattr(map_side, "VALUES_PER_KEY", data.draw(st.integers(1, 4)))
        got = in_job(splits, reducer, partitions)
    records = [record for split in splits for record in split]
    assert spelt(got) == spelt(sequential(records, reducer))


@given(st.lists(st.lists(NUMBERS, min_size=1), min_size=1, max_size=5))
@example([[1.7e308, 1.7e308], [-1.7e308]])
@example([[1.7e308], [1.7e308]])
@example([[0.1] * 10, [1 << 60, 0.1]])
@example([[math.inf], [-math.inf]])
def test_a_sum_with_floats_is_the_exact_one_rounded_once(parts):
    values = [value for part in parts for value in part]
    floats = [value for value in values if isinstance(value, float)]
    got = reducers.sum("k", [reducers.sum.combine("k", part) for part in parts])
    if not floats:
        assert got == sum(values)
        assert type(got) is int
    elif not all(map(math.isfinite, floats)):
        assert repr(got) == repr(sum(value for value in floats if not math.isfinite(value)))
    else:
        exact = sum(map(Fraction, values))
        try:
            expected = float(exact)
        except OverflowError:
            expected = math.inf if exact > 0 else -math.inf
        assert repr(got) == repr(expected)


def test_the_mean_of_numbers_whose_sum_is_no_float():
    assert reducers.mean("k", [1.7e308, 1.7e308]) == 1.7e308
    assert reducers.mean("k", [math.inf, 1.0]) == math.inf


def test_what_is_combined_is_small():
    pairs = [("k", n / 3) for n in range(10_000)]
    for reducer, bytes_max in [
        (reducers.sum, 300),
        (reducers.mean, 300),
        (reducers.count, 200),
        (reducers.min, 200),
        (reducers.top(3), 300),
        (reducers.last, 200),
    ]:
        functions = prepared(identity, reducer, None)
        with folder() as here:
            outcome, _ = attempt(MapWork(items_split([pairs]), 1), functions, here / "out")
        assert sum(outcome.sizes) < bytes_max, reducer


@pytest.mark.parametrize("combine", [None, "the same"])
def test_sums_and_counts_take_the_shortcut(combine):
    for reducer in (reducers.sum, reducers.count):
        functions = prepared(identity, reducer, combine and reducer)
        assert adds_up(functions)
    assert adds_up(LoadedFunctions(identity, max, reducers.sum))
    assert not adds_up(prepared(identity, reducers.min, None))
    assert prepared(identity, reducers.sum, max).combine is max  # one's own goes before


def broken_pairs(kind):
    given = {"none": None, "text": ["ab"], "three": [(1, 2, 3)], "list key": [([], 1)], "int": 7}
    return lambda index, item: given[kind]


@pytest.mark.parametrize("kind", ["none", "text", "three", "list key", "int"])
def test_counting_finds_the_same_faults_in_what_map_gives(kind):
    failures = []
    for reducer in (reducers.count, lambda key, values: len(values)):
        functions = prepared(broken_pairs(kind), reducer, None)
        with folder() as here:
            outcome, _ = attempt(MapWork(items_split(["x"]), 2), functions, here / "out")
        failures.append((outcome.failure.kind, outcome.failure.message))
    assert failures[0] == failures[1]


def test_counting_takes_pairs_that_are_lists_and_values_that_do_not_pickle():
    pairs = [["a", 1], ("a", lambda: 0), ("b", None)]
    functions = prepared(lambda index, item: list(pairs), reducers.count, None)
    with folder() as here:
        outcome, path = attempt(WholeWork(items_split([0])), functions, here / "out")
        assert dict(results_of(outcome, path)) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("reducer", "values", "said"),
    [
        (reducers.sum, [1, None], "reducers.sum: the value None of key 'k', of type NoneType"),
        (reducers.sum, [1, "2"], "the value '2' of key 'k', of type str, cannot be added up"),
        (reducers.mean, [[1], [2]], r"reducers.mean: the value \[1\] of key 'k', of type list"),
        (reducers.sum, [0.5, Decimal(1)], "'k', of type Decimal, cannot be added to float"),
        (reducers.min, [2, "b"], "reducers.min: of key 'k', .* cannot be compared"),
        (reducers.max, [None, 1], "reducers.max: the value None of key 'k'.* has no order"),
        (reducers.top(1), [1, NAN], r"reducers.top\(1\): the value nan of key 'k'.* no rank"),
        (reducers.distinct, [1, [2]], r"reducers.distinct: the value \[2\] of key 'k'.*unhashable"),
        (reducers.max, [frozenset([1]), frozenset([2])], "cannot be compared"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named_with_its_key_by_reduce_wherever_the_cut_is(reducer, values, said):
    for splits in ([values], [[value] for value in values]):
        items = [items_split([[("k", value) for value in split]]) for split in splits]
        functions = prepared(identity, reducer, None)
        with pytest.raises(AssertionError, match=rf"(?s)ReduceError.*TypeError: .*{said}"):
            run_job(functions, items, 1)


def test_a_key_with_a_wrong_value_can_be_left_out():
    functions = prepared(identity, reducers.mean, None)
    pairs = [("a", 1), ("b", 2), ("a", None), ("b", 4), ("a", 3)]
    with folder() as here:
        work = WholeWork(items_split([pairs]))
        outcome, path = attempt(work, functions, here / "out", skipping=Skipping(5))
        assert results_of(outcome, path) == [("b", 3)]
    [skipped] = outcome.tally.skipped
    assert skipped.where == "key 'a'"


def test_what_only_adds_is_added_in_order():
    day = datetime.timedelta(days=1)
    splits = [[[("t", day), ("d", Decimal(1) / 3)]], [[("t", day), ("d", Decimal(10) ** 27)]]]
    assert in_job(splits, reducers.sum) == {"t": 2 * day, "d": Decimal(1) / 3 + Decimal(10) ** 27}
    assert in_job(splits, reducers.mean)["t"] == day
