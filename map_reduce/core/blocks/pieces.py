"""Which bytes of a block have come."""

from __future__ import annotations

from map_reduce.errors import ProtocolError

RANGES_MAX = 1024
"""Pieces come in order, or nearly: whoever sends more than this wants to take up memory."""


class Pieces:
    """The set of received ranges of ``size_bytes`` bytes, kept merged and ordered."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._ranges: list[tuple[int, int]] = []

    def add(self, offset: int, length_bytes: int) -> None:
        """Note a piece.

        Raises:
            ProtocolError: it does not lie inside the block, or too many pieces came that do not
                join.
        """
        start, end = offset, offset + length_bytes
        if start < 0 or end > self._size_bytes:
            raise ProtocolError(
                f"a piece at {start}…{end} does not fit a block of {self._size_bytes} bytes"
            )
        if len(self._ranges) >= RANGES_MAX and start != self._ranges[-1][1]:
            raise ProtocolError(f"pieces with more than {RANGES_MAX} gaps between them")
        apart = []
        for low, high in self._ranges:
            if high < start or low > end:
                apart.append((low, high))
            else:
                start, end = min(start, low), max(end, high)
        self._ranges = sorted([*apart, (start, end)])

    @property
    def complete(self) -> bool:
        return self._ranges == [(0, self._size_bytes)]
