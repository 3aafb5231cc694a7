"""What becomes of a message: when it arrives, how often, or never.

Messages overtake each other, because each has a delay of its own.
"""

from __future__ import annotations

from map_reduce.simulation.draws import Draws

DELAY_US = (200, 3_000)
STORM_DELAY_US = (200, 700_000)
STORM_LOSS = 0.25
STORM_DOUBLE = 0.2


class Network:
    """The ways between numbered nodes. Clients have number -1 and are never cut off."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._uniform = draws.uniform
        self._shortest_us = DELAY_US[0]
        self._delays_us = DELAY_US[1] - DELAY_US[0] + 1
        self._deaf: list[tuple[int, int]] = []
        self._splits: list[frozenset[int]] = []
        self._storms = 0

    def deafen(self, sender: int, receiver: int) -> None:
        self._deaf.append((sender, receiver))

    def undeafen(self, sender: int, receiver: int) -> None:
        self._deaf.remove((sender, receiver))

    def split(self, part: frozenset[int]) -> None:
        self._splits.append(part)

    def unsplit(self, part: frozenset[int]) -> None:
        self._splits.remove(part)

    def storm(self) -> None:
        self._storms += 1

    def calm(self) -> None:
        self._storms -= 1

    def fate(self, sender: int, receiver: int) -> tuple[int, ...]:
        """The delays, in microseconds, after which copies of a message arrive."""
        if (self._deaf or self._splits) and self._is_cut(sender, receiver):
            return ()
        draws = self._draws
        if not self._storms:  # as draws.within, for every message
            return (self._shortest_us + int(self._uniform() * self._delays_us),)
        if draws.chance(STORM_LOSS):
            return ()
        delay_us = draws.heavy_tailed(*STORM_DELAY_US)
        if draws.chance(STORM_DOUBLE):
            return delay_us, draws.heavy_tailed(*STORM_DELAY_US)
        return (delay_us,)

    def _is_cut(self, sender: int, receiver: int) -> bool:
        if sender < 0 or receiver < 0:
            return False
        if (sender, receiver) in self._deaf:
            return True
        return any((sender in part) != (receiver in part) for part in self._splits)
