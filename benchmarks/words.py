"""The user's part of the word count: every contender calls these same two functions, or says why
not."""

from __future__ import annotations


def map(line_number: int, line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


def reduce(word: str, counts: list[int]) -> int:
    return sum(counts)
