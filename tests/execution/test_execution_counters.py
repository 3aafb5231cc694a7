"""Counters of an attempt: what it tells with its outcome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from execution_runs import attempt, items_split, reduce_work

from map_reduce import counter
from map_reduce.core.messages import MapOutput, MapWork, ReduceOutput, WholeWork
from map_reduce.counters import counting
from map_reduce.execution.attempt import LoadedFunctions


def map(index: int, item: Any) -> Iterator[tuple[Any, Any]]:
    counter("mapped").add()
    yield item, 1


def total(key: Any, values: list[Any]) -> Any:
    return sum(values)


def counted_total(key: Any, values: list[Any]) -> Any:
    counter("reduced").add()
    return sum(values)


def test_a_map_and_a_reduce_tell_what_they_counted(tmp_path: Path) -> None:
    functions = LoadedFunctions(map, counted_total, None)
    mapped, path = attempt(MapWork(items_split(["a", "b", "a"]), 1), functions, tmp_path / "m")
    assert isinstance(mapped, MapOutput)
    assert path is not None
    assert mapped.tally.counters == (("mapped", 3),)
    work, local = reduce_work([(path, mapped.sizes)], 0, 1)
    reduced, _ = attempt(work, functions, tmp_path / "r", local)
    assert isinstance(reduced, ReduceOutput)
    assert reduced.tally.counters == (("reduced", 2),)


def test_a_whole_job_tells_both(tmp_path: Path) -> None:
    functions = LoadedFunctions(map, counted_total, None)
    outcome, _ = attempt(WholeWork(items_split(["a", "b", "a"])), functions, tmp_path / "m")
    assert isinstance(outcome, ReduceOutput)
    assert outcome.tally.counters == (("mapped", 3), ("reduced", 2))


def test_records_that_are_mapped_again_in_the_ordinary_way_count_once(tmp_path: Path) -> None:
    def floats(index: int, item: Any) -> Iterator[tuple[Any, Any]]:
        counter("mapped").add()
        yield item, 0.5  # sums of floats cannot be added up as they come: see summing.py

    functions = LoadedFunctions(floats, total, None)
    outcome, _ = attempt(WholeWork(items_split(["a"] * 5000)), functions, tmp_path / "m")
    assert isinstance(outcome, ReduceOutput)
    assert outcome.tally.counters == (("mapped", 5000),)


def test_nothing_is_left_of_an_attempt_that_failed(tmp_path: Path) -> None:
    def fails(index: int, item: Any) -> Any:
        counter("mapped").add()
        raise ValueError(item)

    work = WholeWork(items_split(["a"]))
    attempt(work, LoadedFunctions(fails, total, None), tmp_path / "m")
    with counting() as counted:
        outcome, _ = attempt(work, LoadedFunctions(map, total, None), tmp_path / "m")
    assert isinstance(outcome, ReduceOutput)
    assert outcome.tally.counters == (("mapped", 1),)
    assert counted == {}
