"""Who owns an identifier? Asked iteratively, by a member or by a client that knows one address.

The asker goes from member to member itself, so a dead member on the way costs one timeout and a
detour, never the lookup (Stoica et al., SIGCOMM 2001, section 4.4 leaves that to the
implementation). A member that is asked answers at once from what it knows::

    target in (predecessor, me]          I own it; here are my successors
    target within my successor list      ask the one I take for the owner, then those after it,
                                         then those before it
    else                                 ask the closest ones before it that I know

**When the asker is done.**
Usually the owner itself says so. But an owner that has just died cannot, and its successor will
not until it knows of the death. So the asker squeezes the target from both sides: of everyone
it has heard named, and leaving out those that did not answer, let *before* be the nearest one
before the target and *after* the nearest one at or behind it. Once both have answered, nobody
who could be asked stands between them, and *after* is the owner. So as soon as *before* has
answered, *after* is asked next, and otherwise whom the last answer recommends::

      before        target    (dead)     after
    ────●─────────────┼─────────✕──────────●────▶

The answer is a hint, as everything a ring says about itself: it may be out of date when it
arrives. Nobody is asked twice and at most ``ASKS_MAX`` are asked, so a lookup ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from map_reduce.core.identifiers import RING_SIZE, Address, Identifier, Member, distance
from map_reduce.core.messages import (
    FindSuccessor,
    No,
    Ping,
    Pong,
    Route,
    WrongCluster,
    identifier_bytes,
)
from map_reduce.core.procedure import Ask, Procedure
from map_reduce.errors import ClusterError, Unreachable

ASKS_MAX = 64
"""Members asked in one lookup. A ring of 65536 needs about eight."""

NAMED_MAX = 6
"""Members whose failure a message names one by one."""


def lookup(target: Identifier, start: Sequence[Member | Address]) -> Procedure[tuple[Member, ...]]:
    """The owner of ``target``, then its successors as far as the last answer named them.

    ``start`` are the members or addresses to ask first, best first.

    Raises:
        Unreachable: no owner was found; the text names who was asked and what came of it.
    """
    search = _Search(target, start)
    while (peer := search.next()) is not None:
        try:
            reply = yield Ask(peer, FindSuccessor(identifier_bytes(target)))
        except ClusterError as error:
            search.failed(peer, str(error))
        else:
            if isinstance(reply, Route) and reply.owns:
                return reply.members
            if isinstance(reply, Route):
                search.answered(peer, reply.members)
            else:
                search.failed(peer, _told(reply))
        if (owner := search.squeezed()) is not None:
            if isinstance(owner, Member):
                return (owner, *search.behind(owner))
            pong = yield Ask(owner, Ping())  # of a seed, only the address is known so far
            if isinstance(pong, Pong):
                return (pong.member, *search.behind(pong.member))
            search.failed(owner, _told(pong))
    raise Unreachable(search.report())


def _told(reply: object) -> str:
    if isinstance(reply, No):
        return f"refused: {reply.reason}"
    if isinstance(reply, WrongCluster):
        return "belongs to another cluster"
    return f"answered {type(reply).__name__}, which is no route"


class _Search:
    """Whom to ask next, and whether the target is squeezed."""

    def __init__(self, target: Identifier, start: Sequence[Member | Address]) -> None:
        self._target = target
        self._queue: list[Member | Address] = list(start)  # best first
        self._named: dict[Address, Member | None] = {_address(peer): None for peer in start}
        self._answers: dict[Address, tuple[Member, ...]] = {}
        self._failures: dict[Address, str] = {}
        self._name(peer for peer in start if isinstance(peer, Member))

    def next(self) -> Member | Address | None:
        """The best peer not yet asked, or None when all are, or enough."""
        asked = len(self._answers) + len(self._failures)
        if self._answers and self._before() in self._answers and asked < ASKS_MAX:
            after = self._after()
            if after not in self._answers:
                return self._named[after] or after
        while self._queue and asked < ASKS_MAX:
            peer = self._queue.pop(0)
            address = _address(peer)
            if address not in self._answers and address not in self._failures:
                return peer
        return None

    def answered(self, peer: Member | Address, members: tuple[Member, ...]) -> None:
        self._answers[_address(peer)] = members
        self._name(members)
        self._queue[:0] = members

    def failed(self, peer: Member | Address, why: str) -> None:
        self._failures[_address(peer)] = why

    def squeezed(self) -> Member | Address | None:
        """The owner, once it and the member before it have answered."""
        if not self._answers:
            return None
        after = self._after()
        if after not in self._answers or self._before() not in self._answers:
            return None
        return self._named[after] or after

    def behind(self, owner: Member) -> tuple[Member, ...]:
        """The successors of the owner, as the member before it named them."""
        before = self._before()
        others = self._alive() - {owner.address, before}
        named = [member for member in self._answers.get(before, ()) if member.address in others]
        return tuple(sorted(named, key=lambda m: distance(self._target, m.identifier)))

    def _alive(self) -> set[Address]:
        """Everyone named who did not fail to answer."""
        return self._named.keys() - self._failures.keys()

    def _after(self) -> Address:
        """The nearest one at or behind the target."""
        return min(self._alive(), key=lambda a: distance(self._target, a.identifier))

    def _before(self) -> Address:
        """The nearest one before the target; one at the target is behind it, hence the - 1."""
        edge = Identifier((self._target - 1) % RING_SIZE)
        return min(self._alive(), key=lambda a: distance(a.identifier, edge))

    def report(self) -> str:
        """For people: who was asked, and what came of it."""
        if not self._named:
            return "no owner found: there is no address to ask"
        failures = [f"{address}: {why}" for address, why in self._failures.items()]
        told = "; ".join(failures[:NAMED_MAX])
        if len(failures) > NAMED_MAX:
            told += f"; and {len(failures) - NAMED_MAX} more"
        answered = ", ".join(str(address) for address in list(self._answers)[:NAMED_MAX])
        parts = [part for part in (told, answered and f"no way on from: {answered}") if part]
        return "no owner found; " + "; ".join(parts)

    def _name(self, members: Iterable[Member]) -> None:
        for member in members:
            known = self._named.get(member.address)
            if known is None or known.incarnation < member.incarnation:
                self._named[member.address] = member


def _address(peer: Member | Address) -> Address:
    return peer.address if isinstance(peer, Member) else peer
