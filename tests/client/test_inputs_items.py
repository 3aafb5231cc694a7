"""Items are cut into chunks that lose nothing, grow with the input and stay within bounds."""

import itertools
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.client import items as items_module
from map_reduce.client.inputs import read_input
from map_reduce.client.items import item_chunks
from map_reduce.errors import InputTypeError


def records_of(chunks):
    """The (key, value) records that a worker makes of the chunks."""
    for chunk in chunks:
        loaded = pickle.loads(chunk.data)
        assert len(loaded) == chunk.count
        yield from loaded if chunk.keyed else enumerate(loaded, chunk.first_index)


@given(
    data=st.lists(st.one_of(st.text(), st.integers(), st.binary(max_size=200))),
    slots=st.integers(1, 9),
    per_chunk=st.integers(1, 20),
    known=st.booleans(),
    bytes_max=st.sampled_from([50, 300, 64 << 20]),
)
def test_chunks_hold_every_item_once_in_order(data, slots, per_chunk, known, bytes_max):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(items_module, "CHUNK_BYTES_MAX", bytes_max)
        patch.setattr(items_module, "CHUNK_BYTES_TARGET", bytes_max // 2)
        chunks = list(item_chunks(read_input(data if known else iter(data)), slots, per_chunk))
    assert list(records_of(chunks)) == list(enumerate(data))
    assert all(len(chunk.data) <= bytes_max or chunk.count == 1 for chunk in chunks)
    if bytes_max == 64 << 20:
        assert all(chunk.count >= per_chunk for chunk in chunks[:-1])


@given(st.dictionaries(st.one_of(st.text(), st.integers()), st.integers()))
def test_pairs_of_a_mapping(mapping):
    chunks = list(item_chunks(read_input(mapping), 2, 3))
    assert list(records_of(chunks)) == list(mapping.items())


def counts(data, slots=2, per_chunk=16):
    return [chunk.count for chunk in item_chunks(read_input(data), slots, per_chunk)]


def test_an_empty_input_has_no_chunk():
    assert counts([]) == counts(iter([])) == counts({}) == []


def test_a_tiny_input_is_one_chunk():
    assert counts(range(3)) == [3]
    assert counts(iter(range(16))) == [16]
    assert counts(range(31)) == [31]


def test_known_lengths_give_each_slot_a_handful_of_even_chunks():
    assert counts(range(800)) == [100] * 8
    assert counts(range(33)) == [17, 16]
    assert len(counts(range(1000), slots=5)) == 20


def test_unknown_lengths_give_growing_chunks():
    assert counts(iter(range(100))) == [16, 32, 52]


def test_chunks_of_large_items_stay_near_the_target_and_under_the_bound(monkeypatch):
    monkeypatch.setattr(items_module, "CHUNK_BYTES_TARGET", 1_000)
    monkeypatch.setattr(items_module, "CHUNK_BYTES_MAX", 10_000)
    data = [f"{n:0100}" for n in range(5_000)]
    for source in (data, iter(data)):
        chunks = list(item_chunks(read_input(source), 1, 2))
        settled = chunks[len(chunks) // 2 : -1]
        assert {chunk.count for chunk in settled} <= {8, 9, 10}
        assert max(len(chunk.data) for chunk in chunks) <= 10_000


def test_a_length_that_is_not_true_loses_nothing():
    class Liar:
        def __len__(self):
            return 20

        def __iter__(self):
            return iter(range(100))

    chunks = item_chunks(read_input(Liar()), 2, 16)
    assert [item for _, item in records_of(chunks)] == list(range(100))


def test_an_iterator_is_read_only_as_far_as_asked():
    source = itertools.count()
    chunks = item_chunks(read_input(source), 2, 16)
    next(chunks)
    next(chunks)
    assert next(source) == 48


def test_an_exception_of_the_iterable_comes_through():
    def broken():
        yield 1
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        list(item_chunks(read_input(broken()), 2))


def test_an_item_that_does_not_pickle_is_named():
    data = [*range(40), iter_forever(), 41]
    with pytest.raises(InputTypeError, match=r"^item 40 does not travel: it is a generator"):
        list(item_chunks(read_input(iter(data)), 2, 16))
    with pytest.raises(InputTypeError, match=r"^the value of key 'k' does not travel: it has"):
        list(item_chunks(read_input({"j": 1, "k": [iter_forever()]}), 2))


def iter_forever():
    yield 1
