"""Bad records left out: what is missing, what is told of it, and that nothing else changes."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from execution_runs import attempt, folder, items_split, reduce_work, results_of
from hypothesis import given
from hypothesis import strategies as st
from test_execution_read import file_split

from map_reduce import counter
from map_reduce.core.messages import (
    BAD_RECORDS_KEPT_MAX,
    BadRecord,
    Failed,
    MapOutput,
    MapWork,
    Outcome,
    ReduceOutput,
    Skipping,
    Suspect,
    Tally,
    WholeWork,
)
from map_reduce.counters import counting
from map_reduce.execution.attempt import LoadedFunctions, Tracker
from map_reduce.execution.reduce_side import position_of

ANY = Skipping()


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("not this one")


class UnpicklableKey(Unpicklable):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnpicklableKey)

    def __hash__(self) -> int:
        return 7


def raises_half_way(item: str) -> Any:
    counter("begun").add()
    yield item, 1
    raise KeyError(item)


BAD: dict[str, Callable[[str], Any]] = {
    "raises": lambda item: 1 // 0,
    "half": raises_half_way,
    "none": lambda item: None,
    "number": lambda item: 5,
    "text": lambda item: ["ab"],
    "triple": lambda item: [(1, 2, 3)],
    "late": lambda item: [(item, 1), None],
    "unhashable": lambda item: [("good", 1), ([], 1)],
    "identity": lambda item: [(object(), 1)],
    "exits": lambda item: exit(3),
    "stops": lambda item: next(iter([])),
    "unpicklable value": lambda item: [("good", 1), ("k", Unpicklable())],
    "unpicklable key": lambda item: [(UnpicklableKey(), 1)],
}


def map(index: int, item: str) -> Any:
    counter("mapped").add()
    if item in BAD:
        return BAD[item](item)
    return [(item, index), (index % 3, item)]


def listed(key: Any, values: list[Any]) -> Any:
    if key == "c":
        raise LookupError(key)
    counter("reduced").add()
    return list(values)


def joined(key: Any, values: list[Any]) -> Any:
    return [one for value in values for one in (value if type(value) is list else [value])]


def told(outcome: Outcome) -> Tally:
    assert isinstance(outcome, MapOutput | ReduceOutput), outcome
    return outcome.tally


def of_good_ones(items: list[str]) -> tuple[dict[Any, Any], dict[str, int]]:
    """What a plain loop gives that leaves out the bad ones."""
    groups: dict[Any, list[Any]] = {}
    with counting() as counted:
        for index, item in enumerate(items):
            if item not in BAD:
                for key, value in map(index, item):
                    groups.setdefault(key, []).append(value)
        results = {key: listed(key, values) for key, values in groups.items() if key != "c"}
    return results, counted


@given(
    st.lists(st.sampled_from([*"abc", *BAD]), max_size=30),
    st.booleans(),
    st.sampled_from([None, joined]),
)
def test_the_result_is_that_of_the_good_records(
    items: list[str], careful: bool, combine: Callable[..., Any] | None
) -> None:
    functions = LoadedFunctions(map, listed if combine is None else listed_flat, combine)
    with folder() as here:
        tracker = Tracker(lambda *noted: None)
        work = WholeWork(items_split(items))
        outcome, path = attempt(work, functions, here / "o", None, tracker, careful, ANY)
        results, counted = of_good_ones(items)
        assert dict(results_of(outcome, path)) == results
        tally = told(outcome)
    assert dict(tally.counters) == counted
    bad = [f"item {index}" for index, item in enumerate(items) if item in BAD]
    assert tally.records_skipped == len(bad)
    assert tally.keys_skipped == ("c" in items)
    assert [one.where for one in tally.skipped] == bad + ["key 'c'"] * ("c" in items)


def without_address(text: str) -> str:
    return re.sub(r"0x\w+", "0x", text)


def listed_flat(key: Any, values: list[Any]) -> Any:
    return listed(key, joined(key, values))


@pytest.mark.parametrize("kind", BAD)
def test_what_is_told_of_a_bad_record_is_what_would_have_failed_the_job(
    tmp_path: Path, kind: str
) -> None:
    functions = LoadedFunctions(map, listed, None)
    work = MapWork(items_split(["a", kind, "b"]), 2)
    failed, _ = attempt(work, functions, tmp_path / "f")
    assert isinstance(failed, Failed)
    outcome, _ = attempt(work, functions, tmp_path / "s", skipping=ANY)
    [bad] = told(outcome).skipped
    assert (bad.where, bad.record) == ("item 1", repr(kind))
    if not kind.startswith(("unpicklable", "stops")):
        assert without_address(failed.failure.message).startswith(without_address(bad.error))


def test_where_nothing_is_wrong_user_code_runs_once(tmp_path: Path) -> None:
    seen = []

    def watching(index: int, item: str) -> Any:
        seen.append(index)
        return [(item, 1)]

    functions = LoadedFunctions(watching, lambda key, values: len(values), None)
    work = WholeWork(items_split(["a", "b", "a"]))
    outcome, path = attempt(work, functions, tmp_path / "o", skipping=ANY)
    assert results_of(outcome, path) == [("a", 2), ("b", 1)]
    assert seen == [0, 1, 2]
    assert told(outcome) == Tally()


def test_lines_that_cannot_be_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("gut\r\nschön\n\nsch".encode() + b"\xf6n\r\n\xff\nende")
    seen: list[tuple[int, str]] = []

    def collect(number: int, line: str) -> Any:
        seen.append((number, line))
        return [(number, line)]

    functions = LoadedFunctions(collect, lambda key, values: values[0], None)
    outcome, _ = attempt(
        WholeWork(file_split(path, first_line=10)), functions, tmp_path / "o", skipping=ANY
    )
    assert seen[-4:] == [(10, "gut"), (11, "schön"), (12, ""), (15, "ende")]
    assert told(outcome).skipped == (
        BadRecord(
            f"line 13 of {path}",
            r"b'sch\xf6n'",
            "not utf-8: byte 0xf6 at offset 3 of the line: invalid start byte",
        ),
        BadRecord(
            f"line 14 of {path}",
            r"b'\xff'",
            "not utf-8: byte 0xff at offset 0 of the line: invalid start byte",
        ),
    )
    assert isinstance(outcome, ReduceOutput)
    assert outcome.counts.records_in == 6


def test_known_ones_are_not_even_looked_at(tmp_path: Path) -> None:
    seen = []

    def watching(key: Any, value: str) -> Any:
        seen.append(key)
        return [(value, 1)]

    def reduce(key: str, values: list[int]) -> int:
        seen.append(key)
        return 1

    known = (
        Suspect("map", 1, BadRecord("line of b", "", "died")),
        Suspect("reduce", position_of("c"), BadRecord("key 'c'", "", "died")),
    )
    functions = LoadedFunctions(watching, reduce, None)
    for split in (
        items_split(["a", "b", "c", "d"]),
        items_split([(0, "a"), (1, "b"), (2, "c"), (3, "d")], keyed=True),
    ):
        seen.clear()
        outcome, path = attempt(
            WholeWork(split),
            functions,
            tmp_path / "o",
            careful=True,
            skipping=Skipping(-1, known),
        )
        assert results_of(outcome, path) == [("a", 1), ("d", 1)]
        assert seen == [0, 2, 3, "a", "d"]
        assert [bad.where for bad in told(outcome).skipped] == ["line of b", "key 'c'"]


def test_keys_are_known_by_their_hash(tmp_path: Path) -> None:
    functions = LoadedFunctions(map, listed, None)
    items = ["a", "b", "d", "e", "f"]
    mapped, path = attempt(MapWork(items_split(items), 4), functions, tmp_path / "m")
    assert isinstance(mapped, MapOutput)
    assert path is not None
    work, local = reduce_work([(path, mapped.sizes)], 0, 4)
    whole = results_of(*attempt(work, functions, tmp_path / "r", local))
    for place, (key, _) in enumerate(whole):
        bad = BadRecord(f"key {key!r}", "", "died")
        known = (Suspect("reduce", position_of(key), bad),)
        outcome, file = attempt(
            work, functions, tmp_path / "r", local, careful=True, skipping=Skipping(-1, known)
        )
        assert results_of(outcome, file) == whole[:place] + whole[place + 1 :]


def test_one_too_many_ends_the_attempt(tmp_path: Path) -> None:
    functions = LoadedFunctions(map, listed, None)
    work = WholeWork(items_split(["raises", "a", "none", "b", "c"]))
    outcome, _ = attempt(work, functions, tmp_path / "o", skipping=Skipping(3))
    assert told(outcome).records_skipped + told(outcome).keys_skipped == 3
    for left, named in ((2, ["item 0", "item 2", "key 'c'"]), (1, ["item 0", "item 2"])):
        outcome, _ = attempt(work, functions, tmp_path / "o", skipping=Skipping(left))
        assert isinstance(outcome, Failed)
        assert (outcome.failure.kind, outcome.retry) == ("BadRecordsError", False)
        lines = outcome.failure.message.splitlines()[1:-1]
        assert [line.split(":")[0].strip() for line in lines] == named


def test_what_may_pass_is_not_left_out(tmp_path: Path) -> None:
    def unlucky(index: int, item: str) -> Any:
        if item == "lost":
            raise ConnectionResetError("gone")
        return [(item, 1 // (item != "raises"))]

    functions = LoadedFunctions(unlucky, listed, None)
    for items in (["a", "lost"], ["raises", "lost"]):
        outcome, _ = attempt(WholeWork(items_split(items)), functions, tmp_path / "o", skipping=ANY)
        assert isinstance(outcome, Failed)
        assert outcome.retry
        assert outcome.suspect is not None
        assert (outcome.suspect.position, outcome.suspect.cause) == (1, "")


def test_a_combiner_that_raises_leaves_its_values_to_reduce(tmp_path: Path) -> None:
    def combine(key: Any, values: list[Any]) -> Any:
        if key == "b":
            raise ValueError(key)
        return sum(values)

    functions = LoadedFunctions(lambda i, item: [(item, 1)], lambda k, v: (sum(v), len(v)), combine)
    work = WholeWork(items_split(["a", "b", "a", "b"]))
    failed, _ = attempt(work, functions, tmp_path / "o")
    assert isinstance(failed, Failed)
    outcome, path = attempt(work, functions, tmp_path / "o", skipping=ANY)
    assert results_of(outcome, path) == [("a", (2, 1)), ("b", (2, 2))]
    assert told(outcome) == Tally()


def test_results_that_do_not_pickle(tmp_path: Path) -> None:
    def reduce(key: str, values: list[int]) -> Any:
        return Unpicklable() if key == "b" else len(values)

    functions = LoadedFunctions(lambda i, item: [(item, 1)], reduce, None)
    work = WholeWork(items_split(["a", "b", "a"]))
    outcome, path = attempt(work, functions, tmp_path / "o", skipping=ANY)
    assert results_of(outcome, path) == [("a", 2)]
    [bad] = told(outcome).skipped
    assert bad.where == "key 'b'"
    assert "cannot be pickled: TypeError: not this one" in bad.error


def test_so_many_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    long = "x" * 10_000
    functions = LoadedFunctions(lambda i, item: 1 // 0, listed, None)
    work = MapWork(items_split([long] * 500), 1)
    outcome, _ = attempt(work, functions, tmp_path / "o", skipping=ANY)
    assert told(outcome).records_skipped == 500
    assert len(told(outcome).skipped) == BAD_RECORDS_KEPT_MAX
    assert max(len(bad.record) for bad in told(outcome).skipped) < 210
    assert len(pickle.dumps(told(outcome))) < 100_000


def test_wrong_counters_are_no_bad_records(tmp_path: Path) -> None:
    def wrong(index: int, item: str) -> Any:
        counter("x").add(0.5)  # type: ignore[arg-type]

    functions = LoadedFunctions(wrong, listed, None)
    for careful in (True, False):
        work = WholeWork(items_split(["a"]))
        outcome, _ = attempt(work, functions, tmp_path / "o", careful=careful, skipping=ANY)
        assert isinstance(outcome, Failed)
        assert not outcome.retry
