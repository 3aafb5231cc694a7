"""Files are cut into splits and blocks that hold every line once, under its true number."""

import bz2
import codecs
import gzip
import lzma
import os
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from map_reduce.client import line_starts
from map_reduce.client import text as text_module
from map_reduce.client.inputs import read_input
from map_reduce.client.text import file_blocks, file_plan
from map_reduce.errors import InputChangedError, InputEncodingError, InputUnreadableError
from map_reduce.job import Files

CONTENTS = st.lists(
    st.sampled_from([b"\n", b"\r\n", b"\r", b"a", b"some words", b"\xff\xfe", b"\x85" * 7])
).map(b"".join)
UNPACK = {"": bytes, "gzip": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress}
PACK = {".txt": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def lines_of(data: bytes, first_line: int) -> list[tuple[int, bytes]]:
    """The reference: numbered lines."""
    *lines, last = data.split(b"\n")
    lines = [line.removesuffix(b"\r") for line in lines]
    return list(enumerate([*lines, last] if last else lines, first_line))


def lines_of_plan(plan):
    for split in plan.splits:
        data = UNPACK[split.format.compression](Path(split.path).read_bytes())
        if not split.format.compression:
            data = data[split.start : split.end]
        yield from lines_of(data, split.first_line)


@pytest.fixture
def small(monkeypatch):
    """Bounds so small that small files are cut."""
    shrink(monkeypatch, 10, 7)


def shrink(patch, piece_bytes, read_bytes):
    for name in ("SPLIT_BYTES_MIN", "SPLIT_BYTES_MAX", "BLOCK_BYTES_MIN", "BLOCK_BYTES_MAX"):
        patch.setattr(text_module, name, piece_bytes)
    patch.setattr(line_starts, "READ_BYTES", read_bytes)
    patch.setattr(line_starts, "BYTES_PER_THREAD_MIN", piece_bytes)


@given(
    contents=st.lists(CONTENTS, min_size=1, max_size=3),
    piece_bytes=st.integers(1, 40),
    read_bytes=st.integers(1, 40),
    ending=st.sampled_from(sorted(PACK)),
)
@example([b"\n\n\n"], 1, 1, ".txt")
@example([b"", b"x" * 100 + b"\ny"], 5, 3, ".txt")
def test_splits_and_blocks_hold_every_line_once(contents, piece_bytes, read_bytes, ending):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        shrink(patch, piece_bytes, read_bytes)
        paths = [Path(folder, f"{n}{ending}") for n in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(PACK[ending](content))
        files = read_input(paths)
        expected = [line for content in contents for line in lines_of(content, 0)]
        plan = file_plan(files, 2)
        assert list(lines_of_plan(plan)) == expected
        blocks = list(file_blocks(files, 2))
        assert [ln for block in blocks for ln in lines_of(block.data, block.first_line)] == expected
        for path, content in zip(paths, contents, strict=True):
            of_file = [block for block in blocks if block.path == str(path)]
            assert b"".join(block.data for block in of_file) == content
            sizes = [len(block.data) for block in of_file]
            assert [block.start for block in of_file] == [sum(sizes[:n]) for n in range(len(sizes))]
            assert all(block.data.endswith(b"\n") for block in of_file[:-1])
            assert all(block.format.compression == "" for block in of_file)


@given(lines=st.lists(st.integers(0, 30), min_size=1, max_size=60), pieces=st.integers(1, 12))
def test_a_file_is_cut_into_even_parts(lines, pieces):
    content = b"".join(b"x" * length + b"\n" for length in lines)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        part = max(1, len(content) // pieces)
        shrink(patch, part, 16)
        path = Path(folder, "f")
        path.write_bytes(content)
        splits = file_plan(read_input(path), 1).splits
    assert [split.start for split in splits[1:]] == [split.end for split in splits[:-1]]
    assert splits[0].start == 0
    assert splits[-1].end == len(content)
    longest = max(lines) + 1
    assert all(split.start < split.end <= split.start + 2 * part + longest for split in splits)


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


def test_stamps_and_totals(tmp_path):
    paths = [write(tmp_path, "a", b"one\n"), write(tmp_path, "b", b""), tmp_path / "a"]
    plan = file_plan(read_input(paths), 2)
    status = os.stat(paths[0])
    assert [stamp.path for stamp in plan.stamps] == [str(tmp_path / "a"), str(tmp_path / "b")]
    stamp = plan.stamps[0]
    assert (stamp.device, stamp.inode) == (status.st_dev, status.st_ino)
    assert (stamp.size, stamp.mtime_ns) == (4, status.st_mtime_ns)
    assert [split.path for split in plan.splits] == [str(paths[0])] * 2
    assert plan.splits[0].file_size == 4
    assert plan.splits[0].file_mtime_ns == status.st_mtime_ns
    assert plan.total_bytes == 8


def test_a_small_file_is_one_split_and_many_slots_get_more(tmp_path):
    path = write(tmp_path, "a", b"word\n" * 1_000_000)
    files = read_input(path)
    assert len(file_plan(files, 1).splits) == 4
    assert len(file_plan(files, 2).splits) == 5  # none under 1 MiB
    assert len(file_plan(read_input(write(tmp_path, "b", b"word\n" * 1000)), 64).splits) == 1


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_a_compressed_file_is_one_split(small, tmp_path, ending):
    path = write(tmp_path, "a" + ending, PACK[ending](b"line\n" * 100))
    (split,) = file_plan(read_input(path), 2).splits
    assert (split.start, split.end, split.first_line) == (0, path.stat().st_size, 0)


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("damage", ["cut", "noise", "other"])
def test_a_damaged_archive_is_named(tmp_path, ending, damage):
    packed = PACK[ending](os.urandom(3000))
    data = {"cut": packed[:-100], "noise": packed[:200] + bytes(200) + packed[400:], "other": b"no"}
    path = write(tmp_path, "a" + ending, data[damage])
    with pytest.raises(InputUnreadableError, match=rf"a\{ending}' is a damaged \w+ archive"):
        list(file_blocks(read_input(path), 2))


LETTERS = st.text(alphabet=st.sampled_from("aб\n\r\u0a0a\u0d0aé€"), max_size=60)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7"])
@settings(max_examples=30)
@given(content=LETTERS)
def test_what_cannot_be_cut_at_bytes_is_one_split_and_recoded_blocks(encoding, content):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        shrink(patch, 5, 3)
        path = write(Path(folder), "a", content.encode(encoding))
        files = read_input(Files(path, encoding=encoding))
        assert len(file_plan(files, 2).splits) == bool(path.stat().st_size)
        blocks = list(file_blocks(files, 2))
        assert b"".join(block.data for block in blocks).decode() == content
        expected = lines_of(content.encode(), 0)
        assert [ln for block in blocks for ln in lines_of(block.data, block.first_line)] == expected
        assert {block.format.encoding for block in blocks} <= {"utf-8"}


@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "shift_jis", "gb18030", "euc-jp", "big5"]
)
def test_supersets_of_ascii_are_cut_as_bytes(small, tmp_path, encoding):
    path = write(tmp_path, "a", "some words\n".encode(encoding) * 10)
    files = read_input(Files(path, encoding=encoding))
    assert len(file_plan(files, 2).splits) > 5
    assert {block.format.encoding for block in file_blocks(files, 2)} == {encoding}


@pytest.mark.parametrize("errors", ["replace", "surrogatepass", "ignore"])
def test_recoding_keeps_what_the_error_handler_makes(tmp_path, errors):
    data = "a\nb".encode("utf-16-le") + b"\x00\xd8" + "\nc".encode("utf-16-le")
    path = write(tmp_path, "a", data)
    blocks = list(file_blocks(read_input(Files(path, encoding="utf-16-le", errors=errors)), 2))
    text = "".join(block.data.decode("utf-8", block.format.errors) for block in blocks)
    assert text == data.decode("utf-16-le", errors)


@pytest.mark.parametrize("before", [0, 3, 10, 1001])
def test_bytes_that_cannot_be_recoded_are_named(small, tmp_path, before):
    data = codecs.BOM_UTF16_LE + ("a" * before).encode("utf-16-le") + b"\x00\xdc" + b"a\0" * 9
    path = write(tmp_path, "a", data)
    offset = 2 + 2 * before
    with pytest.raises(InputEncodingError, match=rf"/a' is not utf-16 text: .* at byte {offset};"):
        list(file_blocks(read_input(Files(path, encoding="utf-16")), 2))


def test_a_file_that_ends_in_the_middle_of_a_character_is_named(tmp_path):
    path = write(tmp_path, "a", "ab".encode("utf-16-le") + b"x")
    with pytest.raises(InputEncodingError, match=r"truncated data at byte 4;"):
        list(file_blocks(read_input(Files(path, encoding="utf-16-le")), 2))


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = write(tmp_path, "a", b"x\n")
    files = read_input(path)

    def denied(path, *arguments, **options):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", denied)
    for read in (lambda: file_plan(files, 2), lambda: list(file_blocks(files, 2))):
        with pytest.raises(InputUnreadableError, match=r"cannot read '.*/a': Permission denied"):
            read()


def test_a_file_that_shrinks_meanwhile(small, tmp_path, monkeypatch):
    path = write(tmp_path, "a", b"x" * 100)
    real = text_module.line_starts

    def shrunk(*arguments):
        os.truncate(path, 20)
        return real(*arguments)

    monkeypatch.setattr(text_module, "line_starts", shrunk)
    with pytest.raises(InputChangedError, match="became shorter"):
        file_plan(read_input(path), 2)


@pytest.fixture
def four_processors(monkeypatch):
    monkeypatch.setattr(line_starts, "processors", lambda: 4)


def test_lines_are_counted_by_several_at_a_time(small, four_processors, tmp_path, monkeypatch):
    """All threads there may be are in it at once, or this waits for them in vain."""
    path = write(tmp_path, "a", b"line\n" * 1000)
    together = threading.Barrier(4, timeout=60)
    here = threading.local()
    real = line_starts.count_line_ends

    def counted(*arguments):
        if not hasattr(here, "met"):
            here.met = together.wait()
        return real(*arguments)

    monkeypatch.setattr(line_starts, "count_line_ends", counted)
    splits = file_plan(read_input(path), 2).splits
    assert len(splits) > 100
    assert all(split.first_line * 5 == split.start for split in splits)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_an_error_in_any_of_the_threads_is_one_of_all(
    small, four_processors, tmp_path, monkeypatch, error
):
    path = write(tmp_path, "a", b"line\n" * 1000)
    real = line_starts.count_line_ends
    failing = threading.Event()

    def counted(*arguments):
        if threading.current_thread().name == "count-lines-1":
            failing.set()
            raise error
        assert failing.wait(60)  # so that there is something left for it to count
        return real(*arguments)

    monkeypatch.setattr(line_starts, "count_line_ends", counted)
    with pytest.raises(InputUnreadableError if error.args else MemoryError):
        file_plan(read_input(path), 2)


def test_where_there_are_no_threads_to_be_had_one_counts(
    small, four_processors, tmp_path, monkeypatch
):
    path = write(tmp_path, "a", b"line\n" * 1000)
    expected = file_plan(read_input(path), 2)

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert file_plan(read_input(path), 2) == expected


def test_a_file_that_shrinks_while_it_is_counted(small, four_processors, tmp_path, monkeypatch):
    path = write(tmp_path, "a", b"line\n" * 1000)
    real = line_starts.count_line_ends

    def counted(*arguments):
        os.truncate(path, 20)
        return real(*arguments)

    monkeypatch.setattr(line_starts, "count_line_ends", counted)
    with pytest.raises(InputChangedError, match="became shorter"):
        file_plan(read_input(path), 2)
