"""Finding one's place: the first half of JOIN (Zave, correctChord.als, ``Join``).

A joiner j looks for the member p with p < j < p's successor. It asks the ring for the owner of
its own identifier, that owner for its predecessor, and walks on along successors from there::

      p ────────── j ────────── p's successor
      ●────────────○────────────●────▶        j takes p's list, and p for its predecessor

Only what p itself just answered is used. A list may still name an earlier incarnation of the
joiner at the joiner's own place; that one is dead, for the joiner stands there now, and is left
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from map_reduce.core.chord.lookup import lookup
from map_reduce.core.identifiers import Address, Member, between
from map_reduce.core.messages import Busy, GetNeighbours, Neighbours
from map_reduce.core.procedure import Ask, Procedure
from map_reduce.errors import ClusterError, Refused, Unreachable

STEPS_MAX = 64
"""Members asked on the walk to the place."""

BUSY_MAX = 20
"""How often one member may answer "busy" before the joiner gives up for now."""


class Gap(NamedTuple):
    """Where a joiner belongs: between this member and its first successor."""

    predecessor: Member
    successors: tuple[Member, ...]  # as the predecessor has them; (predecessor,) where alone


def find_place(me: Member, seeds: Sequence[Address]) -> Procedure[Gap]:
    """Who comes before ``me``, and the list that it gave.

    Raises:
        Unreachable: no seed leads to a member of the ring; names the seeds and what came of each.
        Refused: the ring is busy or changing just there. Trying again later can help.
    """
    owner = (yield from lookup(me.identifier, seeds))[0]
    at = yield from _neighbours_of(owner)
    before = at.predecessor
    if before is not None and before.address not in (me.address, owner.address):
        try:
            at = yield from _neighbours_of(before)
        except Unreachable:  # walk round from the owner, whose first answer is old by now
            at = yield from _neighbours_of(owner)
    for _ in range(STEPS_MAX):
        successors = tuple(s for s in at.successors if s.address != me.address)
        head = successors[0] if successors else at.member
        if between(at.member.identifier, me.identifier, head.identifier):
            return Gap(at.member, successors or (at.member,))
        at = yield from _neighbours_of(head)
    raise Refused(
        f"{me} found no place in the ring within {STEPS_MAX} steps, last at {at.member}; "
        "the ring is changing, try again in a few seconds"
    )


def _neighbours_of(peer: Member) -> Procedure[Neighbours]:
    """What the peer answers.

    Raises:
        Unreachable: it does not answer, or another incarnation or none of the ring does.
        Refused: it stayed busy.
    """
    for _ in range(BUSY_MAX):
        try:
            reply = yield Ask(peer, GetNeighbours())
        except ClusterError as error:
            raise Unreachable(f"{peer}, where this node would join: {error}") from error
        if isinstance(reply, Neighbours):
            if reply.member != peer or not reply.successors:
                raise Unreachable(
                    f"{peer}, where this node would join, is not in the ring at the moment; "
                    "it may have restarted: try again in a few seconds"
                )
            return reply
        if not isinstance(reply, Busy):
            raise Refused(f"{peer} refused to name its neighbours: {reply}")
    raise Refused(f"{peer}, where this node would join, is busy; try again in a moment")
