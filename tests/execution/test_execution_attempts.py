"""What surrounds an attempt: progress, notes, combining in bounded memory, the file between."""

from __future__ import annotations

import gc
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from execution_runs import attempt, folder, items_split, reduce_work, results_of, run_job
from test_execution_read import file_split

from map_reduce.core.messages import Failed, MapOutput, MapWork, ReduceOutput, WholeWork
from map_reduce.execution import map_side, read
from map_reduce.execution.attempt import GC_THRESHOLD, LoadedFunctions, Tracker
from map_reduce.execution.pickles import dump_lists
from map_reduce.execution.reduce_side import position_of
from map_reduce.execution.segments import HEADER
from map_reduce.pickling import dumps
from map_reduce.ports import LocalInput, LocalSource

COUNTING = LoadedFunctions(
    lambda n, line: [(w, 1) for w in line.split()], lambda w, c: sum(c), None
)


# ---------------------------------------------------------------------- progress


def test_the_tracker_tells_the_very_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "PIECE_BYTES", 4)
    tracker = Tracker()
    seen = []

    def map(number: int, line: str) -> Any:
        seen.append((tracker.records, tracker.bytes_in, tracker.current))
        yield line, number
        seen.append((tracker.records, tracker.bytes_in, tracker.current))

    def reduce(key: str, values: list[int]) -> int:
        seen.append((tracker.records, tracker.current))
        return values[0]

    path = tmp_path / "f"
    path.write_text("a\nb\nc\nd\ne\n")
    functions = LoadedFunctions(map, reduce, None)
    assert (tracker.records, tracker.bytes_in, tracker.current) == (0, 0, "")
    attempt(WholeWork(file_split(path, first_line=7)), functions, tmp_path / "o", tracker=tracker)
    mapped = [(n + 1, 2 * (n + 1), f"line {n + 7} of {path}") for n in range(5)]
    assert seen == [
        *(entry for entry in mapped for _ in range(2)),
        *((n + 1, f"key '{key}'") for n, key in enumerate("abcde")),
    ]


@pytest.mark.parametrize("careful", [True, False])
def test_a_careful_attempt_notes_each_record_before_it(tmp_path: Path, careful: bool) -> None:
    said: list[str] = []

    def map(index: int, item: str) -> Any:
        said.append(f"map {item}")
        return [(item, 1)]

    def reduce(key: str, values: list[int]) -> int:
        said.append(f"reduce {key}")
        return 1

    functions = LoadedFunctions(map, reduce, None)
    work = WholeWork(items_split(["a", "b"]))

    def note(phase: str, position: int, where: str, record: str) -> None:
        said.append(f"{phase} {position}, {where}: {record}" if phase else "nothing")

    tracker = Tracker(note)
    outcome, path = attempt(work, functions, tmp_path / "o", tracker=tracker, careful=careful)
    assert results_of(outcome, path) == [("a", 1), ("b", 1)]
    done = ["map a", "map b", "reduce a", "reduce b"]
    assert [text for text in said if text in done] == done
    noted = [
        "map 0, item 0: 'a'",
        "map 1, item 1: 'b'",
        f"reduce {position_of('a')}, key 'a': ",
        f"reduce {position_of('b')}, key 'b': ",
    ]
    if careful:  # and nothing, while no record or key is worked on
        pairs = [text for both in zip(noted, done, strict=True) for text in both]
        assert said == ["nothing", *pairs[:4], "nothing", *pairs[4:], "nothing"]
    else:
        assert said == done


def test_counts(tmp_path: Path) -> None:
    split = items_split(["a b", "b"])
    counting = COUNTING._replace(reduce=lambda word, counts: len(counts))
    outcome, path = attempt(MapWork(split, 2), counting, tmp_path / "m")
    assert isinstance(outcome, MapOutput)
    assert path is not None
    counts = outcome.counts
    assert (counts.records_in, counts.records_out) == (2, 3)
    assert (counts.bytes_in, counts.bytes_out) == (len(split.data), path.stat().st_size)
    work, local = reduce_work([(path, outcome.sizes)], 0, 2)
    reduced, _ = attempt(work, counting, tmp_path / "r", local)
    assert isinstance(reduced, ReduceOutput)
    assert (reduced.counts.records_in, reduced.counts.records_out) == (3, 2)
    assert reduced.counts.bytes_out == len(reduced.part.inline)


def test_garbage_collection_is_as_it_was() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    seen = []

    def map(index: int, item: str) -> Any:
        seen.append(gc.get_threshold())
        return [(item, 1)] if item == "a" else None

    functions = LoadedFunctions(map, lambda key, values: 1, None)
    for items in (["a"], ["b"]):
        with folder() as here:
            attempt(WholeWork(items_split(items)), functions, here / "o")
        assert (gc.get_threshold(), gc.get_freeze_count()) == before
        assert gc.isenabled()
    assert seen == [GC_THRESHOLD] * 2


# ---------------------------------------------------------------------- combining


def test_a_combiner_bounds_what_a_frequent_key_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_side, "PAIRS_PER_SWEEP", 100)
    lengths: list[int] = []

    def combine(key: str, values: list[int]) -> int:
        lengths.append(len(values))
        return sum(values)

    def map(index: int, item: str) -> Any:  # one record gives all the pairs
        for n in range(10_000):
            yield n % 3, 1

    functions = LoadedFunctions(map, lambda key, values: sum(values), combine)
    with folder() as here:
        outcome, path = attempt(WholeWork(items_split(["x"])), functions, here / "o")
        assert results_of(outcome, path) == [(0, 3334), (1, 3333), (2, 3333)]
    assert max(lengths) <= 100 / 3 + 2
    assert len(lengths) >= 297


def test_a_combiner_may_give_its_list_back() -> None:
    functions = LoadedFunctions(
        lambda index, item: [("k", [item])],
        lambda key, values: [x for value in values for x in value],
        lambda key, values: [x for value in values for x in value],
    )
    assert run_job(functions, [items_split([1, 2, 3]), items_split([4], 3)], 1) == [
        [("k", [1, 2, 3, 4])]
    ]
    lists = LoadedFunctions(
        lambda index, item: [("k", item)], lambda key, values: values, lambda key, values: values
    )
    assert run_job(lists, [items_split([1, 2])], 1) == [[("k", [[1, 2]])]]


def test_a_combiner_makes_the_file_small(tmp_path: Path) -> None:
    split = items_split([f"w{n % 10}" for n in range(10_000)])
    sizes = []
    for combine in (None, lambda word, counts: max(counts)):
        functions = COUNTING._replace(reduce=lambda word, counts: max(counts), combine=combine)
        outcome, _ = attempt(MapWork(split, 4), functions, tmp_path / "m")
        assert isinstance(outcome, MapOutput)
        sizes.append(sum(outcome.sizes))
    assert sizes[1] < sizes[0] / 20


# ---------------------------------------------------------------------- the file between


def _mapped(here: Path, text: str = "a b c d e f") -> tuple[Path, tuple[int, ...]]:
    outcome, path = attempt(MapWork(items_split([text]), 3), COUNTING, here / "m")
    assert isinstance(outcome, MapOutput)
    assert path is not None
    return path, outcome.sizes


def test_no_damaged_byte_goes_unnoticed(tmp_path: Path) -> None:
    path, sizes = _mapped(tmp_path)
    good = path.read_bytes()
    work, local = reduce_work([(path, sizes)], 0, 3)
    for position in range(len(good)):
        for flip in (1, 0x80):
            bad = bytearray(good)
            bad[position] ^= flip
            path.write_bytes(bad)
            outcome, output = attempt(work, COUNTING, tmp_path / "r", local)
            assert isinstance(outcome, Failed), position
            assert outcome.failure.kind == "BlockCorruptError"
            assert "map output map-0 of node 127.0.0.1:9000" in outcome.failure.message
            assert outcome.retry
            assert outcome.lost_source == work.sources[0]
            assert output is None


def test_no_missing_end_goes_unnoticed(tmp_path: Path) -> None:
    path, sizes = _mapped(tmp_path)
    good = path.read_bytes()
    work, _ = reduce_work([(path, sizes)], 0, 3)
    ends = {sum(sizes[:n]) for n in range(4)}
    for length in set(range(len(good))) - ends:
        for data, told in ((good[:length], len(good)), (good, length)):
            path.write_bytes(data)
            local = LocalInput(sources=(LocalSource(path, 0, told),))
            outcome, _ = attempt(work, COUNTING, tmp_path / "r", local)
            assert isinstance(outcome, Failed), length
            assert outcome.failure.kind == "BlockCorruptError"


def test_another_partitions_segment_is_noticed(tmp_path: Path) -> None:
    path, sizes = _mapped(tmp_path, " ".join(map(str, range(100))))  # so that none is empty
    work, _ = reduce_work([(path, sizes)], 0, 1)
    outcome, _ = attempt(
        work,
        COUNTING,
        tmp_path / "r",
        LocalInput(sources=(LocalSource(path, sizes[0], sizes[1]),)),
    )
    assert isinstance(outcome, Failed)
    assert "which is not asked of it here" in outcome.failure.message


def test_a_file_that_cannot_be_read_may_be_tried_again(tmp_path: Path) -> None:
    path, sizes = _mapped(tmp_path)
    work, local = reduce_work([(path, sizes)], 0, 3)
    path.unlink()
    outcome, _ = attempt(work, COUNTING, tmp_path / "r", local)
    assert isinstance(outcome, Failed)
    assert outcome.retry
    assert str(path) in outcome.failure.message
    outcome, _ = attempt(MapWork(items_split(["a"]), 1), COUNTING, tmp_path / "no" / "folder")
    assert isinstance(outcome, Failed)
    assert outcome.retry


def test_an_empty_partition_has_no_bytes(tmp_path: Path) -> None:
    outcome, path = attempt(MapWork(items_split(["a"]), 50), COUNTING, tmp_path / "m")
    assert isinstance(outcome, MapOutput)
    assert Counter(size > 0 for size in outcome.sizes) == {True: 1, False: 49}
    outcome, path = attempt(MapWork(items_split([]), 50), COUNTING, tmp_path / "m")
    assert isinstance(outcome, MapOutput)
    assert outcome.sizes == (0,) * 50
    assert path is not None
    assert path.read_bytes() == b""


def test_values_keep_their_types(tmp_path: Path) -> None:
    values = [bytearray(b"ab"), memoryview(b"ab").tobytes(), {1: [2]}, {3}, True, 1 << 80, 1j, None]
    functions = LoadedFunctions(
        lambda index, item: [(0, values[item])], lambda key, values: values, None
    )
    for chosen in (range(8), range(4, 6), range(1)):
        [[(_, found)]] = run_job(functions, [items_split(list(chosen))], 1)
        assert repr(found) == repr([values[n] for n in chosen])


def test_lists_of_scalars_are_pickled_without_a_memo_and_others_with_it() -> None:
    line = "x" * 1000
    words = [f"word {n}" for n in range(100)]
    assert len(dump_lists(words, list(range(100)))) < len(dumps((words, list(range(100)))))
    for repeated in ([line] * 100, [(line, n) for n in range(100)], [[line]] * 100):
        assert len(dump_lists(words, repeated)) < 5000
    cycle: list[Any] = []
    cycle.append([cycle])
    assert len(pickle.loads(dump_lists([cycle]))) == 1
    for values in ([1, (2, "a"), None], [[1.5, b"b"]], [(1, (2,))], [{}], [True]):
        assert pickle.loads(dump_lists(values, [])) == (values, [])


def test_the_header_has_the_size_that_the_picture_has() -> None:
    assert HEADER.size == 4 + 4 + 4 * 8 + 4
