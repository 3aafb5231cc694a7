"""Keys whose own methods raise: it is told as the user's, at the record where that is known."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from execution_runs import attempt, items_split, reduce_work, results_of

from map_reduce.core.messages import (
    Failed,
    MapOutput,
    MapWork,
    Outcome,
    ReduceOutput,
    Sampled,
    SampleWork,
    Skipping,
    WholeWork,
    Work,
)
from map_reduce.execution.attempt import LoadedFunctions
from map_reduce.execution.key_faults import method_of
from map_reduce.ports import LocalInput

ANY = Skipping()
RAISING: set[str] = set()
"""Methods that raise for all keys, as in another process."""


@functools.total_ordering
class Key:
    """A key that collides with all others. ``bad``: which of its methods raises, for itself as well
    or ("eq others") beside others only."""

    def __init__(self, number: int, bad: str = "") -> None:
        self.number = number
        self.bad = bad

    def _try(self, method: str, other: Key) -> None:
        bad = {self.bad, other.bad} | RAISING
        if method in bad or (f"{method} others" in bad and other is not self):
            raise ZeroDivisionError(f"no {method}")

    def __hash__(self) -> int:
        self._try("hash", self)
        return 7

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        self._try("eq", other)
        return self.number == other.number

    def __lt__(self, other: Key) -> bool:
        self._try("lt", other)
        return self.number < other.number

    def __repr__(self) -> str:
        return f"Key({self.number})"


def keyed(number: int, bad: str) -> list[tuple[Any, int]]:
    """Pairs with other new keys beside the one."""
    others = [("all", number), (f"only {number}", number), ((number, None), number)]
    return [*others, (Key(number, bad), number)]


def ordered(number: int, bad: str) -> list[tuple[Any, int]]:
    return [(Key(number % 2), number), (Key(10 + number, bad), number)]


def listed(key: Any, values: list[Any]) -> Any:
    return list(values)


def total(key: Any, values: Any) -> Any:
    return sum(values)


BAD_ONES = (2, 4)
GOOD_ONES = (0, 1, 3, 5)


def run(
    here: Path,
    bad: str,
    functions: LoadedFunctions,
    skipping: Skipping | None = None,
    partitions: int = 0,
) -> tuple[Outcome, Path | None]:
    """Of six records the third and the fifth give a bad key. A task of its own, or a map task."""
    split = items_split([bad if number in BAD_ONES else "" for number in range(6)])
    work: Work = MapWork(split, partitions) if partitions else WholeWork(split)
    return attempt(work, functions, here / "out", skipping=skipping)


@pytest.mark.parametrize("reduce", [listed, total])
@pytest.mark.parametrize("bad", ["hash", "eq", "eq others"])
def test_records_whose_keys_cannot_be_grouped_by_are_left_out(
    bad: str, reduce: Any, tmp_path: Path
) -> None:
    outcome, path = run(tmp_path, bad, LoadedFunctions(keyed, reduce, None), ANY)
    assert isinstance(outcome, ReduceOutput), outcome
    assert [one.where for one in outcome.tally.skipped] == ["item 2", "item 4"]
    error = "cannot be grouped by: no hash" if bad == "hash" else "ZeroDivisionError: no eq"
    assert all(error in one.error for one in outcome.tally.skipped)
    results = {str(key): value for key, value in results_of(outcome, path)}
    assert results.pop("all") == reduce("", GOOD_ONES)
    names = [{f"only {number}", f"({number}, None)", f"Key({number})"} for number in GOOD_ONES]
    assert results.keys() == set().union(*names)


@pytest.mark.parametrize("partitions", [0, 3])
def test_so_are_those_that_cannot_be_sorted_by(partitions: int, tmp_path: Path) -> None:
    functions = LoadedFunctions(ordered, listed, None, sorts=True)
    outcome, path = run(tmp_path, "lt", functions, ANY, partitions)
    assert isinstance(outcome, MapOutput | ReduceOutput), outcome
    assert [one.where for one in outcome.tally.skipped] == ["item 2", "item 4"]
    if not partitions:
        results = [(key.number, values) for key, values in results_of(outcome, path)]
        assert results == [(0, [0]), (1, [1, 3, 5]), *((10 + n, [n]) for n in GOOD_ONES)]


def half_ordered(number: int, bad: str) -> list[tuple[Any, int]]:
    """A bad record has a key that no other can be compared with, besides one that raises."""
    return [("others", number), (number, number), (Key(number, bad), 0)][: 3 if bad else 1]


@pytest.mark.parametrize("partitions", [0, 3])
def test_a_bad_records_other_keys_need_no_order(partitions: int, tmp_path: Path) -> None:
    functions = LoadedFunctions(half_ordered, listed, None, sorts=True)
    outcome, path = run(tmp_path, "lt", functions, ANY, partitions)
    assert isinstance(outcome, MapOutput | ReduceOutput), outcome
    assert [one.where for one in outcome.tally.skipped] == ["item 2", "item 4"]
    if not partitions:
        assert results_of(outcome, path) == [("others", list(GOOD_ONES))]


def test_keys_of_good_records_that_have_no_order_fail_the_job_as_ever(tmp_path: Path) -> None:
    functions = LoadedFunctions(
        lambda number, bad: [("x", 1), (number, 1)], listed, None, sorts=True
    )
    outcome, _ = run(tmp_path, "", functions, ANY)
    assert isinstance(outcome, Failed)
    assert "cannot be put in order" in outcome.failure.message


@pytest.mark.parametrize("bad", ["hash", "eq", "eq others"])
def test_else_the_task_fails_and_names_the_record_and_the_method(bad: str, tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, bad, LoadedFunctions(keyed, listed, None), partitions=2)
    assert isinstance(outcome, Failed)
    message, suspect = outcome.failure.message, outcome.suspect
    assert suspect is not None
    assert (suspect.phase, suspect.position) == ("map", 2)
    assert "at item 2" in message
    assert ("in Key.__eq__, of keys of type Key" in message) == ("eq" in bad)
    assert "in _try" in message


@pytest.mark.parametrize("skipping", [None, ANY])
@pytest.mark.parametrize("partitions", [0, 3])
def test_keys_that_cannot_be_compared_with_one_another_are_named_with_their_records(
    skipping: Skipping | None, partitions: int, tmp_path: Path
) -> None:
    functions = LoadedFunctions(ordered, listed, None, sorts=True)
    outcome, _ = run(tmp_path, "lt others", functions, skipping, partitions)
    assert isinstance(outcome, Failed)
    told = outcome.failure.message
    assert told.startswith("ZeroDivisionError: no lt\n  in Key.__lt__, of keys of type Key: ")
    assert "Key(12) is from item 2 ('lt others')" in told
    assert "in _try" in told
    assert (outcome.failure.kind, outcome.retry) == ("MapError", True)


@pytest.mark.parametrize("sorts", [False, True])
@pytest.mark.parametrize("skipping", [None, ANY])
@pytest.mark.parametrize("method", ["hash", "eq", "lt"])
def test_where_reduce_comes_upon_it_the_map_output_is_named(
    method: str, skipping: Skipping | None, sorts: bool, tmp_path: Path
) -> None:
    functions = LoadedFunctions(ordered, listed, None, sorts)
    mapped = []
    for number in range(2):
        work = MapWork(items_split(["", ""]), 1)
        outcome, path = attempt(work, functions, tmp_path / f"map{number}")
        assert isinstance(outcome, MapOutput), outcome
        assert path is not None
        mapped.append((path, outcome.sizes))
    reducing, local = reduce_work(mapped, 0, 1)
    RAISING.add(f"{method} others" if method == "eq" else method)
    try:
        outcome, _ = attempt(reducing, functions, tmp_path / "r", local, skipping=skipping)
    finally:
        RAISING.clear()
    if method == "lt" and not sorts:
        assert isinstance(outcome, ReduceOutput)
        return
    assert isinstance(outcome, Failed)
    assert outcome.failure.kind == "ReduceError"
    assert f"in Key.__{method}__, of keys of type Key: " in outcome.failure.message
    if method == "lt":
        assert "is from map output map-0 of node" in outcome.failure.message


def test_a_sample_leaves_them_to_the_job(tmp_path: Path) -> None:
    items = [("lt" if number in BAD_ONES else "") for number in range(6)]
    functions = LoadedFunctions(ordered, listed, None, sorts=True)
    for work in (SampleWork((items_split(items),), 3), SampleWork((items_split([""] * 6),), 3)):
        outcome, _ = attempt(work, functions, tmp_path / "out", LocalInput())
        assert isinstance(outcome, Sampled), outcome
        assert outcome.bounds == 2


def test_what_user_code_does_with_its_own_objects_is_no_fault_of_keys() -> None:
    def compares(number: int, item: str) -> Any:
        return Key(0, "eq") == Key(1)

    for raising in (compares, lambda number, item: 1 // 0):
        with pytest.raises(ZeroDivisionError) as raised:
            raising(0, "")
        assert method_of(raised.value.with_traceback(raised.tb.tb_next)) is None
