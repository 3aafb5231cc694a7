"""A sample holds true records of the input, under their true keys, from all over it."""

import bz2
import gzip
import pickle
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from map_reduce.client import sample as sample_module
from map_reduce.client import text as text_module
from map_reduce.client.inputs import read_input
from map_reduce.client.sample import sample_of
from map_reduce.errors import InputTypeError
from map_reduce.job import Files

SLOTS = 2
PER_CHUNK = 500
PACK = {".txt": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}


def taken_items(sample):
    return [pair for piece in sample.pieces for pair in pickle.loads(piece.data)]


@settings(max_examples=30)
@given(st.integers(0, 5000), st.floats(0.001, 1))
def test_items(count, share):
    sample = sample_of(read_input(list(range(0, 3 * count, 3))), share, SLOTS, PER_CHUNK)
    taken = taken_items(sample)
    assert all(item == 3 * index for index, item in taken)
    assert len(set(taken)) == len(taken), "none twice"
    assert len(taken) >= min(count, sample_module.PIECE_ITEMS_MIN)
    assert len(taken) <= max(8 * sample_module.PIECE_ITEMS_MIN, share * count)
    assert len(taken) * sample.scale == pytest.approx(count)
    if count >= 2000:
        assert max(index for index, _ in taken) >= count * 7 // 8


def test_mappings_and_other_containers():
    pairs = {f"k{n}": n for n in range(3000)}
    assert set(taken_items(sample_of(read_input(pairs), 0.01, 1, 10))) < set(pairs.items())
    whole = sample_of(read_input({"a": 1}), 0.01, 1, 10)
    assert (taken_items(whole), whole.scale) == ([("a", 1)], 1.0)
    assert taken_items(sample_of(read_input({5, 6}), 1.0, 1, 10)) == [(0, 5), (1, 6)]


def test_an_iterator_is_left_alone():
    source = iter(range(10))
    with pytest.raises(InputTypeError, match="iterator"):
        sample_of(read_input(source), 1.0, 1, 10)
    assert next(source) == 0


@settings(max_examples=30)
@given(
    lines=st.lists(st.sampled_from(["", "a", "some words", "ä" * 30]), max_size=200),
    ending=st.sampled_from(sorted(PACK)),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
    piece_bytes=st.integers(1, 200),
)
def test_files(lines, ending, encoding, piece_bytes):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_module, "SPLIT_BYTES_MIN", 50)
        patch.setattr(sample_module, "PIECE_BYTES_MIN", piece_bytes)
        path = Path(folder, f"a{ending}")
        path.write_bytes(PACK[ending]("".join(f"{line}\n" for line in lines).encode(encoding)))
        sample = sample_of(read_input(Files(str(path), encoding=encoding)), 0.01, 1, PER_CHUNK)
        assert sum(sample.split_bytes) == path.stat().st_size
        total = 0
        for piece in sample.pieces:
            found = piece.data.decode(piece.format.encoding, piece.format.errors).split("\n")
            assert found.pop() == ""
            assert found == lines[piece.first_line : piece.first_line + len(found)]
            assert found
            total += len(piece.data)
        assert sample.scale >= 1.0
        if lines and ending == ".txt" and encoding == "utf-8":
            assert total * sample.scale == pytest.approx(path.stat().st_size)


def test_a_sample_of_all_is_all():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        path.write_text("one\ntwo\nthree")
        sample = sample_of(read_input(path), 1.0, 1, 1)
        assert [piece.data for piece in sample.pieces] == [b"one\ntwo\nthree"]
        assert sample.scale == 1.0
