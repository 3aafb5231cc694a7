"""Every member of a ring, in ring order, as far as successor lists name them.

The surveyor goes round by whole lists: it asks a member for its successors, then the last of
them, until a list comes back to where it began. In a ring no larger than the lists that is two
requests. Like every view of a ring it may be out of date when it arrives: it can name a member
that has just died and miss one that has just joined.
"""

from __future__ import annotations

from collections.abc import Sequence

from map_reduce.core.identifiers import Address, Member, between, distance
from map_reduce.core.messages import FindSuccessor, Route, identifier_bytes
from map_reduce.core.procedure import Ask, Procedure
from map_reduce.errors import ClusterError, Unreachable

ASKS_MAX = 10_000
"""Members asked in one survey."""


def survey(start: Sequence[Member | Address]) -> Procedure[tuple[Member, ...]]:
    """The members of the ring that one of ``start`` is in, clockwise from it.

    Raises:
        Unreachable: none of ``start`` answers as a member; names what came of each.
    """
    failures: list[str] = []
    for peer in start:
        try:
            found = yield from _list_of(peer)
        except ClusterError as error:
            failures.append(f"{peer}: {error}")
            continue
        return (yield from _go_round(found))
    raise Unreachable("no member of a ring answers; " + "; ".join(failures or ["nobody to ask"]))


def _go_round(first_list: tuple[Member, ...]) -> Procedure[tuple[Member, ...]]:
    first, *rest = first_list
    known: dict[Address, Member] = {first.address: first}
    at = first
    ahead = _ordered(first, first, rest)
    asks = 0
    while ahead and asks < ASKS_MAX:
        known.update((member.address, member) for member in ahead)
        if any(member.address == first.address for member in rest):
            break  # the list came round
        for peer in reversed(ahead):
            asks += 1
            try:
                _, *rest = yield from _list_of(peer)
            except ClusterError:
                continue
            at = peer
            break
        else:
            break  # nobody ahead answers: what is known is all there is to be had
        ahead = _ordered(first, at, rest)
    here = first.identifier
    return tuple(sorted(known.values(), key=lambda m: distance(here, m.identifier)))


def _ordered(first: Member, at: Member, members: Sequence[Member]) -> list[Member]:
    """Those of ``members`` that lie on the way from ``at`` to ``first``, nearest first."""
    ahead = [m for m in members if between(at.identifier, m.identifier, first.identifier)]
    return sorted(ahead, key=lambda m: distance(at.identifier, m.identifier))


def _list_of(peer: Member | Address) -> Procedure[tuple[Member, ...]]:
    """The peer and its successors. Every member owns its own identifier, so the question for
    that one's owner is answered by the member itself, even while it is busy."""
    address = peer.address if isinstance(peer, Member) else peer
    reply = yield Ask(peer, FindSuccessor(identifier_bytes(address.identifier)))
    if isinstance(reply, Route) and reply.owns:
        return reply.members
    if isinstance(reply, Route):
        # Its predecessor is not known yet: it names others, but does not answer for itself.
        raise Unreachable(f"{peer} has no settled place in the ring yet")
    raise Unreachable(f"{peer} is no member of a ring: {reply}")
