"""Hops and memory with a membership view, against N (Gupta, Liskov and Rodrigues, NSDI 2004).

Every member of a ring of up to ``members_max`` knows the others, and a lookup asks the owner at
once. What that takes is measured on one member: the bytes of all objects that only it would hold,
were it a process of its own.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from map_reduce.core.chord.member import RingMember
from map_reduce.simulation.draws import Draws
from map_reduce.simulation.figures.still import StillRing, key_of
from map_reduce.simulation.figures.table import Table

CODE = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType)
"""What is there once, however many members there are."""


def views(sizes: Iterable[int], view_max: int, lookups: int, seed: int) -> Table:
    """Members asked on the way, share of lookups that asked the owner at once, and KB held."""
    table = Table(("members", "view", "lookups", "path", "at once", "wrong", "KB", "fingers"))
    for members in sizes:
        ring = StillRing(members, 16, view_max=view_max)
        draws = Draws(seed, f"views {members}")
        path, at_once, wrong = 0, 0, 0
        for key in range(lookups):
            cost, right = ring.look_up(draws.one_of(ring.circle.members), key_of(key))
            path += cost.path
            at_once += cost.path == 0
            wrong += not right
        one = next(iter(ring.rings.values()))
        table.add(
            *(members, view_max, lookups, path / lookups, at_once / lookups, wrong),
            *(held_bytes(one) / 1000, len(one.fingers.members())),
        )
    return table


def held_bytes(ring: RingMember) -> int:
    """Of everything that can be reached from it, but code."""
    seen: dict[int, object] = {}
    reached: list[object] = [ring]
    while reached:
        thing = reached.pop()
        if id(thing) not in seen and not isinstance(thing, CODE):
            seen[id(thing)] = thing
            reached += gc.get_referents(thing)
    return sum(sys.getsizeof(thing) for thing in seen.values())
