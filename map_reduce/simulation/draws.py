"""Randomness for one purpose.

Each purpose (workload, faults, network, a node) has a stream of its own, so that taking one fault
out of a plan leaves the other draws as they are. Only ``Random.random`` is used: its sequence is
the same on every version of Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Draws:
    """The stream of ``purpose`` under ``seed``."""

    def __init__(self, seed: int, purpose: str) -> None:
        digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
        self.uniform = Random(int.from_bytes(digest, "big")).random
        """From 0 to below 1."""

    def chance(self, probability: float) -> bool:
        return self.uniform() < probability

    def below(self, bound: int) -> int:
        """A whole number from 0 to bound - 1."""
        return int(self.uniform() * bound)

    def within(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def heavy_tailed(self, low: int, high: int) -> int:
        """From low to high; half of the draws are in the lowest tenth, the rest thin out."""
        reach = self.uniform() * self.uniform() * self.uniform()
        return low + int(reach * (high - low))

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]
