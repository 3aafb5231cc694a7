"""What a reduce task hands over, in parts."""

from __future__ import annotations

import io
import pickle
import threading

import pytest
from execution_runs import attempt, folder, items_split, results_of
from hypothesis import given, settings
from hypothesis import strategies as st

from map_reduce.core.digests import digest_of
from map_reduce.core.messages import WholeWork
from map_reduce.errors import ReduceError
from map_reduce.execution import results
from map_reduce.execution.attempt import LoadedFunctions
from map_reduce.execution.failures import Stopped
from map_reduce.execution.pickles import PIECE_BYTES, at_a_time
from map_reduce.execution.results import INLINE_BYTES_MAX, PART_RECORDS_MAX, ResultWriter


def parts_in(data: bytes) -> list[tuple[list, list]]:
    file, parts = io.BytesIO(data), []
    while file.tell() < len(data):
        parts.append(pickle.load(file))
    return parts


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(), max_size=20), max_size=6),
    st.integers(1, 9),
    st.integers(0, 300),
)
def test_all_results_are_there_in_order_however_they_come(monkeypatch_module, batches, most, room):
    monkeypatch_module.setattr(results, "PART_RECORDS_MAX", most)
    monkeypatch_module.setattr(results, "INLINE_BYTES_MAX", room)
    with folder() as here:
        writer = ResultWriter(here / "out")
        for batch in batches:
            writer.keys += batch
            writer.values += [-number for number in batch]
            writer.settle()
        part = writer.finish()
        data = part.inline if part.ref is None else (here / "out").read_bytes()
        if part.ref is not None:
            assert (part.ref.size_bytes, part.ref.digest) == (len(data), digest_of(data))
            assert not part.inline
        else:
            assert len(data) <= max(room, len(pickle.dumps(([], []))))
    expected = [number for batch in batches for number in batch]
    parts = parts_in(data)
    assert [key for keys, _ in parts for key in keys] == expected
    assert [-value for _, values in parts for value in values] == expected
    assert all(len(keys) <= most for keys, _ in parts)
    assert part.records == len(expected)
    assert writer.bytes == len(data)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_a_part_is_bounded_in_bytes_too():
    values = ["x" * 300_000] * 40 + ["y"] * 40
    lengths, first = [], 0
    while first < len(values):
        count = at_a_time(values, first, PART_RECORDS_MAX)
        assert count >= 1
        lengths.append(sum(map(len, values[first : first + count])))
        first += count
    assert max(lengths) <= 2 * PIECE_BYTES
    assert len(lengths) < 12


def test_the_result_that_does_not_pickle_is_named_whichever_part_it_is_in(monkeypatch_module):
    monkeypatch_module.setattr(results, "PART_RECORDS_MAX", 3)
    with folder() as here:
        writer = ResultWriter(here / "out")
        writer.keys += range(10)
        writer.values += [*range(7), threading.Lock(), 8, 9]
        with pytest.raises(Stopped) as caught:
            writer.finish()
        writer.close()
    assert caught.value.kind is ReduceError
    assert "key 7" in caught.value.where


def test_an_attempt_with_many_results_writes_them_to_a_file():
    functions = LoadedFunctions(
        lambda number, item: [(number, "v" * 10)], lambda key, values: values[0] * 100, None
    )
    with folder() as here:
        outcome, path = attempt(WholeWork(items_split(list(range(2000)))), functions, here / "out")
        assert path is not None
        assert path.stat().st_size > INLINE_BYTES_MAX
        assert results_of(outcome, path) == [(n, "v" * 1000) for n in range(2000)]
        assert [file.name for file in here.iterdir()] == ["out"]
