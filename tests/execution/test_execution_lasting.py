"""Decoded splits that are kept: the same records, read once, never more than the bound."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from map_reduce.core.messages import BlockItems, BlockRef, BlockText, InlineItems, TextFormat
from map_reduce.execution.lasting import Kept, is_fixed
from map_reduce.execution.read import Batch

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary())
FIXED = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=8)


def block(number, size=100, lasting=True):
    return BlockItems(BlockRef(f"b{number}", size, b"%d" % number), 2, 0, False, lasting)


class Reader:
    """Gives one batch of these values, and counts how often it was asked."""

    def __init__(self, *values):
        self.values = values
        self.reads = 0

    def __call__(self):
        self.reads += 1
        yield Batch(range(len(self.values)), range(len(self.values)), list(self.values), 9)


def read(kept, split, reader):
    return [batch.values for batch in kept.batches(split, reader)]


def test_what_is_kept_is_read_once():
    kept, reader = Kept(), Reader("a", ("b", 1))
    for _ in range(3):
        assert read(kept, block(1), reader) == [["a", ("b", 1)]]
    assert (reader.reads, kept.bytes) == (1, 100)


def test_equal_blocks_of_other_records_are_not_taken_for_one_another():
    kept = Kept()
    first = block(1)
    for split, value in (
        (first, "first"),
        (structs.replace(first, first_index=2), "further on"),
        (structs.replace(first, keyed=True), "pairs"),
        (BlockText(first.ref, "a", 0, 0, TextFormat(), True), "text"),
        (BlockText(first.ref, "a", 0, 0, TextFormat("latin-1"), True), "in another encoding"),
        (BlockText(first.ref, "a", 0, 7, TextFormat(), True), "other lines"),
    ):
        for _ in range(2):
            assert read(kept, split, Reader(value)) == [[value]]
    renamed = structs.replace(first, ref=structs.replace(first.ref, name="by another name"))
    assert read(kept, renamed, Reader("unread")) == [["first"]]


def test_what_can_be_changed_and_what_does_not_last_is_read_each_time():
    for split, reader in (
        (block(1), Reader("a", ["b"])),
        (block(1), Reader(("a", {}))),
        (block(1, lasting=False), Reader("a")),
        (InlineItems(b"", 1, 0, False), Reader("a")),
    ):
        kept = Kept()
        for _ in range(2):
            assert read(kept, split, reader) == [list(reader.values)]
        assert (reader.reads, kept.bytes) == (2, 0)


def test_a_split_that_was_not_read_to_its_end_is_not_kept():
    kept, reader = Kept(), Reader("a")
    next(kept.batches(block(1), reader))
    assert read(kept, block(1), reader) == [["a"]]
    assert reader.reads == 2


def test_the_one_not_read_for_longest_goes_and_none_that_is_too_large_comes():
    kept = Kept(250)
    first, second, third, large = (Reader(n) for n in range(4))
    for number, reader in ((1, first), (2, second), (1, first), (3, third)):
        read(kept, block(number), reader)
    assert kept.bytes == 200
    read(kept, block(1), first)
    assert first.reads == 1
    read(kept, block(2), second)
    assert second.reads == 2
    read(kept, block(4, size=251), large)
    assert kept.bytes <= 250
    assert read(kept, block(4, size=251), large) == [[3]]
    assert large.reads == 2


def test_a_process_that_may_use_little_memory_keeps_little():
    kept = Kept()
    read(kept, block(1, size=5 << 20), Reader("a"))
    kept.bound(0)
    assert kept.bytes == 5 << 20
    kept.bound(64)
    assert kept.bytes == 0


@given(st.lists(FIXED))
def test_fixed(values):
    assert is_fixed(values)
    assert is_fixed(range(len(values)))
    assert not is_fixed([*values, ("a", ["b"])])
    assert not is_fixed([*values, frozenset([1])]), "what is in it may be anything"
