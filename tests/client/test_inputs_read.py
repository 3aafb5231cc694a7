"""What a client cuts, a worker reads: records are those of the whole input, however it is cut."""

import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.client import items as items_module
from map_reduce.client import line_starts
from map_reduce.client import text as text_module
from map_reduce.client.inputs import read_input
from map_reduce.client.items import item_chunks
from map_reduce.client.text import file_blocks, file_plan
from map_reduce.core.messages import BlockRef, BlockText
from map_reduce.execution.read import batches_of
from map_reduce.job import Files

TEXTS = st.lists(
    st.sampled_from(["\n", "\r\n", "\r", "a", "some words", "é", "\u2028", "\x0b", "\x85"])
).map("".join)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32-be", "latin-1", "cp437", "utf-7"]


def records_of(splits):
    """All (key, value) pairs, of (split, file with its bytes) pairs in order."""
    return [
        record
        for split, block in splits
        for batch in batches_of(split, block)
        for record in zip(batch.keys, batch.values, strict=True)
    ]


def numbered_lines(text: str) -> list[tuple[int, str]]:
    """What a sequential run maps: a line ends at a line feed and nowhere else."""
    *lines, last = text.split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    return list(enumerate([*lines, last] if last else lines))


@given(
    texts=st.lists(TEXTS, min_size=1, max_size=9),
    encoding=st.sampled_from(ENCODINGS),
    piece_bytes=st.integers(1, 40),
    read_bytes=st.integers(1, 40),
    slots=st.integers(1, 2),
    all_packed=st.lists(st.booleans(), min_size=9, max_size=9),
)
def test_lines_of_files(texts, encoding, piece_bytes, read_bytes, slots, all_packed):
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        for bound in ("SPLIT_BYTES_MIN", "SPLIT_BYTES_MAX", "BLOCK_BYTES_MIN", "BLOCK_BYTES_MAX"):
            patch.setattr(text_module, bound, piece_bytes)
        patch.setattr(line_starts, "READ_BYTES", read_bytes)
        expected, paths = [], []
        for (number, text), packed in zip(enumerate(texts), all_packed, strict=False):
            data = text.encode(encoding, "ignore")
            paths.append(Path(name, f"{number}.gz" if packed else str(number)))
            paths[-1].write_bytes(gzip.compress(data) if packed else data)
            expected += numbered_lines(data.decode(encoding))
        files = read_input(Files(*paths, encoding=encoding))
        assert records_of((split, None) for split in file_plan(files, slots).splits) == expected
        assert records_of(as_block_splits(files, Path(name))) == expected


def as_block_splits(files, folder):
    for number, block in enumerate(file_blocks(files, 2)):
        path = folder / f"block{number}"
        path.write_bytes(block.data)
        ref = BlockRef(path.name, len(block.data), b"")
        yield BlockText(ref, block.path, block.start, block.first_line, block.format), path


@given(
    data=st.lists(st.one_of(st.text(), st.integers(), st.none(), st.binary())),
    keyed=st.booleans(),
    bytes_max=st.sampled_from([20, 200, 1 << 20]),
)
def test_items_and_pairs(data, keyed, bytes_max):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(items_module, "CHUNK_BYTES_MAX", bytes_max)
        given_as = {str(n): item for n, item in enumerate(data)} if keyed else data
        expected = list(given_as.items()) if keyed else list(enumerate(data))
        chunks = [(chunk, None) for chunk in item_chunks(read_input(given_as), 2, 3)]
    assert records_of(chunks) == expected
