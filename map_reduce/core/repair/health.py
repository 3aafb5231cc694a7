"""How many copies there are of the blocks of each arc, asked from outside.

Every member is asked once how much it holds in each arc of the ring: number, bytes, digest::

    arc (a, b]      b: 12 blocks, d1    c: 12 blocks, d1    d: 12 blocks, d1     all is well
    arc (b, c]      c: 10 blocks, d2    d: 10 blocks, d2    e:  9 blocks, d3     list these

Only where the members of a replica group differ are blocks listed and counted one by one, and no
more than ``LISTED_MAX`` in all; beyond that the numbers alone tell how many lack a copy at least.
So a ring in order costs one request for each member (and each ``ARCS_MAX`` arcs), whatever it
holds. Blocks come and go meanwhile: what is found is true of about now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from map_reduce.core.chord.replication import replica_group
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import (
    ArcEnds,
    ArcSummaries,
    ArcSummary,
    GetArcs,
    Message,
    No,
    identifier_bytes,
)
from map_reduce.core.procedure import Ask, Procedure
from map_reduce.core.repair.compare import difference
from map_reduce.core.repair.inventory import Arc, Inventory
from map_reduce.errors import ClusterError, Refused

ARCS_MAX = 256
"""Arcs in one request: about 12 kB."""

LISTED_MAX = 100_000
"""Copies that are listed one by one."""


class ArcHealth(NamedTuple):
    """The blocks that one member owns.

    Attributes:
        blocks, size_bytes: as far as anybody holds them; each counted once.
        short: how many of them have fewer copies in their replica group than they should.
        exact: whether ``short`` is all of them; else there are at least so many.
    """

    owner: Member
    blocks: int
    size_bytes: int
    short: int
    exact: bool


class Health(NamedTuple):
    """Of the whole ring; ``problems`` are members that could not be asked: they count as empty."""

    arcs: tuple[ArcHealth, ...]
    problems: tuple[str, ...]

    @property
    def short(self) -> int:
        """Blocks with fewer copies than they should have, at least."""
        return sum(arc.short for arc in self.arcs)


def answer_summaries(inventory: Inventory, message: GetArcs) -> Message:
    """What a member says to GetArcs, at once."""
    if len(message.arcs) > ARCS_MAX:
        return No(f"one request is about {ARCS_MAX} arcs at most")
    summaries = []
    for ends in message.arcs:
        arc = Arc.read(ends.after, ends.upto)
        if arc is None:
            return No("an identifier has 20 bytes")
        summaries.append(_summary(inventory, arc))
    return ArcSummaries(tuple(summaries))


def _summary(inventory: Inventory, arc: Arc) -> ArcSummary:
    refs = inventory.refs(arc)
    return ArcSummary(len(refs), sum(ref.size_bytes for ref in refs), inventory.digest(arc))


def health(members: Sequence[Member], *, replicas: int) -> Procedure[Health]:
    """The copies on a ring of these members, given in ring order."""
    arcs = [
        Arc(members[number - 1].identifier, member.identifier)
        for number, member in enumerate(members)
    ]
    held: dict[Member, tuple[ArcSummary, ...]] = {}
    problems: list[str] = []
    for member in members:
        try:
            held[member] = yield from _summaries(member, arcs)
        except ClusterError as error:
            problems.append(str(error))
    listed = 0
    found = []
    for number, arc in enumerate(arcs):
        line = (*members[number:], *members[:number])
        group = replica_group(line, replicas)
        here = {member: held[member][number] for member in line if member in held}
        blocks = max((summary.blocks for summary in here.values()), default=0)
        size_bytes = max((summary.size_bytes for summary in here.values()), default=0)
        short, exact = _short_at_least(group, here), _in_order(group, here)
        copies = sum(summary.blocks for summary in here.values())
        if not exact and listed + copies <= LISTED_MAX:
            listed += copies
            try:
                blocks, size_bytes, short = yield from _count(arc, group, here)
                exact = True
            except ClusterError as error:
                problems.append(str(error))
        found.append(ArcHealth(members[number], blocks, size_bytes, short, exact))
    return Health(tuple(found), tuple(problems))


def _summaries(member: Member, arcs: Sequence[Arc]) -> Procedure[tuple[ArcSummary, ...]]:
    found: list[ArcSummary] = []
    for first in range(0, len(arcs), ARCS_MAX):
        batch = arcs[first : first + ARCS_MAX]
        ends = tuple(ArcEnds(*map(identifier_bytes, arc)) for arc in batch)
        reply = yield Ask(member, GetArcs(ends))
        if not isinstance(reply, ArcSummaries) or len(reply.arcs) != len(batch):
            raise Refused(f"{member} does not say what it holds: {reply}")
        found += reply.arcs
    return tuple(found)


def _in_order(group: Sequence[Member], here: Mapping[Member, ArcSummary]) -> bool:
    """Whether all of the group hold the same, and nobody else holds anything."""
    inside = {here[member].digest if member in here else None for member in group}
    outside = any(summary.blocks for member, summary in here.items() if member not in group)
    return len(inside) == 1 and None not in inside and not outside


def _short_at_least(group: Sequence[Member], here: Mapping[Member, ArcSummary]) -> int:
    """Whoever has most has blocks that whoever has least lacks."""
    most = max((summary.blocks for summary in here.values()), default=0)
    least = min(here[member].blocks if member in here else 0 for member in group)
    return most - least


def _count(
    arc: Arc, group: Sequence[Member], here: Mapping[Member, ArcSummary]
) -> Procedure[tuple[int, int, int]]:
    """Blocks, bytes, and blocks that lack a copy, by listing who holds what."""
    copies: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    nothing = Inventory()
    for member, summary in here.items():
        if not summary.blocks:
            continue
        refs = (yield from difference(member, arc, nothing)).only_there
        sizes.update((ref.name, ref.size_bytes) for ref in refs)
        if member in group:
            copies.update(ref.name for ref in refs)
    short = sum(copies[name] < len(group) for name in sizes)
    return len(sizes), sum(sizes.values()), short
