"""Small files share splits: not too few, not too large, even; held against trying all ways."""

from itertools import combinations, pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.client import combining
from map_reduce.client import text as text_module
from map_reduce.client.combining import FILES_PER_SPLIT_MAX, shared
from map_reduce.client.inputs import read_input
from map_reduce.client.text import SPLITS_PER_SLOT, file_plan
from map_reduce.core.messages import (
    SPEC_BYTES_MAX,
    FileText,
    FileTexts,
    Split,
    TextFormat,
    size_bytes_of,
)
from map_reduce.transport.wire import MESSAGE_BYTES_MAX


def run_ends_of(lengths):
    ends = []
    for length in lengths:
        ends += [len(ends) + length] * length
    return ends


def all_ways(sizes, run_ends):
    """Every way to cut them into stretches that may share a split."""
    total = len(sizes)
    for inner in (cut for n in range(total) for cut in combinations(range(1, total), n)):
        way = [range(start, end) for start, end in pairwise((0, *inner, total))]
        if all(
            part.stop <= run_ends[part.start] and len(part) <= combining.FILES_PER_SPLIT_MAX
            for part in way
        ):
            yield way


def longest(sizes, way):
    """Of those that several share."""
    return max((sum(sizes[at] for at in part) for part in way if len(part) > 1), default=0)


@given(
    runs=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=1, max_size=4),
    bytes_max=st.integers(0, 30),
    splits_min=st.integers(1, 10),
    files_max=st.integers(2, 5),
)
def test_of_all_ways_the_one_with_fewest_splits_and_the_most_even(
    runs, bytes_max, splits_min, files_max
):
    runs = runs[: 1 + (sum(map(len, runs[:2])) < 8)]
    sizes = [size for run in runs for size in run][:9]
    run_ends = [min(end, len(sizes)) for end in run_ends_of(map(len, runs))][: len(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(combining, "FILES_PER_SPLIT_MAX", files_max)
        found = shared(sizes, run_ends, bytes_max, splits_min)
        ways = list(all_ways(sizes, run_ends))
    assert found in ways
    assert longest(sizes, found) <= bytes_max
    assert len(found) >= min(splits_min, len(sizes))
    if len(sizes) <= splits_min:
        assert len(found) == len(sizes)
        return
    # The fewest for each bound: no bound gives fewer that are enough, none as few more evenly.
    fewest = {
        bound: min(len(way) for way in ways if longest(sizes, way) <= bound)
        for bound in range(bytes_max + 1)
    }
    assert len(found) == min(count for count in fewest.values() if count >= splits_min)
    as_few = [longest(sizes, way) for way in ways if len(way) <= len(found)]
    assert longest(sizes, found) == min(as_few)


# ---------------------------------------------------------------------- plans


def write_all(folder: Path, sizes, ending=".txt"):
    paths = []
    for number, size in enumerate(sizes):
        paths.append(folder / f"{number:04}{ending}")
        paths[-1].write_bytes(b"word\n" * (size // 5) + b"x" * (size % 5))
    return paths


def plan_of(paths, slots):
    return file_plan(read_input(paths), slots).splits


def counts(splits):
    return [len(split.files) if isinstance(split, FileTexts) else 1 for split in splits]


def test_files_that_a_slot_can_have_for_itself_are_splits_of_their_own(tmp_path):
    paths = write_all(tmp_path, [10] * 8)
    assert all(isinstance(split, FileText) for split in plan_of(paths, 2))
    assert len(plan_of(paths, 2)) == 8


def test_more_of_them_share_as_many_splits_as_the_slots_can_use(tmp_path):
    paths = write_all(tmp_path, [10] * 64)
    assert counts(plan_of(paths, 2)) == [8] * 8
    assert counts(plan_of(paths, 1)) == [16] * 4
    assert counts(plan_of(paths, 16)) == [1] * 64


def test_one_large_file_does_not_leave_the_small_ones_to_one_slot(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "SPLIT_BYTES_MIN", 100)
    paths = [*write_all(tmp_path, [10] * 40), tmp_path / "large.gz"]
    paths[-1].write_bytes(b"x" * 5000)
    splits = plan_of(paths, 2)
    assert isinstance(splits[-1], FileText)
    assert sorted(counts(splits[:-1])) == [4, 6, 6, 6, 6, 6, 6]


def test_splits_are_as_large_as_those_of_one_file_of_that_size(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "SPLIT_BYTES_MIN", 100)
    monkeypatch.setattr(text_module, "SPLIT_BYTES_MAX", 400)
    small = write_all(tmp_path, [20, 50, 30] * 80)
    large = tmp_path / "large"
    large.write_bytes(b"".join(path.read_bytes() for path in small))
    shared_by, alone = plan_of(small, 1), plan_of([large], 1)
    assert len(shared_by) == len(alone) == 20
    assert max(map(size_bytes_of, shared_by)) <= 500


def test_parts_of_a_file_are_not_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "SPLIT_BYTES_MIN", 100)
    monkeypatch.setattr(text_module, "SPLIT_BYTES_MAX", 100)
    paths = write_all(tmp_path, [5] * 5 + [250] + [5] * 5)
    splits = plan_of(paths, 1)
    assert counts(splits) == [5, 1, 1, 5]
    assert (splits[1].start, splits[1].end) == (0, splits[2].start)


def test_packed_files_share_splits_with_others(tmp_path):
    paths = [*write_all(tmp_path, [5] * 20), *write_all(tmp_path, [5] * 20, ".gz")]
    paths.sort()  # one of each by turns
    splits = plan_of(paths, 1)
    assert counts(splits) == [10] * 4
    formats = [text.format.compression for split in splits for text in split.texts()]
    assert formats == ["gzip" if path.suffix == ".gz" else "" for path in paths]


def test_a_split_has_no_more_files_than_an_order_can_name(tmp_path):
    paths = write_all(tmp_path, [1] * 20) * 110
    assert max(counts(plan_of(paths, 1))) <= FILES_PER_SPLIT_MAX
    assert sum(counts(plan_of(paths, 1))) == 2200
    assert len(plan_of(paths, 1)) == 5 > SPLITS_PER_SLOT


PATHS = st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=5)


COMPRESSIONS = st.lists(st.sampled_from(["", "gzip", "xz"]), min_size=5, max_size=5)


@given(paths=PATHS, prefix=st.sampled_from(["", "/data/", "/data/ä"]), compressions=COMPRESSIONS)
def test_files_come_out_as_they_went_in(paths, prefix, compressions):
    texts = [
        FileText(prefix + path, 0, size, 0, size, 10 * size, TextFormat("ascii", "ignore", packed))
        for (size, path), packed in zip(enumerate(paths, 1), compressions, strict=False)
    ]
    split = FileTexts.of(texts)
    assert list(split.texts()) == texts
    assert split.prefix.startswith(prefix)
    assert size_bytes_of(split) == sum(range(len(paths) + 1))
    encoded = msgspec.msgpack.encode(split)
    assert msgspec.msgpack.decode(encoded, type=Split) == split


def test_an_order_has_room_for_the_longest_paths():
    paths = [f"{number:04}".ljust(4096, "/") for number in range(FILES_PER_SPLIT_MAX)]
    split = FileTexts.of([FileText(path, 0, 1, 0, 1, 1 << 62, TextFormat()) for path in paths])
    assert split.prefix == "0"
    assert 3 * len(msgspec.msgpack.encode(split)) < 2 * MESSAGE_BYTES_MAX


def test_a_specification_has_room_for_a_million_files():
    texts = [
        FileText(
            f"/data/measurements/of/many/small/files/2026/07/sensor-{number:06}.txt",
            *(0, 800 + number, 0, 800 + number, 1_790_000_000_123_456_789 + number, TextFormat()),
        )
        for number in range(5000)
    ]
    alone = len(msgspec.msgpack.encode(texts))
    starts = range(0, len(texts), FILES_PER_SPLIT_MAX)
    splits = [FileTexts.of(texts[start : start + FILES_PER_SPLIT_MAX]) for start in starts]
    assert 4 * len(msgspec.msgpack.encode(splits)) < alone
    assert 200 * len(msgspec.msgpack.encode(splits)) < SPEC_BYTES_MAX
