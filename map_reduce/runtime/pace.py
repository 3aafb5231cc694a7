"""A bound on how fast bytes are moved."""

from __future__ import annotations

import threading

from map_reduce.errors import Unreachable
from map_reduce.ports import Clock


class Pace:
    """At most so many bytes a second, counted from piece to piece: what was not used is lost.

    One thread at a time moves bytes by it.
    """

    def __init__(self, bytes_per_s_max: float, clock: Clock) -> None:
        self._bytes_per_s_max = bytes_per_s_max
        self._clock = clock
        self._free_at_s = clock.now_s()

    def wait(self, size_bytes: int, stop: threading.Event) -> None:
        """Return when so many bytes may be moved.

        Raises:
            Unreachable: ``stop`` was set meanwhile.
        """
        now_s = self._clock.now_s()
        if stop.wait(max(0.0, self._free_at_s - now_s)):
            raise Unreachable("this node stops")
        self._free_at_s = max(now_s, self._free_at_s) + size_bytes / self._bytes_per_s_max
