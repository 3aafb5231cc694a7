"""Memory that the C library holds and nobody uses, given back to the system.

A node's messages are buffers of all sizes, made and freed by many threads. What is freed between
two that live stays with the process: after some thousand jobs, megabytes, though the objects that
live are no more than before. glibc gives back such pages when it is told to.
"""

from __future__ import annotations

import ctypes
import sys

INTERVAL_S = 30.0


class Allocator:
    """Of this process. Does nothing where the C library is another than glibc."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._trim = getattr(library, "malloc_trim", None)
        self._next_s = 0.0

    def see_to(self, now_s: float) -> None:
        """Give back what is not used, if it is time for that again: takes milliseconds."""
        if self._trim is not None and now_s >= self._next_s:
            self._next_s = now_s + INTERVAL_S
            self._trim(0)
