"""What a node reads of a client's specification into its memory."""

from __future__ import annotations

from typing import Any

import pytest

from map_reduce.core.messages import SPEC_BYTES_MAX, BlockRef
from map_reduce.errors import ProtocolError
from map_reduce.runtime.specification import read_specification


class Blocks:
    """Whose blocks hold what is given, whatever is asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.read: list[BlockRef] = []

    def get(self, ref: BlockRef) -> bytes:
        self.read.append(ref)
        return self.data


def test_one_that_is_too_long_is_refused_before_a_byte_of_it_is_read() -> None:
    blocks: Any = Blocks(b"")
    with pytest.raises(ProtocolError, match=f"{SPEC_BYTES_MAX + 1} bytes, more than"):
        read_specification(blocks, BlockRef("j/spec", SPEC_BYTES_MAX + 1, b"d"))
    assert blocks.read == []


def test_what_is_no_specification_is_refused() -> None:
    blocks: Any = Blocks(b"no specification")
    with pytest.raises(ProtocolError, match="specification cannot be read"):
        read_specification(blocks, BlockRef("j/spec", SPEC_BYTES_MAX, b"d"))
    assert len(blocks.read) == 1
