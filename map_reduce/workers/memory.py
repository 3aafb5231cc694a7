"""A bound on the memory that a worker process may use for an attempt.

Linux counts a process's private writable memory (RLIMIT_DATA) and refuses more of it than the soft
limit says, which Python turns into a MemoryError where it happens. Memory that is only reserved, as
by threads of numerical libraries, does not count. Elsewhere there is no such bound.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def lower_of(one_mb: int, other_mb: int) -> int:
    """Of two bounds the one that holds; 0 is none."""
    return min(filter(None, (one_mb, other_mb)), default=0)


@contextmanager
def bounded(mb_max: int) -> Iterator[None]:
    """No more than so many MiB inside; 0: as much as there is."""
    if not mb_max or not sys.platform.startswith("linux"):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    hard = before[1]
    wanted = mb_max << 20 if hard == resource.RLIM_INFINITY else min(mb_max << 20, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
