"""The owner of an arc sees to it that its replica group holds the same blocks there.

    predecessor        owner      2nd      3rd          it asks each of the others for the
    ────●─────────────────●────────●────────●─────▶     difference, fetches the union, and sends
         (    its arc     ]                              each one what is then still missing

A block that several lack is fetched once and sent once to each: as many bytes move as are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from map_reduce.core.chord.replication import replica_group
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import BlockRef, EndedJob
from map_reduce.core.procedure import Procedure
from map_reduce.core.repair.compare import Difference, difference
from map_reduce.core.repair.deletions import Deletions
from map_reduce.core.repair.inventory import Arc, Inventory
from map_reduce.errors import ClusterError


class Fetch(NamedTuple):
    """A block to get from whichever of ``sources`` gives it."""

    ref: BlockRef
    sources: tuple[Member, ...]


class Send(NamedTuple):
    """A block to offer to a member."""

    ref: BlockRef
    peer: Member


class ArcPlan(NamedTuple):
    """What is to be done, in this order.

    Attributes:
        tell: members that hold blocks of jobs which were deleted here.
        fetches: what the owner lacks.
        sends: what others lack, of what the owner has or is to fetch.
        problems: why somebody could not be asked; empty means that the plan is all there is.
    """

    tell: tuple[tuple[Member, EndedJob], ...]
    fetches: tuple[Fetch, ...]
    sends: tuple[Send, ...]
    problems: tuple[str, ...]


def plan_arc(
    me: Member,
    predecessor: Member,
    successors: Sequence[Member],
    inventory: Inventory,
    deletions: Deletions,
    *,
    replicas: int,
) -> Procedure[ArcPlan]:
    """What the arc (predecessor, me] needs. Members that don't answer are left out."""
    arc = Arc(predecessor.identifier, me.identifier)
    differences: dict[Member, Difference] = {}
    problems = []
    for peer in replica_group((me, *successors), replicas):
        if peer == me:
            continue
        try:
            differences[peer] = yield from difference(peer, arc, inventory)
        except ClusterError as error:
            problems.append(str(error))
    return _plan(differences, deletions, tuple(problems))


def _plan(
    differences: Mapping[Member, Difference], deletions: Deletions, problems: tuple[str, ...]
) -> ArcPlan:
    wanted: dict[str, BlockRef] = {}
    sources: dict[BlockRef, list[Member]] = {}
    tell: dict[tuple[Member, EndedJob], None] = {}
    for peer, (_, only_there) in differences.items():
        for ref in only_there:
            ended = deletions.of(ref.name)
            if ended is not None:
                tell[peer, ended] = None
            elif wanted.setdefault(ref.name, ref) == ref:  # of two different puts, the first
                sources.setdefault(ref, []).append(peer)
    sends = []
    for peer, (only_here, only_there) in differences.items():
        there = {ref.name for ref in only_there}
        sends += [Send(ref, peer) for ref in only_here if deletions.of(ref.name) is None]
        sends += [Send(ref, peer) for ref in sources if ref.name not in there]
    fetches = tuple(Fetch(ref, tuple(peers)) for ref, peers in sources.items())
    return ArcPlan(tuple(tell), fetches, tuple(sends), problems)
