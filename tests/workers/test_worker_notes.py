"""The note that outlives the process that wrote it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.workers.notes import Note, Noted, read_note


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=100), min_size=1))
def test_the_last_text_is_read(texts: list[str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "note")
        note = Note(path)
        for text in texts:
            note.write(text)
            assert read_note(path) == text
        note.close()
        assert read_note(path) == texts[-1]


def test_there_is_none_before_the_first(tmp_path: Path) -> None:
    Note(tmp_path / "note").close()
    assert read_note(tmp_path / "note") == ""
    assert read_note(tmp_path / "nowhere") == ""


@pytest.mark.parametrize("data", [b"", b"\1", b"\3" * 4097])
def test_a_file_that_is_no_note_says_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "note").write_bytes(data)
    assert read_note(tmp_path / "note") == ""


def test_long_text_is_cut_and_what_is_not_unicode_is_replaced(tmp_path: Path) -> None:
    note = Note(tmp_path / "note")
    note.write("é" * 5000)
    assert set(read_note(tmp_path / "note").rstrip("\ufffd")) == {"é"}
    note.write("a\udcffb")
    assert read_note(tmp_path / "note") == "a?b"
    note.close()


def test_a_death_in_the_middle_of_writing_leaves_the_text_before(tmp_path: Path) -> None:
    path = tmp_path / "note"
    note = Note(path)
    note.write("first")
    note.write("second")
    before = path.read_bytes()
    note.write("third, and longer")
    after = path.read_bytes()
    note.close()
    # As if the process had ended after any number of the bytes that differ, in any order in
    # which the byte that says "whole" comes last.
    changed = [place for place in range(1, len(before)) if before[place] != after[place]]
    for count in range(len(changed) + 1):
        torn = bytearray(before)
        for place in changed[:count]:
            torn[place] = after[place]
        path.write_bytes(torn)
        assert read_note(path) == "second"


@given(
    st.sampled_from(["map", "reduce"]),
    st.integers(0, 1 << 62),
    st.floats(0, 1e9),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
)
def test_what_is_noted_of_a_record_is_read_again(
    phase: str, position: int, begun_s: float, where: str, record: str
) -> None:
    noted = Noted(phase, position, begun_s, where, record)
    assert Noted.parse(noted.text()) == noted


@pytest.mark.parametrize("text", ["", "item 3", "map\0x\01.0\0where\0", "map\01\0", "\0\0\0\0"])
def test_a_text_that_tells_of_no_record(text: str) -> None:
    assert Noted.parse(text) is None


def test_a_long_place_is_cut_and_the_record_still_told() -> None:
    noted = Noted("map", 3, 1.0, "x" * 5000, "'r'")
    read = Noted.parse(noted.text())
    assert read is not None
    assert (read.where, read.record) == ("x" * 1000, "'r'")
