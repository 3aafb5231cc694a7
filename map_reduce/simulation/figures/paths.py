"""How many members a lookup asks, against ½ · log2 N (SIGCOMM 2001, section 6.3, figure 10).

The paper's members know one successor and their fingers: lists of one. The lists of this library
are long, since they carry the ring through failures, and shorten the way, too: with a list of L
the last log2(L) / 2 members need not be asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import log2

from map_reduce.simulation.draws import Draws
from map_reduce.simulation.figures.still import StillRing, key_of
from map_reduce.simulation.figures.table import Table

RINGS_OF_MEMBERS = 4096
"""Small rings differ much from each other: so many members are spread over several rings."""

COLUMNS = ("members", "list", "lookups", "mean", "half log2", "p1", "p50", "p99", "max", "wrong")


def paths(sizes: Iterable[int], lists: Iterable[int], lookups: int, seed: int) -> Table:
    """The distribution of path lengths for each size of ring and length of list."""
    table = Table(COLUMNS)
    for successors_max in lists:
        for members in sizes:
            lengths, wrong = path_lengths(members, successors_max, lookups, seed)
            row = [quantile(lengths, share) for share in (0.01, 0.5, 0.99, 1.0)]
            table.add(
                members,
                successors_max,
                lengths.total(),
                mean(lengths),
                log2(members) / 2,
                *row,
                wrong,
            )
    return table


def distribution(members: int, lists: Iterable[int], lookups: int, seed: int) -> Table:
    """The share of lookups of each path length."""
    table = Table(("members", "list", "length", "share"))
    for successors_max in lists:
        lengths, _ = path_lengths(members, successors_max, lookups, seed)
        for length in range(max(lengths) + 1):
            table.add(members, successors_max, length, lengths[length] / lengths.total())
    return table


def path_lengths(
    members: int, successors_max: int, lookups: int, seed: int
) -> tuple[Counter[int], int]:
    """How many lookups had each path length, and how many found a wrong owner."""
    draws = Draws(seed, f"paths {members}")
    lengths: Counter[int] = Counter()
    wrong = 0
    rings = max(1, RINGS_OF_MEMBERS // members)
    for number in range(rings):
        ring = StillRing(members, successors_max, ring=number)
        for key in range(max(1, lookups // rings)):
            start = draws.one_of(ring.circle.members)
            cost, right = ring.look_up(start, key_of(key * rings + number))
            lengths[cost.path] += 1
            wrong += not right
    return lengths, wrong


def mean(lengths: Counter[int]) -> float:
    return sum(length * times for length, times in lengths.items()) / lengths.total()


def quantile(lengths: Counter[int], share: float) -> int:
    """The least length that ``share`` of all do not exceed."""
    seen = 0
    for length in sorted(lengths):
        seen += lengths[length]
        if seen >= share * lengths.total():
            return length
    return max(lengths)
