"""Promise 1 where it is made: any split, any partition, the result of a sequential run."""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from execution_runs import attempt, folder, items_split, results_of, run_job
from hypothesis import example, given
from hypothesis import strategies as st

from map_reduce.core.digests import digest_of
from map_reduce.core.messages import ReduceOutput, WholeWork
from map_reduce.counters import counter
from map_reduce.execution import map_side
from map_reduce.execution.attempt import LoadedFunctions

Pairs = list[tuple[Any, Any]]


class Colour(enum.Enum):
    RED = None
    GREEN = 1


class Level(enum.IntEnum):
    LOW = 0
    HIGH = 1


@dataclass(frozen=True)
class Point:
    x: Any
    y: Any = None


class Name(str):
    pass


def total(key: Any, values: Any) -> Any:
    return sum(values)


def is_nan(key: Any) -> bool:
    return isinstance(key, float | Decimal) and key != key


def same(a: Any, b: Any) -> bool:
    """Whether two keys are to be one: equal, but for NaNs, which count as equal."""
    if is_nan(a) or is_nan(b):
        return is_nan(a) and is_nan(b)
    if type(a) is Point or type(b) is Point:
        return type(a) is type(b) and same((a.x, a.y), (b.x, b.y))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def spelt(key: Any) -> Any:
    """What tells equal keys apart."""
    if isinstance(key, frozenset):
        return "frozenset", sorted(map(repr, key))
    if isinstance(key, tuple):
        return [spelt(part) for part in key]
    return ("Point", spelt((key.x, key.y))) if type(key) is Point else (type(key), repr(key))


def sequential(records: list[Pairs], functions: LoadedFunctions) -> Pairs:
    """The twin: no hash, no dict, no combiner."""
    groups: list[tuple[Any, list[Any]]] = []
    for index, record in enumerate(records):
        for key, value in functions.map(index, record):
            for known, values in groups:
                if same(known, key):
                    values.append(value)
                    break
            else:
                groups.append((key, [value]))
    return [(key, functions.reduce(key, values)) for key, values in groups]


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.sampled_from([0.0, -0.0, 1.0, 0.5, math.nan, -math.nan, math.inf]),
    st.builds(float, st.just("nan")),
    st.sampled_from([Decimal(1), Decimal("NaN"), Fraction(1), Fraction(1, 2), 1 + 0j]),
    st.text(max_size=2),
    st.builds(Name, st.text(max_size=1)),
    st.binary(max_size=2),
    st.sampled_from(Colour),
    st.sampled_from(Level),
    st.sampled_from([int, Point, ..., range(0), range(1), range(2, 2)]),
    st.frozensets(st.one_of(st.none(), st.integers(0, 2), st.text(max_size=1)), max_size=2),
)
keys = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner), st.tuples(inner, inner), st.builds(Point, inner, inner)
    ),
    max_leaves=4,
)


def given_list(index: int, record: Pairs) -> Pairs:
    return record


def given_generator(index: int, record: Pairs) -> Any:
    yield from record


def given_lists(index: int, record: Pairs) -> Any:
    return tuple([key, value] for key, value in record)


def the_list(key: Any, values: list[Any]) -> Any:
    return list(values)


def first(key: Any, values: list[Any]) -> Any:
    return values[0]


def last(key: Any, values: list[Any]) -> Any:
    return values.pop()


def joined(key: Any, values: list[Any]) -> Any:
    return [item for value in values for item in value]


plain_jobs = st.builds(
    LoadedFunctions,
    st.sampled_from([given_list, given_generator, given_lists]),
    st.sampled_from([the_list, first, last]),
    st.none(),
    st.just(False),
)
combining_jobs = st.sampled_from(
    [
        LoadedFunctions(given_list, joined, joined),
        LoadedFunctions(given_generator, joined, joined),
        LoadedFunctions(given_list, first, first),
        LoadedFunctions(given_list, last, last),
    ]
)
jobs = st.one_of(plain_jobs, combining_jobs)


@st.composite
def inputs(draw: Callable[..., Any]) -> list[Pairs]:
    """Records that are lists of pairs; each value, a list of one number, is there once."""
    drawn = draw(st.lists(st.lists(keys, max_size=6), max_size=8))
    numbers = iter(range(1000))
    return [[(key, [next(numbers)]) for key in record] for record in drawn]


def split_up(records: list[Pairs], cuts: list[int]) -> list[Any]:
    bounds = sorted({0, len(records), *(cut % (len(records) + 1) for cut in cuts)})
    if len(bounds) == 1:
        return [items_split([])]
    return [items_split(records[a:b], a) for a, b in itertools.pairwise(bounds)]


def check(found: list[Pairs], expected: Pairs, ordered: bool) -> None:
    """The same keys, each once, spelt the same, with the same values; in order in each part."""
    assert sum(map(len, found)) == len(expected)
    met = set()
    for part in found:
        places = []
        for key, value in part:
            [place] = [n for n, (known, _) in enumerate(expected) if same(known, key)]
            assert spelt(key) == spelt(expected[place][0])
            assert value == expected[place][1]
            places.append(place)
        assert not ordered or places == sorted(places)
        met |= set(places)
    assert len(met) == len(expected)


@given(
    records=inputs(),
    functions=jobs,
    cuts=st.lists(st.integers(0, 1000), max_size=5),
    partitions=st.integers(1, 7),
    per_task=st.integers(1, 3),
    sweep=st.integers(1, 4),
)
@example([[(math.nan, [0]), (1, [1])], [(float("nan"), [2]), (math.nan, [3])]],
         LoadedFunctions(given_list, joined, joined), [1], 1, 1, 1)  # fmt: skip
def test_any_job_gives_what_a_sequential_run_gives(
    records: list[Pairs],
    functions: LoadedFunctions,
    cuts: list[int],
    partitions: int,
    per_task: int,
    sweep: int,
) -> None:
    expected = sequential(records, functions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_side, "PAIRS_PER_SWEEP", sweep)
        patch.setattr(map_side, "VALUES_PER_KEY", 1)
        found = run_job(functions, split_up(records, cuts), partitions, per_task)
        check(found, expected, ordered=per_task == 1)
        with folder() as here:
            whole = results_of(*attempt(WholeWork(items_split(records)), functions, here / "o"))
        check([whole], expected, ordered=True)


class Vector(NamedTuple):
    x: Any
    y: Any

    def __add__(self, other: Any) -> Any:
        return Vector(self.x + other.x, self.y + other.y)


class Entry(NamedTuple):
    key: Any
    value: Any


def test_pairs_of_any_class_of_tuple_or_list() -> None:
    class Row(list[Any]):
        pass

    kinds = [Vector, Entry, lambda *both: both, lambda *both: list(both), lambda *b: Row(b)]

    def map(index: int, item: int) -> Any:
        for kind in kinds[item % 5 :]:
            yield kind("k", item)

    for combine in (None, joined):
        functions = LoadedFunctions(
            lambda index, item: ((k, [v]) for k, v in map(index, item)), joined, combine
        )
        raw = functions._replace(map=map, reduce=the_list, combine=None)
        expected = [item for item in range(10) for _ in range(5 - item % 5)]
        assert run_job(functions, [items_split(list(range(10)))], 1) == [[("k", expected)]]
        assert run_job(raw, [items_split(list(range(10)))], 1) == [[("k", expected)]]


def test_neighbouring_partitions_in_one_task_keep_the_order_of_splits() -> None:
    functions = LoadedFunctions(lambda index, n: [(n % 10, n)], the_list, None)
    splits = [items_split(list(range(a, a + 25)), a) for a in range(0, 100, 25)]
    for per_task in (1, 2, 5):
        parts = run_job(functions, splits, 5, per_task)
        assert len(parts) == -(-5 // per_task)
        results = dict(pair for part in parts for pair in part)
        assert results == {k: list(range(k, 100, 10)) for k in range(10)}


def test_keys_of_mappings_and_indexes_across_splits() -> None:
    functions = LoadedFunctions(lambda key, value: [(value, key)], the_list, None)
    pairs = [("x", 1), ("y", 2), ("z", 1)]
    splits = [items_split(pairs[:2], keyed=True), items_split(pairs[2:], 2, keyed=True)]
    assert run_job(functions, splits, 1) == [[(1, ["x", "z"]), (2, ["y"])]]
    splits = [items_split(["a", "b"]), items_split(["a"], first_index=2)]
    assert run_job(functions, splits, 1) == [[("a", [0, 2]), ("b", [1])]]


def test_no_input_gives_no_results() -> None:
    functions = LoadedFunctions(given_list, the_list, None)
    assert run_job(functions, [items_split([])], 3) == [[], [], []]
    assert run_job(functions, [], 1) == [[]]
    with folder() as here:
        assert results_of(*attempt(WholeWork(items_split([])), functions, here / "o")) == []


def test_results_too_large_to_tell_are_in_the_file() -> None:
    functions = LoadedFunctions(lambda index, item: [(index, item)], first, None)
    with folder() as here:
        work = WholeWork(items_split([f"{n:01000}" for n in range(100)]))
        outcome, path = attempt(work, functions, here / "out")
        assert path == here / "out"
        assert results_of(outcome, path) == [(n, f"{n:01000}") for n in range(100)]
        ref = outcome.part.ref  # type: ignore[union-attr]
        data = path.read_bytes()
        assert (ref.name, ref.size_bytes, ref.digest) == ("", len(data), digest_of(data))


def test_reduce_gets_copies_as_it_would_from_another_process() -> None:
    shared: list[int] = []

    def hands_out_the_same_list(index: int, item: int) -> Pairs:
        shared.append(item)
        return [("k", shared)]

    functions = LoadedFunctions(hands_out_the_same_list, the_list, None)
    with folder() as here:
        work = WholeWork(items_split([1, 2]))
        [(_, [a, _])] = results_of(*attempt(work, functions, here / "o"))
    a.append(3)
    assert shared == [1, 2]


def test_pairs_that_become_lists_after_many_records() -> None:
    """The split is mapped again then: nothing is there twice, and nothing is counted twice."""
    for other in (list, lambda pair: Entry(*pair)):
        for late in (3, 40, 99):

            def map(index: int, item: int, late: int = late, other: Any = other) -> Any:
                counter("records").add()
                pairs = [(item % 7, item), (item % 5, -item)]
                return [pairs[0], other(pairs[1])] if item >= late else pairs

            expected: dict[int, list[int]] = {}
            for item in range(100):
                expected.setdefault(item % 7, []).append(item)
                expected.setdefault(item % 5, []).append(-item)
            for reduce in (the_list, total):
                functions = LoadedFunctions(map, reduce, None)
                with folder() as here:
                    work = WholeWork(items_split(list(range(100))))
                    outcome, path = attempt(work, functions, here / "out")
                    results = dict(results_of(outcome, path))
                assert results == {key: reduce(key, values) for key, values in expected.items()}
                assert isinstance(outcome, ReduceOutput)
                assert outcome.tally.counters == (("records", 100),)


def test_records_that_begin_to_yield_late() -> None:
    def map(index: int, item: int) -> Any:
        pairs = [(item % 3, item)] * 2
        return pairs if item < 50 else iter(pairs)

    for reduce in (the_list, total):
        functions = LoadedFunctions(map, reduce, None)
        [results] = run_job(functions, [items_split(list(range(100)))], 1)
        assert dict(results) == {
            key: reduce(key, [n for n in range(key, 100, 3) for _ in range(2)]) for key in range(3)
        }
