"""What the user passes as data is told apart, and refused with advice where it is neither."""

import collections
import os
import re
from pathlib import Path

import pytest

from map_reduce.client.inputs import FileInput, ItemInput, read_input
from map_reduce.errors import (
    InputEncodingError,
    InputMissingError,
    InputTypeError,
    InputUnreadableError,
)
from map_reduce.job import Files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("b.txt", "a.txt", "c.log", "sub/d.txt", "sub/deep/e.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(data):
    found = read_input(data)
    assert isinstance(found, FileInput)
    assert all(os.path.isabs(path) for path in found.paths)
    return [os.path.relpath(path) for path in found.paths]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("a.txt", ["a.txt"]),
        (Path("a.txt"), ["a.txt"]),
        ("*.txt", ["a.txt", "b.txt"]),
        ("?.log", ["c.log"]),
        ("[ac].*", ["a.txt", "c.log"]),
        (Path("sub/*"), ["sub/d.txt"]),
        ("**/*.txt", ["a.txt", "b.txt", "sub/d.txt", "sub/deep/e.txt"]),
        ([Path("c.log"), Path("a.txt")], ["c.log", "a.txt"]),
        ((Path("b.txt"), Path("b.txt")), ["b.txt", "b.txt"]),
        (Files("b.txt", "*.log", "a.txt"), ["b.txt", "c.log", "a.txt"]),
        (Files(Path("sub/d.txt")), ["sub/d.txt"]),
    ],
)
def test_files(folder, data, expected):
    assert names(data) == expected


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder):
    (folder / "[ab].txt").write_text("x")
    assert names("[ab].txt") == ["[ab].txt"]


def test_a_link_is_read_under_its_own_name(folder):
    (folder / "link").symlink_to("a.txt")
    assert names("link") == ["link"]


def test_files_carry_encoding_and_errors(folder):
    found = read_input(Files("a.txt", encoding="latin-1", errors="replace"))
    assert (found.encoding, found.errors) == ("latin-1", "replace")


@pytest.mark.parametrize(
    ("name", "compression"),
    [("a.txt", ""), ("a", ""), ("a.txt.gz", "gzip"), ("a.BZ2", "bz2"), ("x/a.xz", "xz")],
)
def test_compression_is_told_by_the_ending(name, compression):
    assert FileInput(()).format_of(name).compression == compression


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ("missing.txt", InputMissingError, "no file 'missing.txt' in "),
        ("missing.txt", InputMissingError, "pass a list: [text]"),
        ("hello world " * 999, InputMissingError, "pass a list: [text]"),
        ("two\nlines", InputMissingError, "pass a list: [text]"),
        ("with \0 null", InputMissingError, "no file"),
        ("with \0 null*", InputMissingError, "matches no file"),
        ("a.txt/below", InputMissingError, "no file"),
        ("", InputMissingError, "no file ''"),
        ("/no/such/file", InputMissingError, "no file '/no/such/file';"),
        (Path("missing"), InputMissingError, "no file 'missing'"),
        ([Path("a.txt"), Path("missing")], InputMissingError, "no file 'missing'"),
        ("*.csv", InputMissingError, "the pattern '*.csv' matches no file in "),
        ("su*", InputMissingError, "the pattern 'su*' matches only directories"),
        (Files("a.txt", "*.csv"), InputMissingError, "'*.csv' matches no file"),
        ("sub", InputUnreadableError, "is a directory; for the files in it pass "),
        ("broken", InputMissingError, "is a link to 'nowhere', which does not exist"),
        ("brok*", InputMissingError, "is a link to 'nowhere'"),
        (os.devnull, InputUnreadableError, "is not a regular file"),
        (Files(), InputTypeError, "names no file"),
        (b"a.txt", InputTypeError, "the input is bytes"),
        (bytearray(b"a"), InputTypeError, "data.decode().splitlines()"),
        (memoryview(b"a"), InputTypeError, "the input is memoryview"),
        (42, InputTypeError, "the input is of type int; pass a list"),
        (None, InputTypeError, "of type NoneType"),
        (len, InputTypeError, "of type builtin_function_or_method"),
        ([Path("a.txt"), "b.txt"], InputTypeError, "item 1 is of type str; pass Paths only"),
        ([1, 2, Path("a.txt")], InputTypeError, "item 0 is of type int"),
        ([Files("a.txt")], InputTypeError, "name all files in one"),
        (Files("a.txt", encoding="utf-9"), InputEncodingError, "'utf-9' is not a text encoding"),
        (Files("a.txt", encoding="base64"), InputEncodingError, "not a text encoding"),
        (Files("a.txt", encoding="utf\0"), InputEncodingError, "not a text encoding"),
        (Files("a.txt", errors="lenient"), InputEncodingError, "errors='lenient'"),
    ],
)
def test_refused(folder, data, error, text):
    (folder / "broken").symlink_to("nowhere")
    with pytest.raises(error, match=re.escape(text)) as raised:
        read_input(data)
    assert type(raised.value) is error
    assert len(str(raised.value)) < 600


def test_a_status_that_cannot_be_had(folder, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("map_reduce.client.inputs.os.stat", denied)
    with pytest.raises(InputUnreadableError, match=r"cannot read '.*a\.txt': Permission denied"):
        read_input("a.txt")


def test_a_mapping_gives_its_pairs():
    for mapping in ({"a": 1, "b": 2}, collections.ChainMap({"a": 1, "b": 2})):
        found = read_input(mapping)
        assert isinstance(found, ItemInput)
        assert found.keyed
        assert found.length == 2
        assert sorted(found.records) == [("a", 1), ("b", 2)]


class OldSequence:
    """Iterable by the oldest of protocols."""

    def __getitem__(self, index):
        return "abc"[index]


@pytest.mark.parametrize(
    ("data", "length", "items"),
    [
        (["x", "y"], 2, ["x", "y"]),
        ((), 0, []),
        (range(3), 3, [0, 1, 2]),
        (frozenset({7}), 1, [7]),
        ({"a": 1}.keys(), 1, ["a"]),
        ({"a": 1}.items(), 1, [("a", 1)]),
        (iter([1, 2]), None, [1, 2]),
        ((n for n in "ab"), None, ["a", "b"]),
        (OldSequence(), None, ["a", "b", "c"]),
        ([[Path("a")]], 1, [[Path("a")]]),
    ],
)
def test_items(data, length, items):
    found = read_input(data)
    assert isinstance(found, ItemInput)
    assert not found.keyed
    assert found.length == length
    assert list(found.records) == items


def test_an_iterator_is_left_untouched():
    iterator = iter([1, 2, 3])
    read_input(iterator)
    assert next(iterator) == 1


def test_an_open_file_gives_its_lines(folder):
    with open("a.txt") as file:
        assert list(read_input(file).records) == ["a.txt\n"]


def test_a_file_whose_name_is_no_text_is_refused_by_name(tmp_path):
    path = os.fsencode(tmp_path) + b"/bad\xff.txt"
    with open(path, "w"):
        pass
    with pytest.raises(InputUnreadableError, match=r"bad\\xff\.txt.*UTF-8"):
        read_input(os.fsdecode(path))
