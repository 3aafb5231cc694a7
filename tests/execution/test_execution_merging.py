"""Sorted runs: their merge is the sort of all, whatever order keys come in, and costs one pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import pytest
from execution_runs import attempt, folder, reduce_work, results_of
from hypothesis import given
from hypothesis import strategies as st
from test_execution_spill import Tight

from map_reduce.core.messages import Failed, Outcome, ReduceOutput
from map_reduce.execution import merging
from map_reduce.execution.attempt import LoadedFunctions
from map_reduce.execution.gauge import Gauge, Unbounded
from map_reduce.execution.merging import SortedRuns, whole
from map_reduce.execution.segments import encoded
from map_reduce.execution.stored_values import ValueFile, Values


@pytest.fixture(autouse=True, scope="module")
def few_runs_at_a_time() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "FAN_IN", 3)
        yield


numbers = st.one_of(st.integers(0, 30), st.sampled_from([True, False, 1.0, 7.0, -0.0, 0.5]))
texts = st.text("ab", max_size=4)
tuples = st.tuples(st.integers(0, 3), texts)


@given(
    st.one_of(*(st.lists(st.lists(keys, min_size=1, max_size=30)) for keys in (numbers, texts))),
    st.integers(1, 4),
)
def test_the_merge_of_runs_is_the_sort_of_all(runs: list[list[Any]], every: int) -> None:
    expected: dict[Any, list[Any]] = {}
    with folder() as here, closing(SortedRuns(here / "runs")) as sorted_runs:
        for number, keys in enumerate(runs):
            pairs = sorted(((key, (number, at)) for at, key in enumerate(keys)), key=first)
            assert sorted_runs.take([key for key, _ in pairs])
            sorted_runs.add(iter([([k for k, _ in pairs], [v for _, v in pairs])]), len(pairs))
            sorted_runs.settle()
            for key, value in pairs:
                expected.setdefault(key, []).append(value)
        assert len(list(here.iterdir())) <= 6
        with closing(ValueFile(here / "values")) as file:
            got = [
                (key, list(values))
                for keys, lists, _ in whole(sorted_runs.merged(), Tight(every), file)
                for key, values in zip(keys, lists, strict=True)
            ]
        held = sorted_runs.held_bytes
        assert sum(read for _, read in sorted_runs.merged()) <= held
    assert repr(got) == repr(sorted(expected.items(), key=first))


def first(pair: tuple[Any, Any]) -> Any:
    return pair[0]


class Reduced(NamedTuple):
    outcome: Outcome
    results: list[tuple[Any, Any]]
    given_bytes: int


def reduced(
    splits: list[list[tuple[Any, Any]]], reduce: Any, gauge: Gauge, size: int = 4
) -> Reduced:
    """A reduce task that sorts, over these map outputs: pairs of different keys, in pieces."""
    functions = LoadedFunctions(lambda *given: [], reduce, None, sorts=True)
    with folder() as here:
        mapped = []
        for number, pairs in enumerate(splits):
            data = b""
            for at in range(0, len(pairs), size):
                keys, values = map(list, zip(*pairs[at : at + size], strict=True))
                data += encoded(0, keys, [1] * len(keys), values)
            (path := here / f"m{number}").write_bytes(data)
            mapped.append((path, (len(data),)))
        work, local = reduce_work(mapped, 0, 1)
        outcome, path_made = attempt(work, functions, here / "r", local, gauge=gauge)
        results = results_of(outcome, path_made) if isinstance(outcome, ReduceOutput) else []
        (here / "r").unlink(missing_ok=True)
        assert len([*here.iterdir()]) == len(mapped), "something is left behind"
        return Reduced(outcome, results, sum(length for _, (length,) in mapped))


def kept(key: Any, values: Any) -> Any:
    return list(values)


ORDERS = {
    "rising": lambda n: n,
    "falling": lambda n: 9999 - n,
    "two rising": lambda n: n // 2 + 5000 * (n % 2),
    "anyhow": lambda n: n * 7919 % 10007,
}


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("order", ORDERS)
def test_in_whatever_order_keys_come_they_are_written_about_once(order: str, times: int) -> None:
    keys = [f"{ORDERS[order](n):06}" for n in range(4000)]
    parts = [keys[at : at + 400] for at in range(0, 4000, 400)]
    splits = [
        [(key, f"{key} {n} {'-' * 99}") for key in part] for part in parts for n in range(times)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "FAN_IN", 16)
        got = reduced(splits, kept, Tight(5), size=100 * times)
    expected = [(key, [f"{key} {n} {'-' * 99}" for n in range(times)]) for key in sorted(keys)]
    assert got.results == expected
    assert isinstance(got.outcome, ReduceOutput)
    assert 0 < got.outcome.counts.spilled_bytes < 1.5 * got.given_bytes


plain = st.dictionaries(st.one_of(texts, texts, texts), st.integers(), max_size=12)
any_keys = st.one_of(plain, st.dictionaries(st.one_of(texts, st.none()), st.integers()))


@given(st.lists(any_keys, min_size=1, max_size=12), st.integers(1, 4))
def test_where_other_keys_turn_up_the_merge_is_given_up(
    splits: list[dict[Any, int]], every: int
) -> None:
    given = [list(split.items()) for split in splits]
    expected = reduced(given, kept, Unbounded())
    got = reduced(given, kept, Tight(every))
    assert got.results == expected.results
    assert isinstance(got.outcome, ReduceOutput)


def test_keys_of_different_runs_that_have_no_order_are_named() -> None:
    for one, other in (("a", 1), ((1, "a"), ("a", 1)), ((1, 2), (1, "a"))):
        splits = [[(one, 1)], [((one, 0) if type(one) is tuple else one + "b", 2)], [(other, 3)]]
        for gauge in (Tight(1), Tight(2), Unbounded()):
            outcome = reduced(splits, kept, gauge).outcome
            assert isinstance(outcome, Failed)
            assert "cannot be put in order" in outcome.failure.message


def test_values_of_a_key_in_all_runs_are_read_from_disk() -> None:
    kinds = set()

    def noted(key: str, values: Any) -> Any:
        kinds.add((key, type(values)))
        return list(values)

    splits = [[(f"a{n:03}", n), (f"b{n:03}", n), ("c", n), (f"d{n:03}", n)] for n in range(200)]
    got = reduced(splits, noted, Tight(7))
    assert dict(got.results)["c"] == [*range(200)]
    assert [key for key, _ in got.results] == sorted(key for key, _ in got.results)
    assert len(got.results) == 601
    assert kinds >= {("c", Values), ("a000", list)}
