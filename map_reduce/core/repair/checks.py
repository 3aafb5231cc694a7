"""Which blocks are to be read against their digests, and when.

Those that a lasting folder held when the node started; those that a reader found damaged, or that
nobody takes, first; and every block once a round, for disks lose bits without a word, and a copy
that nobody reads is a copy that nobody misses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

ROUND_S = 7 * 24 * 3600.0
"""From the end of one round over all blocks to the next one."""

SUSPECTS_MAX = 10_000
"""Damaged blocks that wait to be looked at; of more, readers will tell again."""


class Checks:
    """The names that wait.

    Args:
        names: of the blocks that are here at the start.
        now_s: the time.
    """

    def __init__(self, names: Iterable[str], now_s: float, round_s: float = ROUND_S) -> None:
        self._unchecked = deque(names)
        self._suspects: dict[str, None] = {}
        self._round_s = round_s
        self._next_round_s = now_s + round_s

    def suspect(self, name: str) -> None:
        if len(self._suspects) < SUSPECTS_MAX:
            self._suspects[name] = None

    def next(self, everything: Callable[[], Iterable[str]], now_s: float) -> str | None:
        """The block to check next, if there is one; ``everything`` names those of a new round."""
        if self._suspects:
            name = next(iter(self._suspects))
            del self._suspects[name]
            return name
        if self._unchecked:
            self._next_round_s = now_s + self._round_s
            return self._unchecked.popleft()
        if now_s >= self._next_round_s:
            self._next_round_s = now_s + self._round_s
            self._unchecked.extend(everything())
            return self._unchecked.popleft() if self._unchecked else None
        return None
