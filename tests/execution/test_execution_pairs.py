"""Jobs that sort pairs give what the ordinary way gives, failures included, or leave it."""

from __future__ import annotations

import random
from contextlib import contextmanager
from functools import partial

import pytest
from execution_runs import attempt, folder, items_split, reduce_work, results_of
from hypothesis import given
from hypothesis import strategies as st
from test_execution_spill import Tight, as_lists, lazily, lists, yields

from map_reduce import counter
from map_reduce.core.messages import Failed, MapWork
from map_reduce.execution import attempt as attempts
from map_reduce.execution import map_side, pair_sides, pairs, partitioned
from map_reduce.execution.functions import prepared
from map_reduce.execution.gauge import Unbounded
from map_reduce.execution.groups import Groups
from map_reduce.execution.map_side import NotPlain
from map_reduce.execution.pair_sides import PairReduceSide, PairSide
from map_reduce.execution.pairs import NotInOrder, Pairs, are_mostly_different, grouped
from map_reduce.execution.pickles import dump_lists
from map_reduce.execution.reduce_side import ReduceSide
from map_reduce.execution.segments import Segment
from map_reduce.ordering import in_order

NAN = float("nan")


class Unlike:
    """Hashes by its identity, so it cannot be a key."""

    def __repr__(self):
        return "Unlike()"


KEYS = {
    "texts": st.text(alphabet="abé", max_size=2),
    "many texts": st.integers(0, 10**6).map(str),
    "bytes": st.binary(max_size=1),
    "numbers": st.sampled_from([0, 1, True, False, 1.0, -0.0, 0.5, 2, 10**20, float("inf")]),
    "tuples": st.tuples(st.sampled_from([1, 2, True]), st.text(alphabet="ab", max_size=1)),
    "tuples that may not compare": st.tuples(st.sampled_from([1, "a"]), st.integers(0, 1)),
    "anything": st.sampled_from([None, NAN, -NAN, (1, None), (), ("a", (1,)), 3, "a", b"a", 2.5]),
    "no keys": st.sampled_from(["a", "b", "c", [], {}, Unlike()]),
}
PLAIN = ["texts", "many texts", "bytes", "numbers", "tuples"]


@pytest.fixture(autouse=True, scope="module")
def often():
    """Looks after every other record, and segments of a few values."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PAIRS_AT_FIRST", "RECORDS_AT_FIRST"):
            patch.setattr(map_side, name, 2)
        patch.setattr("map_reduce.execution.reduce_side.KEYS_AT_FIRST", 2)
        patch.setattr(partitioned, "VALUES_MAX", 3)
        patch.setattr(pairs, "SAMPLE", 8)
        patch.setattr(pairs, "PICKED_MAX", 4)
        patch.setattr(pair_sides, "SAMPLE", 8)
        patch.setattr(PairSide, "_look_at", 8)
        yield


@contextmanager
def ordinary():
    """Without the shortcuts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts, "goes_by_pairs", lambda functions: False)
        patch.setattr(attempts, "PairReduceSide", ReduceSide)
        yield


def shown(outcome, path):
    """All that is to be the same: results, or the failure with what it names."""
    if isinstance(outcome, Failed):
        return [outcome.failure.kind, outcome.failure.message, outcome.retry, outcome.suspect]
    part = outcome.part
    found = results_of(outcome, path)
    assert part.records == len(found)
    return [repr(found), outcome.tally]


def run(splits, functions, bounds, gauge, per_task):
    """What each task gives, up to the first map that fails."""
    told, mapped = [], []
    partitions = len(bounds) + 1
    with folder() as here:
        for number, items in enumerate(splits):
            work = MapWork(items_split(items), partitions, dump_lists(bounds))
            outcome, path = attempt(work, functions, here / f"map{number}", gauge=gauge())
            if isinstance(outcome, Failed):
                assert not (here / f"map{number}").exists()
                return [*told, shown(outcome, path)]
            told.append((outcome.counts.records_in, outcome.counts.records_out, outcome.tally))
            assert path.stat().st_size == sum(outcome.sizes)
            mapped.append((path, outcome.sizes))
        for first in range(0, partitions, per_task):
            work, local = reduce_work(mapped, first, min(partitions, first + per_task))
            told.append(shown(*attempt(work, functions, here / "out", local, gauge=gauge())))
    return told


def failing_at(n, map):
    """The same, but for the records whose first pair's value is ``n``."""

    def map_or_fail(number, record):
        if record and record[0][1] == n:
            raise ValueError("that one")
        return map(number, record)

    return map_or_fail


def some_as_lists(number, pairs):
    return [list(pair) if pair[1] % 3 == 0 else pair for pair in pairs]


def some_as_lists_lazily(number, pairs):
    return iter(some_as_lists(number, pairs))


def kept(key, values):
    return list(values)


def changed(key, values):
    values.append(0)  # its own list
    return values


def fails_at_threes(key, values):
    return [1 // (value % 3) for value in values]


MAPS = [lists, lists, lists, yields, lazily, as_lists, some_as_lists, some_as_lists_lazily]


@given(data=st.data())
def test_it_equals_its_ordinary_twin(data):
    keys = KEYS[data.draw(st.sampled_from([*PLAIN * 2, *KEYS]))]
    record = st.lists(st.tuples(keys, st.integers(0, 30)), max_size=4)
    splits = data.draw(st.lists(st.lists(record, max_size=8), max_size=4))
    among = data.draw(st.lists(KEYS["texts"] if keys is KEYS["no keys"] else keys, max_size=3))
    try:
        bounds = in_order(among)
    except TypeError:
        bounds = []
    map_ = data.draw(st.sampled_from(MAPS))
    if data.draw(st.integers(0, 3)) == 0:
        map_ = failing_at(7, map_)
    every = data.draw(st.sampled_from([0, 0, 1, 2, 5]))
    reduce = data.draw(st.sampled_from([kept if every else changed, fails_at_threes]))
    gauge = partial(Tight, every) if every else Unbounded
    given = splits, prepared(map_, reduce, None, True), bounds, gauge
    per_task = data.draw(st.integers(1, 2))
    with ordinary():
        expected = run(*given, per_task)
    assert run(*given, per_task) == expected


@pytest.fixture
def taken(monkeypatch):
    """What map sides gave, and how often a reduce side sorted pairs."""
    seen = {"map": [], "reduce": 0}
    run_pairs, reduce_pairs = PairSide.run, PairReduceSide._reduce_pairs

    def noted(side):
        seen["map"].append(NotPlain)
        seen["map"][-1] = type(held := run_pairs(side))
        return held

    def counted(*given):
        seen["reduce"] += 1
        reduce_pairs(*given)

    monkeypatch.setattr(PairSide, "run", noted)
    monkeypatch.setattr(PairReduceSide, "_reduce_pairs", counted)
    return seen


@pytest.mark.parametrize(
    ("keys", "held", "sorted_on_reducing"),
    [
        ([str(n) for n in range(99)], Pairs, True),
        ([(n // 2, str(n)) for n in range(99)], Pairs, True),
        ([0.5, True, 2, 3], Pairs, True),
        (["a"] * 99, Groups, False),
        (["a"] * 7, Pairs, False),  # not looked at before the sort
        (["a", None], Groups, False),
        ([*map(str, range(50)), "a", NAN, *map(str, range(50))], Groups, False),
        ([1.0, NAN], Groups, False),
        ([frozenset([1])], Groups, False),
        ([(1, "a"), ("a", 1)], Groups, None),
    ],
)
def test_when_it_is_taken(taken, keys, held, sorted_on_reducing):
    splits = [[[(key, n)] for n, key in enumerate(keys)]] * 2
    told = run(splits, prepared(lists, kept, None, True), [], Unbounded, 1)
    assert taken["map"][0] is held
    if sorted_on_reducing is not None:
        assert taken["reduce"] == sorted_on_reducing
    else:
        assert "cannot be put in order" in told[0][1]


def test_not_where_there_is_a_combiner_or_no_order(taken):
    splits = [[[("a", 1)], [("b", 2)]]] * 2
    run(splits, prepared(lists, kept, None, False), [], Unbounded, 1)
    run(splits, prepared(lists, max, lambda key, values: max(values), True), [], Unbounded, 1)
    assert taken == {"map": [], "reduce": 1}


def test_what_is_counted_counts_once_where_a_split_is_mapped_again(taken):
    mapped = counter("mapped")

    def counting(number, record):
        mapped.add()
        return record

    splits = [[[("a", 1)]] * 9 + [[["b", 1]]]] * 2
    told = run(splits, prepared(counting, kept, None, True), [], Unbounded, 1)
    assert [dict(tally.counters) for _, _, tally in told[:2]] == [{"mapped": 10}] * 2
    assert taken["map"] == [NotPlain] * 2


@pytest.mark.parametrize("map_", [lists, yields])
def test_the_first_record_is_named_for_which_something_is_wrong(map_):
    records = [[(f"{n}", n)] for n in range(2)] + [[("a", 5), ([], 6)], [("b", 7)]]
    for around in ([[("c", 8)]], []):
        given = [[*around, *records]], prepared(failing_at(7, map_), kept, None, True), []
        with ordinary():
            expected = run(*given, Unbounded, 1)
        assert "the key [], of type list" in expected[0][1]
        assert run(*given, Unbounded, 1) == expected


@pytest.mark.parametrize("map_", [some_as_lists, some_as_lists_lazily])
def test_pairs_before_one_that_is_a_list_are_not_lost(map_):
    splits = [[[(f"{n}", n) for n in range(first, first + 4)] for first in range(1, 9)]]
    given = splits, prepared(map_, kept, None, True), [], Unbounded, 1
    with ordinary():
        expected = run(*given)
    assert run(*given) == expected
    assert expected[0][:2] == (8, 32)


def test_pairs_that_do_not_fit_are_sorted_run_by_run(taken):
    splits = [[[(f"{n:03}", split)] for n in range(split, 200, 4)] for split in range(4)]
    gauge = Tight(5)
    told = run(splits, prepared(lists, kept, None, True), [], lambda: gauge, 1)
    assert told[-1][0] == repr([(f"{n:03}", [n % 4]) for n in range(200)])
    assert taken["reduce"] == 0
    assert gauge.reliefs > 10


def test_what_is_held_when_keys_begin_to_come_again_is_not_lost(taken):
    splits = [[[(f"{n}", split)] for n in range(20)] for split in range(9)]
    told = run(splits, prepared(lists, kept, None, True), [], partial(Tight, 3), 1)
    assert told[-1][0] == repr(sorted((f"{n}", list(range(9))) for n in range(20)))


# ---------------------------------------------------------------------- pairs


@given(st.lists(st.sampled_from([0, 1, True, 1.0, 2, -0.0, 0.0, 3])))
def test_pairs_are_sorted_and_neighbours_are_one_key_as_in_groups(keys):
    held, groups = Pairs(), Groups()
    for n, key in enumerate(keys):
        groups[key].append(n)
    held.take(Segment(keys, None, list(range(len(keys)))))
    held.sort()
    different, counts = grouped(held.keys)
    values = iter(held.values)
    got = [
        (key, [next(values) for _ in range(some)])
        for key, some in zip(different, counts, strict=True)
    ]
    assert repr(got) == repr([(key, groups[key]) for key in sorted(groups)])


def test_a_segment_with_several_values_of_a_key_is_taken_pair_by_pair():
    held = Pairs()
    held.take(Segment(["a", "b"], [2, 1], [1, 2, 3]))
    held.take(Segment(["a"], None, [4]))
    assert (held.keys, held.values) == (["a", "a", "b", "a"], [1, 2, 3, 4])


def test_pairs_that_cannot_be_sorted_stay_as_they_are():
    for one, other in (((1,), ("a",)), ("1", b"a"), (1, "a"), ((), "")):
        for times in (1, 9):
            held = Pairs()
            assert held.add([one] * times, [1] * times)
            assert held.add([other] * times, [2] * times)
            with pytest.raises(NotInOrder):
                held.sort()
            assert held.keys == [one] * times + [other] * times
            assert held.values == [1] * times + [2] * times


@pytest.mark.parametrize(
    "odd", [[NAN, 1.0], [None], [(1, None)], [(NAN,)], [frozenset()], [1, "a"]]
)
def test_keys_that_are_in_no_one_order_are_told(odd):
    assert not Pairs().add(odd, odd)
    assert not Pairs().take(Segment(odd, [2] * len(odd), odd * 2))


@pytest.mark.parametrize(
    ("times", "different"),
    [(1, True), (1.5, True), (4, False), (40, False), (10_000, False), (100_003, False)],
)
def test_how_many_keys_are_different_is_told_from_some(monkeypatch, times, different):
    monkeypatch.setattr(pairs, "SAMPLE", 1 << 12)
    keys = [int(n / times) for n in range(100_003)]
    random.Random(1).shuffle(keys)
    assert are_mostly_different(keys) is different


def test_few_keys_are_looked_at_one_by_one():
    assert are_mostly_different([])
    assert are_mostly_different([1, 1, 2, 3])
    assert not are_mostly_different([1, 1, 1, 1])
