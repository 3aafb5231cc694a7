"""The records by which a job that sorts is cut are from all over its input."""

from __future__ import annotations

import gzip
import itertools

import pytest

from map_reduce.client import picking as module
from map_reduce.client.inputs import RingInput, read_inputs
from map_reduce.client.picking import picking
from map_reduce.client.shipping import unpickle
from map_reduce.core.messages import PartItems


def picked(data):
    """What is read in the place of ``data``, and the records."""
    [source], pick = picking(read_inputs(data))
    read = list(source.records) if hasattr(source, "records") else None
    [taken] = pick()
    pairs = unpickle(taken.data)
    assert taken.count == len(pairs)
    assert taken.keyed
    return read, pairs


@pytest.mark.parametrize("count", [0, 1, 5, 4096, 4097, 50_000])
@pytest.mark.parametrize("kind", [list, iter])
def test_items_with_their_numbers_evenly_and_shuffled(count, kind):
    read, pairs = picked(kind([3 * n for n in range(count)]))
    assert read == [3 * n for n in range(count)]
    assert all(item == 3 * index for index, item in pairs)
    numbers = sorted(index for index, _ in pairs)
    assert min(count, 2048) <= len(numbers) <= 4096
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    assert len(steps) <= 1
    assert numbers[:1] == [0][:count]
    assert not numbers or count - numbers[-1] <= next(iter(steps), 1)
    if count > 10:
        assert [index for index, _ in pairs] != numbers


def test_a_mapping_keeps_its_keys():
    read, pairs = picked({"a": 1, "b": 2})
    assert read == [("a", 1), ("b", 2)]
    assert sorted(pairs) == [("a", 1), ("b", 2)]


def test_large_items_are_fewer(monkeypatch):
    monkeypatch.setattr(module, "BYTES_MAX", 10_000)
    _, pairs = picked(["x" * 1000] * 100)
    assert 4 <= len(pairs) <= 10
    _, pairs = picked(["x" * 100_000] * 3)
    assert len(pairs) == 1
    _, pairs = picked([lambda: 0] * 10)  # plain pickle does not tell its size
    assert len(pairs) >= 5


def test_lines_of_files_from_all_over(tmp_path):
    large, small = tmp_path / "large.txt", tmp_path / "small.txt"
    large.write_text("".join(f"line {n:07}\r\n" for n in range(300_000)))
    small.write_text("only\n")
    _, pairs = picked([large, small])
    assert module.RECORDS_MAX / 2 <= len(pairs) <= module.RECORDS_MAX
    lines = [line for _, line in pairs]
    numbers = sorted(int(line[5:]) for line in lines if line.startswith("line"))
    assert set(lines) - {"only"} <= {f"line {n:07}" for n in range(300_000)}  # none is cut
    gaps = [after - before for before, after in itertools.pairwise(numbers)]
    assert max(gaps) < 300_000 / module.PLACES
    assert numbers[0] < 300
    for number, line in pairs[:100]:
        if line != "only":
            assert abs(number - int(line[5:])) < 3000  # about


def test_what_can_only_be_read_from_its_beginning(tmp_path):
    with gzip.open(tmp_path / "a.gz", "wt") as file:
        file.writelines(f"{n}\n" for n in range(20_000))
    (tmp_path / "b.txt").write_bytes(b"no line end, and \xff")
    _, pairs = picked([tmp_path / "a.gz", tmp_path / "b.txt"])
    lines = {line for _, line in pairs}
    assert "no line end, and \ufffd" in lines or len(lines) > 1000
    assert lines & {str(n) for n in range(20_000)}


def test_what_cannot_be_read_is_for_the_job_to_tell(tmp_path):
    (tmp_path / "a.gz").write_bytes(b"no archive")
    (tmp_path / "empty.txt").touch()
    assert picked([tmp_path / "a.gz", tmp_path / "empty.txt"])[1] == []


def test_of_what_lies_in_the_ring_a_few_splits(tmp_path):
    splits = tuple(PartItems(b"", None, number) for number in range(100))
    sources, pick = picking([RingInput(splits), *read_inputs([1, 2])])
    assert sources[0] == RingInput(splits)
    assert list(sources[1].records) == [1, 2]
    *taken, items = pick()
    assert [split.count for split in taken] == list(range(0, 100, 13))
    assert items.count == 2
