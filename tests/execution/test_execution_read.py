"""Splits as records."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from execution_runs import NODE, attempt, folder, items_split
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.messages import (
    BlockItems,
    BlockRef,
    BlockText,
    Failed,
    FileText,
    InlineItems,
    Split,
    TextFormat,
    WholeWork,
)
from map_reduce.errors import (
    InputChangedError,
    InputEncodingError,
    InputMissingError,
    InputUnreadableError,
)
from map_reduce.execution import read
from map_reduce.execution.attempt import LoadedFunctions
from map_reduce.execution.read import batches_of, name_of
from map_reduce.pickling import dumps
from map_reduce.ports import LocalInput

REF = BlockRef("b", 0, b"")
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def file_split(
    path: Path, start: int = 0, end: int | None = None, first_line: int = 0, **format: str
) -> FileText:
    status = path.stat()
    end = status.st_size if end is None else end
    return FileText(
        str(path), start, end, first_line, status.st_size, status.st_mtime_ns, TextFormat(**format)
    )


def records(split: Split, block: Path | None = None) -> list[tuple[Any, Any]]:
    found = []
    bytes_in = 0
    for batch in batches_of(split, block):
        assert len(batch.keys) == len(batch.values)
        assert batch.bytes_in >= bytes_in
        bytes_in = batch.bytes_in
        found += list(zip(batch.keys, batch.values, strict=True))
    return found


def lines_of(text: str) -> list[str]:
    """The twin, letter by letter."""
    lines, line = [], ""
    for letter in text:
        if letter == "\n":
            lines.append(line[:-1] if line.endswith("\r") else line)
            line = ""
        else:
            line += letter
    return [*lines, line] if line else lines


texts = st.text(st.sampled_from("a\n\r\x0b\x0c\x1c\x85\u2028é€😀"), max_size=40)


@given(
    text=texts,
    piece=st.integers(1, 8),
    compression=st.sampled_from(list(PACKERS)),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be", "utf-7"]),
)
def test_lines_are_those_of_the_text(
    text: str, piece: int, compression: str, encoding: str
) -> None:
    with pytest.MonkeyPatch.context() as patch, folder() as here:
        patch.setattr(read, "PIECE_BYTES", piece)
        path = here / "file"
        path.write_bytes(PACKERS[compression](text.encode(encoding)))
        split = file_split(path, encoding=encoding, compression=compression)
        assert records(split) == list(enumerate(lines_of(text)))
        plain = here / "block"
        plain.write_bytes(text.encode(encoding))
        block = BlockText(REF, "/f", 0, 0, TextFormat(encoding, "strict", compression))
        assert records(block, plain) == list(enumerate(lines_of(text)))


@given(text=texts, cuts=st.lists(st.integers(0, 10), max_size=4), piece=st.integers(1, 8))
def test_splits_of_a_file_give_its_lines_with_their_true_numbers(
    text: str, cuts: list[int], piece: int
) -> None:
    data = text.encode()
    ends = [0, *(n + 1 for n, byte in enumerate(data) if byte == 10)]
    bounds = sorted({0, len(data), *(ends[cut % len(ends)] for cut in cuts)})
    with pytest.MonkeyPatch.context() as patch, folder() as here:
        patch.setattr(read, "PIECE_BYTES", piece)
        path = here / "file"
        path.write_bytes(data)
        of_file, of_blocks = [], []
        for start, end in itertools.pairwise(bounds):
            first_line = data[:start].count(b"\n")
            of_file += records(file_split(path, start, end, first_line))
            part = here / "part"
            part.write_bytes(data[start:end])
            of_blocks += records(BlockText(REF, "/f", start, first_line, TextFormat()), part)
        assert of_file == of_blocks == list(enumerate(lines_of(text)))


def test_archives_of_several_members(tmp_path: Path) -> None:
    for compression, pack in PACKERS.items():
        path = tmp_path / f"file.{compression}"
        path.write_bytes(pack(b"a\nb") + pack(b"c\n"))
        split = file_split(path, compression=compression)
        assert records(split) == [(0, "a"), (1, "bc")]
        if compression:
            assert [batch.bytes_in for batch in batches_of(split, None)] == [path.stat().st_size]


def test_items(tmp_path: Path) -> None:
    assert records(items_split(["a", "b"], 7)) == [(7, "a"), (8, "b")]
    pairs = [("k", 1), ("l", 2)]
    assert records(items_split(pairs, keyed=True)) == pairs
    block = tmp_path / "block"
    block.write_bytes(dumps(["a", "b"]))
    assert records(BlockItems(REF, 2, 5, False), block) == [(5, "a"), (6, "b")]


def test_errors_other_than_strict(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\xff\nb\xe2\n\xff")
    assert [v for _, v in records(file_split(path, errors="replace"))] == ["a�", "b�", "�"]
    assert [v for _, v in records(file_split(path, errors="ignore"))] == ["a", "b"]
    assert [v for _, v in records(file_split(path, encoding="latin-1"))] == ["aÿ", "bâ", "ÿ"]


def test_names_of_records(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("a\nb\n")
    for split, name in (
        (file_split(path, first_line=16), f"line 17 of {path}"),
        (items_split(["a", "b"], 2), "item 3"),
        (items_split([("w", 1), ("x", 1)], keyed=True), "key 'x'"),
    ):
        [batch] = batches_of(split, None)
        assert name_of(split, batch, 1) == name


# ---------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    ("encoding", "data", "offset", "byte"),
    [
        ("utf-8", b"abc\nd\xc3\xa9\nx\xffy\n", 9, "0xff"),
        ("utf-8", b"abc\nd\xe2\x82", 5, "0xe2"),
        ("ascii", b"abc\n\nabcd\x80", 9, "0x80"),
        ("utf-16-le", b"a\x00\n\x00b\x00\x00\xdcc\x00", 6, "0x00"),
        ("utf-16-le", b"a\x00b", 2, "0x62"),
    ],
)
def test_bytes_that_are_not_text(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    piece: int,
    encoding: str,
    data: bytes,
    offset: int,
    byte: str,
) -> None:
    monkeypatch.setattr(read, "PIECE_BYTES", piece)
    path = tmp_path / "file.txt"
    path.write_bytes(data)
    with pytest.raises(InputEncodingError) as caught:
        records(file_split(path, encoding=encoding))
    text = str(caught.value)
    assert f"{path} is not {encoding}: byte {byte} at offset {offset}" in text
    assert f'Files({str(path)!r}, encoding="latin-1")' in text
    assert 'errors="replace"' in text


def test_the_offset_counts_from_the_start_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"abc\nd\xffe\n")
    with pytest.raises(InputEncodingError, match="offset 5"):
        records(file_split(path, start=4))
    (tmp_path / "block").write_bytes(b"d\xffe\n")
    with pytest.raises(InputEncodingError, match=r"/far/file.txt is not utf-8: .* offset 1005"):
        records(BlockText(REF, "/far/file.txt", 1004, 9, TextFormat()), tmp_path / "block")
    (tmp_path / "file.gz").write_bytes(gzip.compress(b"abc\nd\xffe\n"))
    with pytest.raises(InputEncodingError, match="offset 5 of its decompressed text"):
        records(file_split(tmp_path / "file.gz", compression="gzip"))


def test_unknown_encodings(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a")
    for encoding in ("no-such", "rot13"):
        with pytest.raises(InputEncodingError, match=encoding):
            records(file_split(path, encoding=encoding))


def test_utf_16_without_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes("abc".encode("utf-16-be"))
    with pytest.raises(InputEncodingError, match=r"utf-16: .*BOM"):
        records(file_split(path, encoding="utf-16"))


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a")
    split = file_split(path)
    path.unlink()
    with pytest.raises(InputMissingError, match=str(path)):
        records(split)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a")
    path.chmod(0)
    with pytest.raises(InputUnreadableError, match=str(path)):
        records(file_split(path))


def test_a_file_that_became_something_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a")
    split = file_split(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputUnreadableError, match="not a regular file"):
        records(split)
    path.rmdir()
    os.mkfifo(path)  # opening it would wait for ever
    with pytest.raises(InputUnreadableError, match="not a regular file"):
        records(split)


def test_a_file_that_changed_before_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("abc\n")
    split = file_split(path)
    os.utime(path, ns=(0, split.file_mtime_ns + 1))
    with pytest.raises(InputChangedError, match="it was written to"):
        records(split)
    path.write_text("abcd\n")
    with pytest.raises(InputChangedError, match="it had 4 bytes and has 5"):
        records(split)


def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "PIECE_BYTES", 2)
    path = tmp_path / "file"
    for change in (b"a\nb\nc\n", b"a\n", b"x\ny\n"):
        path.write_bytes(b"a\nb\n")
        os.utime(path, ns=(1, 1))
        batches = batches_of(file_split(path), None)
        assert next(batches).values == ["a"]
        path.write_bytes(change)
        with pytest.raises(InputChangedError):
            list(batches)


@pytest.mark.parametrize("compression", ["gzip", "bz2", "xz"])
def test_damaged_archives(tmp_path: Path, compression: str) -> None:
    good = PACKERS[compression](os.urandom(2000))
    for number, bad in enumerate([good[:-3], b"not packed\n" * 9, good[:50] + b"\0\1" + good[52:]]):
        path = tmp_path / f"file{number}"
        path.write_bytes(bad)
        with pytest.raises(InputUnreadableError, match=f"damaged {compression} file"):
            records(file_split(path, compression=compression, encoding="latin-1"))


def test_items_whose_module_is_not_here() -> None:
    split = InlineItems(b"cno_such_module\nThing\n.", 1, 0, False)
    with pytest.raises(InputUnreadableError, match="'no_such_module', which is not installed"):
        records(split)


def test_input_errors_become_outcomes_that_name_the_node(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"a\n" * 9 + b"\xff")
    functions = LoadedFunctions(lambda n, line: [(line, n)], lambda key, values: values, None)
    work = WholeWork(file_split(path))
    outcome, output = attempt(work, functions, tmp_path / "out", LocalInput())
    assert isinstance(outcome, Failed)
    assert output is None
    assert outcome.failure.kind == "InputEncodingError"
    assert outcome.failure.message.endswith(f"\n  on node {NODE}, whole task 3, attempt 1")
    assert not outcome.retry
