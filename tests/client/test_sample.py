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
from map_reduce.client.inputs import RingInput, read_inputs
from map_reduce.client.picking import picking
from map_reduce.client.sample import sample_of
from map_reduce.core.messages import InlineItems
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
    sample = sample_of(read_inputs(list(range(0, 3 * count, 3))), share, SLOTS, PER_CHUNK)
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
    assert set(taken_items(sample_of(read_inputs(pairs), 0.01, 1, 10))) < set(pairs.items())
    whole = sample_of(read_inputs({"a": 1}), 0.01, 1, 10)
    assert (taken_items(whole), whole.scale) == ([("a", 1)], 1.0)
    assert taken_items(sample_of(read_inputs({5, 6}), 1.0, 1, 10)) == [(0, 5), (1, 6)]


def test_an_iterator_is_left_alone():
    source = iter(range(10))
    with pytest.raises(InputTypeError, match="iterator"):
        sample_of(read_inputs(source), 1.0, 1, 10)
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
        sample = sample_of(read_inputs(Files(str(path), encoding=encoding)), 0.01, 1, PER_CHUNK)
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


def test_of_many_small_files_some_from_all_over_are_taken(tmp_path):
    for number in range(80):
        (tmp_path / f"{number:02}").write_text(f"{number}\n" * 50)
    sample = sample_of(read_inputs(str(tmp_path / "*")), 0.1, SLOTS, PER_CHUNK)
    assert [Path(piece.path).name for piece in sample.pieces] == [
        f"{n:02}" for n in range(0, 80, 10)
    ]
    assert len(sample.split_bytes) == 8
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert sum(sample.split_bytes) == total
    assert sum(len(piece.data) for piece in sample.pieces) * sample.scale == pytest.approx(total)


def test_a_sample_of_all_is_all():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        path.write_text("one\ntwo\nthree")
        sample = sample_of(read_inputs(path), 1.0, 1, 1)
        assert [piece.data for piece in sample.pieces] == [b"one\ntwo\nthree"]
        assert sample.scale == 1.0


def in_ring(*sizes):
    return RingInput(tuple(InlineItems(b"x" * size, 1, n, False) for n, size in enumerate(sizes)))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 50), max_size=40), st.floats(0.001, 1))
def test_of_what_lies_in_the_ring_whole_splits_are_taken(sizes, share):
    source = in_ring(*sizes)
    sample = sample_of([source], share, SLOTS, PER_CHUNK)
    assert set(sample.pieces) <= set(source.splits)
    assert len(set(sample.pieces)) == len(sample.pieces) <= 8
    assert len(sample.pieces) >= min(1, len(sizes))
    assert sample.split_bytes == tuple(sizes)
    taken = sum(len(piece.data) for piece in sample.pieces)
    assert sample.scale * taken == pytest.approx(sum(sizes))


def test_several_inputs_are_one_sample(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("some words\n" * 10)
    sources = [in_ring(*[100] * 80), *read_inputs(path)]
    ring, text = (sample_of([source], 0.01, SLOTS, PER_CHUNK) for source in sources)
    both = sample_of(sources, 0.01, SLOTS, PER_CHUNK)
    assert both.pieces == ring.pieces + text.pieces
    assert both.split_bytes == ring.split_bytes + text.split_bytes
    assert both.scale == pytest.approx((8000 + 110) / (100 + 110)), "in bytes, of all of them"
    assert ring.text in both.text
    assert text.text in both.text


def test_a_sample_to_be_sorted_gives_records_of_its_own(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("".join(f"line {n}\n" for n in range(10)))
    sample = sample_of([in_ring(5), *read_inputs(path)], 1.0, SLOTS, PER_CHUNK)
    read, pick = picking([sample])
    assert read == [sample]
    of_ring, of_text = pick()
    assert of_ring == sample.pieces[0]
    assert sorted(pickle.loads(of_text.data)) == [(n, f"line {n}") for n in range(10)]
