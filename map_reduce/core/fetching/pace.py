"""How much to ask of a node at a time, from how long it took before.

A request has a deadline, or nobody would ever notice that a node is gone. So what one asks for has
to come before it, however slow the link. With r requests of s bytes under way over a link of b
bytes a second, each takes r * s / b; and all nodes may be at one of them at once. In seconds:

    nodes   link        under way to each   requests   1 MiB each   256 KiB   64 KiB
    3       100 MB/s    3                   6          0.06         0.02      0.004
    3       0.5 MB/s    3                   6          12.6         3.1       0.8
                        1                   2          4.2          1.0       0.3
    10      0.5 MB/s    3                   27         57           14        3.5
                        1                   9          19           4.7       1.2

On a fast link 1 MiB is right: what a request costs by itself, a quarter of a millisecond and the
link's latency, does not show then; and several under way keep the link busy while others are read
and written. On a slow one, what misses the deadline of 10 s makes the node seem unreachable and the
map outputs on it lost: the job would make again what is there, over and over. There the link is
busy with one request, and more only stand in the way of one another, and of signs of life.

So each node is asked for ``BYTES_MIN`` first, by one request at a time; for twice as much where
that was quick, up to ``BYTES_MAX``, and for half where it was slow; by several at a time where
three of the largest would not be slow, and by one again after a slow answer. The smallest, one at
a time, come in 10 s from three nodes down to 14 kB/s, and from ten to 60 kB/s. A request that got
no answer is repeated with ``BYTES_MIN``, and the node is called unreachable only when that gets
none either; for a larger request ``TIMEOUT_LARGE_S`` is therefore enough, and a node that has gone
silent is noticed after 15 s at the latest.

The link may as well be fast and the node slow, or busy. That is no matter: to ask it for less at a
time is right then, too.
"""

from __future__ import annotations

from map_reduce.core.digests import PIECE_BYTES

BYTES_MIN = 64 << 10
BYTES_MAX = PIECE_BYTES

UNDER_WAY_MAX = 3
"""Requests to one node, where that is not slow: one that is answered, one that arrives, and one
that is written to disk."""

SLOW_S = 1.5

QUICK_S = SLOW_S / UNDER_WAY_MAX
"""What takes less leaves room for one twice as large, or for two more beside it."""

TIMEOUT_S = 10.0
TIMEOUT_LARGE_S = 5.0
"""Of a request that would be repeated smaller."""


class Pace:
    """Towards one node. Not thread-safe: its owner holds a lock.

    Attributes:
        bytes_max: that the next request may ask for.
        under_way_max: requests at a time.
    """

    def __init__(self) -> None:
        self.bytes_max = BYTES_MIN
        self.under_way_max = 1

    def took(self, length_bytes: int, seconds: float) -> None:
        """A request for so many bytes was answered after so long.

        Several are under way at a time, and all of them may be slow at once. So what follows from
        one goes by its own size, not by what has been learnt since it was sent.
        """
        if seconds > SLOW_S:
            self.bytes_max = max(BYTES_MIN, min(self.bytes_max, length_bytes // 2))
            self.under_way_max = 1
        elif seconds < QUICK_S:
            self.bytes_max = min(BYTES_MAX, max(self.bytes_max, 2 * length_bytes))
            if seconds * BYTES_MAX < QUICK_S * max(length_bytes, BYTES_MIN):
                self.under_way_max = UNDER_WAY_MAX

    def failed(self, length_bytes: int) -> bool:
        """A request for so many bytes was not answered; whether it is to be repeated, smaller."""
        self.bytes_max = BYTES_MIN
        self.under_way_max = 1
        return length_bytes > BYTES_MIN


def timeout_s(length_bytes: int) -> float:
    """How long to wait for so many bytes."""
    return TIMEOUT_S if length_bytes <= BYTES_MIN else TIMEOUT_LARGE_S
