"""Results as files: the formats, and what is left where it comes to nothing."""

from __future__ import annotations

import csv
import json
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from map_reduce.client.saving import made_folder, save
from map_reduce.errors import ConfigError, OutputError
from map_reduce.formats import FORMATS, check_format

PARTS = [[[("a", 1), ("b", [2.5, None])], [("ü", True)]], [], [[("c d", "x y")]]]
FLAT = [[("a", 1), ("b", [2.5, None]), ("ü", True)], [], [("c d", "x y")]]


def saved(tmp_path: Path, format: str, parts: Any = PARTS) -> list[Path]:
    return save(parts, made_folder(tmp_path / "out"), format)


def test_a_file_for_each_part_with_its_keys_in_order(tmp_path):
    paths = saved(tmp_path, "jsonl")
    assert [path.name for path in paths] == [f"part-0000{n}.jsonl" for n in range(3)]
    assert sorted((tmp_path / "out").iterdir()) == paths
    read = [[tuple(json.loads(line)) for line in path.open(encoding="utf-8")] for path in paths]
    assert read == FLAT


def test_text(tmp_path):
    first, _, last = saved(tmp_path, "text")
    assert first.read_text("utf-8") == "a\t1\nb\t[2.5, None]\nü\tTrue\n"
    assert last.read_text("utf-8") == "c d\tx y\n"


def test_lines_are_values_alone(tmp_path):
    first, second = saved(tmp_path, "lines", [[[("a", "x y"), ("b", ["1", "2"])]], [[("c", [])]]])
    assert first.read_text("utf-8") == "x y\n1\n2\n"
    assert second.read_text("utf-8") == ""


def test_csv_has_a_column_for_each_element(tmp_path):
    paths = saved(tmp_path, "csv", [[[(("a", 1), 'say "x"\n'), ("b", [2, None])]]])
    with open(paths[0], newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["a", "1", 'say "x"\n'], ["b", "2", ""]]


def test_pickle_is_lists_one_after_another(tmp_path):
    paths = saved(tmp_path, "pickle")
    with open(paths[0], "rb") as file:
        assert [pickle.load(file), pickle.load(file)] == PARTS[0]
        assert file.read() == b""


PAIRS = st.lists(st.tuples(st.text(), st.none() | st.integers() | st.text() | st.lists(st.text())))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(PAIRS, max_size=3), max_size=3))
def test_json_lines_come_back_as_they_were(tmp_path_factory, parts):
    paths = save(parts, made_folder(tmp_path_factory.mktemp("saved") / "out"), "jsonl")
    for path, part in zip(paths, parts, strict=True):
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            assert [tuple(json.loads(line)) for line in file] == [p for some in part for p in some]


@pytest.mark.parametrize(
    ("format", "pair", "why"),
    [
        ("jsonl", ("key", {1, 2}), "set is not JSON serializable.*'key': {1, 2}"),
        ("jsonl", ("key", float("nan")), "nan"),
        ("text", ("key", "two\nlines"), "line end"),
        ("text", ("a\tkey", 1), "tab"),
        ("csv", ("key", {"a": 1}), "cannot be a dict"),
        ("csv", ("key", [[1], 2]), "cannot be a list"),
        ("lines", ("key", {"a": 1}), "neither a str nor a list of them: it is of type dict"),
        ("lines", ("key", ["a", 5]), "list of them: .* int found"),
        ("lines", ("key", "two\nlines"), "line end"),
        ("lines", ("key", ["a", "b\r"]), "line end"),
        ("pickle", ("key", threading.Lock()), "lock.*'key'"),
    ],
)
def test_what_a_format_cannot_hold_is_named_and_nothing_is_left(tmp_path, format, pair, why):
    parts = [[[("good", "1")]], [[("good", "2"), pair]], [[("good", "3")]]]
    with pytest.raises(OutputError, match=why):
        saved(tmp_path, format, parts)
    assert not [*(tmp_path / "out").iterdir()]
    assert len(saved(tmp_path, format, parts[:1])) == 1


def test_an_interrupted_save_leaves_nothing(tmp_path):
    def parts():
        yield [[("a", 1)]]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path, "text", parts())
    assert not [*(tmp_path / "out").iterdir()]


def test_a_folder_with_files_is_not_written_to(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(OutputError, match=r"not empty \(there is mine\)"):
        made_folder(tmp_path)
    with pytest.raises(OutputError, match=r"Not a directory|File exists"):
        made_folder(tmp_path / "mine")


def test_formats():
    for format in FORMATS:
        check_format(format)
    with pytest.raises(ConfigError, match="not as 'parquet'"):
        check_format("parquet")
