"""Keys by node (SIGCOMM 2001, section 6.2, figures 8 and 9).

Hashing alone gives one of n nodes about log n times its share. The paper answers with virtual
nodes: each node has many places on the ring. This library places a block by the least loaded of d
names instead (``core/chord/placement.py``), and no node has to be many.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from map_reduce.core.chord.placement import Placement
from map_reduce.core.identifiers import Member, identifier_of
from map_reduce.simulation.figures.still import address_of, key_of
from map_reduce.simulation.figures.table import Table

COLUMNS = ("rule", "members", "keys", "p1", "p50", "p99", "max")


def load(
    members: int, keys: Sequence[int], virtual: Iterable[int], choices: Iterable[int], ring: int = 0
) -> Table:
    """Keys by node as shares of the mean, for each rule; percentiles over the nodes."""
    table = Table(COLUMNS)
    for number in keys:
        for places in virtual:
            name = "hashing alone" if places == 1 else f"{places} virtual nodes"
            _add(table, name, members, number, by_virtual_nodes(members, number, places, ring))
        for names in choices:
            name = f"least loaded of {names}"
            _add(table, name, members, number, by_choice(members, number, names, ring))
    return table


def by_virtual_nodes(members: int, keys: int, places: int, ring: int = 0) -> list[int]:
    """How many of the keys each node owns, where it has so many places on the ring."""
    named = [
        (identifier_of(f"{address_of(node, ring)}#{place}"), node)
        for node in range(members)
        for place in range(places)
    ]
    named.sort()
    circle = [identifier for identifier, _ in named]
    counts = [0] * members
    for key in range(keys):
        counts[named[bisect_left(circle, key_of(key)) % len(named)][1]] += 1
    return counts


def by_choice(members: int, keys: int, names: int, ring: int = 0) -> list[int]:
    """How many of the keys each node owns, where each has ``names`` and takes the best."""
    placement = Placement(Member(address_of(node, ring), 1) for node in range(members))
    for key in range(keys):
        placement.choose([f"key {key}~{choice}" for choice in range(names)], 1)
    return [int(load) for load in placement.loads.values()]


def _add(table: Table, rule: str, members: int, keys: int, counts: list[int]) -> None:
    mean = keys / members
    ordered = sorted(counts)
    p1, p50, p99 = (ordered[int(share * (members - 1))] / mean for share in (0.01, 0.5, 0.99))
    table.add(rule, members, keys, p1, p50, p99, ordered[-1] / mean)
