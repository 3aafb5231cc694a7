"""A job that sorts gives the sequential run's results in the order of keys, whatever the cut."""

from __future__ import annotations

import pytest
from execution_runs import attempt, folder, items_split, results_of, run_job
from hypothesis import given, settings
from hypothesis import strategies as st

from map_reduce import Job, reducers
from map_reduce.core.messages import Failed, MapWork, Sampled, SampleWork, WholeWork
from map_reduce.errors import ConfigError
from map_reduce.execution import sorting
from map_reduce.execution.functions import prepared
from map_reduce.execution.pickles import dump_lists, load
from map_reduce.execution.sorting import Ranges, _quantiles
from map_reduce.execution.summing import adds_up
from map_reduce.ordering import in_order

NAN = float("nan")

few = settings(max_examples=max(1, (settings.default or settings()).max_examples // 3))
"""As many as these take time for."""

KEYS = {
    "texts": st.text(alphabet="abé", max_size=3),
    "ints": st.integers(-5, 5),
    "numbers": st.one_of(st.integers(-2, 2), st.sampled_from([0.5, NAN, -0.0, None, True])),
    "tuples": st.tuples(
        st.sampled_from("ab"), st.one_of(st.none(), st.integers(0, 2), st.just(NAN))
    ),
}
REDUCERS = [
    lambda key, values: list(values),
    lambda key, values: sum(values),
    reducers.sum,
    reducers.count,
    reducers.last,
    reducers.mean,
]


class Card:
    """Compares by its suit alone, so that different cards may have no order."""

    def __init__(self, suit, rank):
        self.suit, self.rank = suit, rank

    def __eq__(self, other):
        return (self.suit, self.rank) == (other.suit, other.rank)

    def __hash__(self):
        return hash((self.suit, self.rank))

    def __lt__(self, other):
        return self.suit < other.suit


class Beast:
    """A key whose own methods raise."""

    def __init__(self, hashes=True, compares=True):
        self.hashes, self.compares = hashes, compares

    def __hash__(self):
        return 1 if self.hashes else 1 // 0

    def __eq__(self, other):
        return self is other

    def __lt__(self, other):
        return 1 // 0 if not self.compares else NotImplemented


def identity(index, pairs):
    return pairs


def one_nan(key):
    if isinstance(key, float) and key != key:
        return NAN
    return tuple(map(one_nan, key)) if type(key) is tuple else key


def sequential(splits, reduce):
    groups = {}
    for split in splits:
        for pairs in split:
            for key, value in pairs:
                groups.setdefault(one_nan(key), []).append(value)
    return [(key, reduce(key, groups[key])) for key in in_order(groups)]


def in_job(splits, reduce, bounds, per_task=1):
    functions = prepared(identity, reduce, None, sorts=True)
    pickled = dump_lists(bounds)
    pieces = [items_split(split) for split in splits]
    parts = run_job(functions, pieces, len(bounds) + 1, per_task, bounds=pickled)
    return [pair for part in parts for pair in part]


@few
@given(data=st.data())
def test_results_are_those_of_a_loop_in_order(data):
    keys = KEYS[data.draw(st.sampled_from(sorted(KEYS)))]
    split = st.lists(st.lists(st.tuples(keys, st.integers(0, 9)), max_size=5), max_size=3)
    splits = data.draw(st.lists(split, max_size=3))
    bounds = in_order(data.draw(st.lists(keys, max_size=3)))  # the same twice is no harm
    reduce = data.draw(st.sampled_from(REDUCERS))
    got = in_job(splits, reduce, bounds, data.draw(st.integers(1, 2)))
    assert repr(got) == repr(sequential(splits, reduce))


@few
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(1, 5),
)
def test_keys_without_an_order_between_them_stay_as_they_came(cards, suits, per_split):
    pairs = [(Card(suit, rank), n) for n, (suit, rank) in enumerate(cards)]
    splits = [[pairs[at : at + per_split]] for at in range(0, len(pairs), per_split)]
    bounds = [Card(suit, 9) for suit in sorted(suits)]
    got = in_job(splits, lambda key, values: values, bounds)
    first = list(dict.fromkeys(cards))
    expected = sorted(first, key=lambda card: card[0])
    assert [(key.suit, key.rank) for key, _ in got] == expected


def test_one_task_sorts_as_well():
    functions = prepared(identity, reducers.collect, None, sorts=True)
    with folder() as here:
        work = WholeWork(items_split([[("b", 1), ("a", 2), ("b", 3)]]))
        outcome, path = attempt(work, functions, here / "out")
        assert results_of(outcome, path) == [("a", [2]), ("b", [1, 3])]


def test_a_range_begins_with_its_bound():
    stretches = Ranges(["b", "d"]).stretches(["d", "c", "b", "a", "e"])
    assert stretches == [["a"], ["b", "c"], ["d", "e"]]
    assert Ranges([]).stretches("ba") == [["a", "b"]]


@pytest.mark.parametrize("work", [MapWork, SampleWork, WholeWork])
def test_keys_that_have_no_order_are_named(work):
    functions = prepared(identity, reducers.collect, None, sorts=True)
    split = items_split([[("a", 1)], [(2, 2)]])
    with folder() as here:
        order = WholeWork(split) if work is WholeWork else work(split, 2)
        order = SampleWork((split,), 2) if work is SampleWork else order
        outcome, _ = attempt(order, functions, here / "out")
    assert isinstance(outcome, Failed)
    assert outcome.failure.kind == "BadKeyError"
    assert not outcome.retry
    for part in ("2 and 'a' cannot be put in order", "sort=True", "they are int and str"):
        assert part in outcome.failure.message
    first, second = ("record [('a', 1)]", "record [(2, 2)]")
    if work is not SampleWork:
        first, second = "item 0 ([('a', 1)])", "item 1 ([(2, 2)])"
    assert f"'a' is from {'the ' * (work is SampleWork)}{first}" in outcome.failure.message
    assert f"2 is from {'the ' * (work is SampleWork)}{second}" in outcome.failure.message


def test_keys_of_two_map_tasks_that_have_no_order_are_named():
    splits = [items_split([[(key, 1)]]) for key in (("x", "a"), ("x", 2))]
    functions = prepared(identity, reducers.collect, None, sorts=True)
    with pytest.raises(AssertionError) as caught:
        run_job(functions, splits, 1)
    said = str(caught.value)
    assert "BadKeyError" in said
    assert "('x', 2) and ('x', 'a') cannot be put in order" in said.replace("\\", "")
    assert "in them stand int and str" in said
    assert "is from map output map-0 of node 127.0.0.1:9000" in said


# ---------------------------------------------------------------------- the sample


def sampled(records, map=identity, ranges=4, reduce=max):
    functions = prepared(map, reduce, None, sorts=True)
    with folder() as here:
        outcome, _ = attempt(SampleWork((items_split(records),), ranges), functions, here / "out")
    assert isinstance(outcome, Sampled), outcome
    bounds = load(outcome.pickled, "bounds")[0] if outcome.pickled else []
    assert len(bounds) == outcome.bounds
    return bounds


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 9)), min_size=1), st.integers(1, 9))
def test_quantiles_leave_no_range_with_more_than_its_share_and_two_keys(weighted, ranges):
    weights = dict(sorted(weighted))
    keys = list(weights)
    cuts = _quantiles(keys, list(weights.values()), ranges)
    assert cuts == sorted(set(cuts))
    assert len(cuts) < max(1, ranges)
    assert not cuts or cuts[0] != keys[0]
    share = sum(weights.values()) / ranges
    for first, last in zip([None, *cuts], [*cuts, None], strict=True):
        inside = [
            key for key in keys if (first is None or key >= first) and (last is None or key < last)
        ]
        assert sum(weights[key] for key in inside) <= share + 2 * max(weights.values())


def test_ranges_are_even_by_pairs_and_with_a_combiner_by_keys():
    records = [[("a", 1)] * 97 + [("b", 1), ("c", 1), ("d", 1)]]
    assert sampled(records) == ["b"]  # one key has nearly everything
    assert sampled([*records, [("0", 1)]]) == ["a", "b"]  # and is a range of its own
    assert sampled(records, reduce=reducers.sum) == ["b", "c", "d"]


def test_records_that_fail_are_left_out_of_the_sample():
    def fails_at_times(index, n):
        return [(1 // (n % 3), None), (n, None)]

    assert sampled(range(9), fails_at_times, 3) == [2, 4]
    assert sampled(range(9), lambda index, n: None) == []
    assert sampled([]) == []


@pytest.mark.parametrize("bad", [Beast(hashes=False), Beast(compares=False), "no pair at all"])
def test_of_records_that_fail_half_way_nothing_is_in_the_sample(bad):
    def half_way(index, letter):
        yield (1 if letter == "x" else letter), None
        if letter == "x":
            yield bad if isinstance(bad, str) else (bad, None)

    assert sampled("axbxcx", half_way, 3) == ["b", "c"]


def test_a_sample_is_bounded_in_time_pairs_and_bytes(monkeypatch):
    monkeypatch.setattr(sorting, "SAMPLE_S_MAX", 0.0)
    seen = []

    def slow(index, item):
        seen.append(item)
        return [(item, 1)]

    assert sampled("abc", slow) == []
    assert seen == ["a"]  # one in any case
    monkeypatch.undo()
    monkeypatch.setattr(sorting, "BOUNDS_BYTES_MAX", 5000)
    letters = [[(letter * 1000, 1)] for letter in "abcdefgh"]
    assert [bound[0] for bound in sampled(letters, ranges=8)] == ["c", "e", "g"]
    monkeypatch.setattr(sorting, "SAMPLE_PAIRS_MAX", 10)
    seen.clear()
    sampled(range(99), lambda index, n: slow(index, n) * 5)
    assert len(seen) == 2


def test_keys_that_do_not_pickle_are_no_matter_of_the_sample():
    assert sampled([0, 1, 2, 3], lambda index, n: [((n, lambda: n), 1)][:0] or [(n, 1)]) == [
        1,
        2,
        3,
    ]


# ---------------------------------------------------------------------- the order of values


VALUES = st.one_of(st.integers(-3, 3), st.sampled_from([None, NAN, 0.5, -0.0, True]))
BY = [True, lambda value: None if value is None else -value, lambda value: value is None]


@few
@given(data=st.data())
def test_values_are_sorted_for_reduce_and_equals_stay_as_they_came(data):
    pairs = st.lists(st.tuples(st.sampled_from("ab"), VALUES), max_size=6)
    splits = data.draw(st.lists(st.lists(pairs, max_size=3), max_size=3))
    by = data.draw(st.sampled_from(BY))
    reduce = data.draw(st.sampled_from([lambda k, vs: list(vs), reducers.collect, reducers.first]))
    sorts = data.draw(st.booleans())
    functions = prepared(identity, reduce, None, sorts, by)
    parts = run_job(functions, [items_split(split) for split in splits], 1)
    groups = {}
    for key, value in (pair for split in splits for pairs in split for pair in pairs):
        groups.setdefault(key, []).append(value)
    key = None if by is True else by
    expected = {k: reduce(k, in_order(values, key)) for k, values in groups.items()}
    got = [pair for part in parts for pair in part]
    assert repr(sorted(got)) == repr(sorted(expected.items()))


def test_values_that_have_no_order_are_named_with_their_key():
    functions = prepared(identity, reducers.collect, None, False, True)
    with pytest.raises(AssertionError) as caught:
        run_job(functions, [items_split([[("k", 1), ("k", "x"), ("j", 2)]])], 1)
    for part in ("ReduceError", "sort_values", "cannot be compared", "they are str and int",
                 "at key 'k'"):  # fmt: skip
        assert part in str(caught.value).replace("\\", "")


def test_counting_goes_its_own_way_and_other_reducers_do_not_combine():
    assert adds_up(prepared(identity, reducers.count, None, False, True))
    assert prepared(identity, reducers.min, None, False, True).combine is None
    assert prepared(identity, reducers.min, max, False, True).combine is max
    assert prepared(identity, min, max, False, False).combine is max


def test_what_sort_may_be():
    for wrong in ({"sort": 1}, {"sort": "keys"}, {"sort_values": "time"}, {"sort_values": None}):
        with pytest.raises(ConfigError, match="it may be True"):
            Job(identity, max, **wrong)
