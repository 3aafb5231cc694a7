"""Where a map's output goes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from map_reduce.execution.map_output import SMALL_BYTES_MAX, MapOutputWriter

HALF = SMALL_BYTES_MAX // 2


def written(path: Path, small: bytearray | None, *pieces: bytes) -> Path | None:
    with closing(MapOutputWriter(path, small)) as output:
        for piece in pieces:
            output.write(piece)
        return output.finish()


def test_a_small_output_is_no_file(tmp_path: Path) -> None:
    small = bytearray(b"of an attempt that began anew")
    assert written(tmp_path / "out", small, b"a" * HALF, b"b" * HALF) is None
    assert small == b"a" * HALF + b"b" * HALF
    assert written(tmp_path / "out", small) is None
    assert small == b""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pieces", [(b"a" * HALF, b"b" * HALF, b"c", b"d"), (b"e" * HALF * 3,)])
def test_a_large_one_is_a_file_and_leaves_memory(tmp_path: Path, pieces: tuple[bytes]) -> None:
    small = bytearray()
    path = written(tmp_path / "out", small, *pieces)
    assert path is not None
    assert path.read_bytes() == b"".join(pieces)
    assert small == b""


def test_without_a_place_for_small_ones_there_is_always_a_file(tmp_path: Path) -> None:
    path = written(tmp_path / "out", None)
    assert path is not None
    assert path.read_bytes() == b""
