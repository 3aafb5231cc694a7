"""How many bytes to ask of a node at a time, from how long it took before.

A request has a deadline, or nobody would ever notice that a node is gone. So what one asks for has
to come before it, however slow the link. With r requests of s bytes under way over a link of b
bytes a second, each takes r * s / b. A node has three under way to each other one
(``runtime/shuffling.py``), and all nodes may be at one of them at once:

    nodes   link        requests     1 MiB each    256 KiB     64 KiB
    3       100 MB/s    6            0.06 s        0.02 s      0.004 s
    3       0.5 MB/s    6            12.6 s        3.1 s       0.8 s
    10      0.5 MB/s    27           57 s          14 s        3.5 s

On a fast link 1 MiB is right: what a request costs by itself, a quarter of a millisecond and the
link's latency, does not show then. On a slow one that misses the deadline of 10 s, the node seems
unreachable, and the map outputs on it are taken for lost: the job makes again what is there,
over and over. Small pieces come in time over both, but would cost on the fast one.

So each node is asked for ``BYTES_START`` first; for twice as much where that was quick, up to
``BYTES_MAX``; and for half where it was slow, down to ``BYTES_MIN``. These come in 10 s from three
nodes down to 40 kB/s, and from ten to 180 kB/s. A request that got no answer is repeated with
``BYTES_MIN``, and the node is called unreachable only when that gets none either; for a larger
request ``TIMEOUT_LARGE_S`` is therefore enough, and a node that has gone silent is noticed
after 15 s at the latest.

The link may as well be fast and the node slow, or busy. That is no matter: to ask it for less at a
time is right then, too.
"""

from __future__ import annotations

from map_reduce.core.digests import PIECE_BYTES

BYTES_MIN = 64 << 10
BYTES_START = 256 << 10
BYTES_MAX = PIECE_BYTES

QUICK_S = 0.5
"""A request that takes less leaves room for one twice as large: that stays under SLOW_S."""

SLOW_S = 2.0

TIMEOUT_S = 10.0
TIMEOUT_LARGE_S = 5.0
"""Of a request that would be repeated smaller."""


class Pace:
    """Towards one node. Not thread-safe: its owner holds a lock.

    Attributes:
        bytes_max: that the next request may ask for.
    """

    def __init__(self) -> None:
        self.bytes_max = BYTES_START

    def took(self, length_bytes: int, seconds: float) -> None:
        """A request for so many bytes was answered after so long.

        Several are under way at a time, and all of them may be slow at once. So what follows from
        one goes by its own size, not by what has been learnt since it was sent.
        """
        if seconds > SLOW_S:
            self.bytes_max = max(BYTES_MIN, min(self.bytes_max, length_bytes // 2))
        elif seconds < QUICK_S:
            self.bytes_max = min(BYTES_MAX, max(self.bytes_max, 2 * length_bytes))

    def failed(self, length_bytes: int) -> bool:
        """A request for so many bytes was not answered; whether it is to be repeated, smaller."""
        self.bytes_max = BYTES_MIN
        return length_bytes > BYTES_MIN


def timeout_s(length_bytes: int) -> float:
    """How long to wait for so many bytes."""
    return TIMEOUT_S if length_bytes <= BYTES_MIN else TIMEOUT_LARGE_S
