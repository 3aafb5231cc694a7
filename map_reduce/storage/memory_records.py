"""Records in memory: a replica that is lost with its process."""

from __future__ import annotations

import os
import time

from map_reduce.core.registers.acceptor import Held

IDENTITY_BITS = 63


def new_identity() -> int:
    """An identity that no replica ever had, as good as certainly."""
    return int.from_bytes(os.urandom(8), "big") >> (64 - IDENTITY_BITS)


class MemoryRecordStore:
    """A RecordStore that keeps nothing: the acceptor's own memory is all there is."""

    waits_for_disk = False

    def __init__(self) -> None:
        self.identity = new_identity()
        self.incarnation = time.time_ns()

    def held(self) -> tuple[Held, ...]:
        return ()

    def append(self, held: Held) -> int:
        return 0

    def sync(self, place: int) -> None:
        """There is no crash that this process would survive."""

    def close(self) -> None:
        """There is nothing to release."""
