"""Several files in one split: records, positions, and what is said of the one that is at fault."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from execution_runs import attempt, folder, results_of
from hypothesis import given
from hypothesis import strategies as st
from test_execution_read import PACKERS, file_split, lines_of, records, texts

from map_reduce import reducers
from map_reduce.core.messages import (
    BadRecord,
    Failed,
    FileTexts,
    MapWork,
    ReduceOutput,
    Skipping,
    Suspect,
    WholeWork,
    size_bytes_of,
)
from map_reduce.errors import (
    InputChangedError,
    InputEncodingError,
    InputMissingError,
    InputUnreadableError,
)
from map_reduce.execution import read
from map_reduce.execution.attempt import LoadedFunctions, Tracker
from map_reduce.execution.functions import prepared
from map_reduce.execution.read import batches_of, name_of

ANY = Skipping()


def split_of(paths: Sequence[Path], **format: str) -> FileTexts:
    return FileTexts.of([file_split(path, **format) for path in paths])


def written(here: Path, *contents: bytes) -> list[Path]:
    paths = [here / f"{name}.txt" for name in "abcdefgh"[: len(contents)]]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return written(tmp_path, b"one\ntwo\n", b"three\nfour\nfive", b"six\nseven\n")


@given(
    contents=st.lists(texts, min_size=1, max_size=5),
    piece=st.integers(1, 8),
    compression=st.sampled_from(list(PACKERS)),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]),
    keep_bad=st.booleans(),
)
def test_lines_are_numbered_in_each_file_and_found_again_in_the_split(
    contents: list[str], piece: int, compression: str, encoding: str, keep_bad: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch, folder() as here:
        patch.setattr(read, "PIECE_BYTES", piece)
        packed = [PACKERS[compression](text.encode(encoding)) for text in contents]
        paths = written(here, *packed)
        split = split_of(paths, encoding=encoding, compression=compression)
        found = list(batches_of(split, None, keep_bad=keep_bad))
        expected = [
            (f"line {number} of {path}", number, line)
            for path, text in zip(paths, contents, strict=True)
            for number, line in enumerate(lines_of(text))
        ]
        assert [
            (name_of(split, batch, at), batch.keys[at], value)
            for batch in found
            for at, value in enumerate(batch.values)
        ] == expected
        positions = [position for batch in found for position in batch.positions]
        assert positions == list(range(len(expected)))
        reached = [batch.bytes_in for batch in found]
        assert reached == sorted(reached)
        assert not reached or reached[-1] <= size_bytes_of(split) == sum(map(len, packed))


# ---------------------------------------------------------------------- files at fault


def gone(path: Path) -> None:
    path.unlink()


def rewritten(path: Path) -> None:
    os.utime(path, ns=(0, 1))


def grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more\n")


def replaced(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize(
    ("spoil", "kind", "says"),
    [
        (gone, InputMissingError, "there is no file {} on this node"),
        (rewritten, InputChangedError, "{} has changed since the job was submitted: it was"),
        (grown, InputChangedError, "{} has changed since the job was submitted: it had"),
        (replaced, InputUnreadableError, "{} is not a regular file"),
    ],
)
def test_each_file_is_looked_at_and_named(
    three: list[Path],
    at: int,
    spoil: Callable[[Path], None],
    kind: type[Exception],
    says: str,
) -> None:
    split = split_of(three)
    spoil(three[at])
    with pytest.raises(kind) as caught:
        records(split)
    assert says.format(three[at]) in str(caught.value)
    assert not any(str(path) in str(caught.value) for path in three if path != three[at])


def test_a_file_that_changes_while_it_is_read(three: list[Path]) -> None:
    batches = batches_of(split_of(three), None)
    assert next(batches).values == ["one", "two"]
    assert next(batches).values == ["three", "four"]
    grown(three[1])
    with pytest.raises(InputChangedError, match=r"b\.txt has changed"):
        list(batches)


def test_bytes_that_are_not_text_are_named_by_their_place_in_their_file(tmp_path: Path) -> None:
    paths = written(tmp_path, b"one\ntwo\n", b"three\nab\xff\n", b"\xfe\n")
    with pytest.raises(InputEncodingError, match=r"b\.txt is not utf-8: byte 0xff at offset 8"):
        records(split_of(paths))
    with pytest.raises(InputEncodingError, match=r"c\.txt is not utf-8: byte 0xfe at offset 0"):
        records(split_of([paths[0], paths[2]]))


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    packed = gzip.compress(os.urandom(99))
    paths = written(tmp_path, gzip.compress(b"a\n"), packed[:-9])
    with pytest.raises(InputUnreadableError, match=r"b\.txt is a damaged gzip file"):
        records(split_of(paths, compression="gzip"))


# ---------------------------------------------------------------------- records at fault


def invert(number: int, line: str) -> Any:
    return [("sum", 1 / (line != "four"))]


def no_pairs(number: int, line: str) -> Any:
    return None if line == "four" else [(line, 1)]


def no_pair(number: int, line: str) -> Any:
    return [(line, 1) if line != "four" else "ab"]


def no_key(number: int, line: str) -> Any:
    yield (line, 1) if line != "four" else ([], 1)


@pytest.mark.parametrize("map", [invert, no_pairs, no_pair, no_key])
@pytest.mark.parametrize("combine", [None, lambda key, values: sum(values)])
@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize("skips", [False, True])
def test_a_bad_record_is_named_by_its_file_and_line(
    three: list[Path],
    tmp_path: Path,
    map: Callable[..., Any],
    combine: Callable[..., Any] | None,
    careful: bool,
    skips: bool,
) -> None:
    functions = LoadedFunctions(map, lambda key, values: sum(values), combine)
    noted: list[tuple[str, int, str, str]] = []
    tracker = Tracker(lambda *note: noted.append(note))
    skipping = ANY if skips else None
    work = MapWork(split_of(three), 2)
    outcome, _ = attempt(work, functions, tmp_path / "o", None, tracker, careful, skipping)
    where = f"line 1 of {three[1]}"
    if skips:
        assert not isinstance(outcome, Failed)
        [bad] = outcome.tally.skipped  # type: ignore[union-attr]
        assert (bad.where, bad.record) == (where, "'four'")
    else:
        assert isinstance(outcome, Failed)
        assert where in outcome.failure.message
        assert "three" not in outcome.failure.message
        assert outcome.suspect is not None
        assert outcome.suspect.position == 3
    if careful:
        assert ("map", 3, where, "'four'") in noted
        assert {note[2] for note in noted if note[1] == 3} == {where}


@pytest.mark.parametrize("at", range(9))
def test_a_file_that_is_mapped_a_few_lines_at_a_time(tmp_path: Path, at: int) -> None:
    lines = [b"line\n"] * 9
    lines[at] = b"four\n"
    paths = written(tmp_path, b"line\n" * 9, b"".join(lines))
    functions = LoadedFunctions(invert, lambda key, values: sum(values), None)
    outcome, _ = attempt(MapWork(split_of(paths), 2), functions, tmp_path / "o")
    assert isinstance(outcome, Failed)
    assert f"line {at} of {paths[1]} (counted from 0)" in outcome.failure.message
    assert outcome.suspect is not None
    assert outcome.suspect.position == 9 + at


def test_where_it_is_can_be_told_at_any_time(three: list[Path], tmp_path: Path) -> None:
    seen = []
    tracker = Tracker()

    def look(number: int, line: str) -> Any:
        seen.append((tracker.current, tracker.records))
        return [(line, number)]

    functions = LoadedFunctions(look, lambda key, values: values, None)
    attempt(WholeWork(split_of(three)), functions, tmp_path / "o", None, tracker)
    a, b, c = three
    assert seen == [
        (f"line {number} of {path}", count)
        for count, (number, path) in enumerate(
            [(0, a), (1, a), (0, b), (1, b), (2, b), (0, c), (1, c)], 1
        )
    ]


def test_what_ended_attempts_is_one_line_of_one_file(three: list[Path], tmp_path: Path) -> None:
    """Line 1 is in each of them; that of the second file is left out, by its position."""
    functions = LoadedFunctions(lambda n, line: [(line, n)], lambda key, values: values[0], None)
    bad = BadRecord(f"line 1 of {three[1]}", "", "died")
    skipping = Skipping(-1, (Suspect("map", 3, bad),))
    work = WholeWork(split_of(three))
    outcome, path = attempt(work, functions, tmp_path / "o", careful=True, skipping=skipping)
    assert isinstance(outcome, ReduceOutput)
    expected = {"one": 0, "two": 1, "three": 0, "five": 2, "six": 0, "seven": 1}
    assert dict(results_of(outcome, path)) == expected
    assert outcome.tally.skipped == (bad,)


def test_lines_that_cannot_be_decoded_are_left_out_of_their_files(tmp_path: Path) -> None:
    paths = written(tmp_path, b"a\n\xff\n", b"b\n", b"\xfe\nc\n\xfd")
    functions = LoadedFunctions(lambda n, line: [(line, n)], lambda key, values: values[0], None)
    outcome, path = attempt(WholeWork(split_of(paths)), functions, tmp_path / "o", skipping=ANY)
    assert isinstance(outcome, ReduceOutput)
    assert dict(results_of(outcome, path)) == {"a": 0, "b": 0, "c": 1}
    assert [(bad.where, bad.record) for bad in outcome.tally.skipped] == [
        (f"line 1 of {paths[0]}", r"b'\xff'"),
        (f"line 0 of {paths[2]}", r"b'\xfe'"),
        (f"line 2 of {paths[2]}", r"b'\xfd'"),
    ]
    assert outcome.counts.records_in == 6
    assert outcome.counts.bytes_in == size_bytes_of(split_of(paths))


def test_keys_that_have_no_order_are_traced_to_their_files(
    three: list[Path], tmp_path: Path
) -> None:
    def mixed(number: int, line: str) -> Any:
        return [(number if line == "seven" else line, 1)]

    functions = prepared(mixed, reducers.collect, None, sorts=True)
    outcome, _ = attempt(MapWork(split_of(three), 2), functions, tmp_path / "o")
    assert isinstance(outcome, Failed)
    assert outcome.failure.kind == "BadKeyError"
    assert f"1 is from line 1 of {three[2]} ('seven')" in outcome.failure.message
