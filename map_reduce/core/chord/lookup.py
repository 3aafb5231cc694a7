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
before the target and *after* the nearest one at or behind it::

      before        target    (dead)     after
    ────●─────────────┼─────────✕──────────●────▶

Once both have answered, and a list that reaches *over* the target has named somebody alive behind
it, nobody who could be asked stands between them, and *after* is the owner. Without such a list
they may be far apart: the ones that were named between them were a few fingers, and all dead.
(Half of a ring of 1000 gone at once, a quarter of all lookups ended at such a wrong owner.) So:

1. while no list reaches over the target, ask *before*; when that one has answered and named nobody
   alive who is nearer, go back, and ask the next one before the target, and so on;
2. as soon as one does, ask *after*, and if it does not own the target itself, *before*;
3. when everybody that was named has been asked, and they are so few that lists name whole rings of
   that size, *after* is the owner: all others are dead.

The answer is a hint, as everything a ring says about itself: it may be out of date when it
arrives. Nobody is asked twice and at most ``ASKS_MAX`` are asked, so a lookup ends.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence

from map_reduce.core.identifiers import RING_SIZE, Address, Identifier, Member, distance, in_arc
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

SMALL_RING_MAX = 16
"""Members of a ring in which everybody names everybody."""

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
        self._end = Identifier(target - 1)
        self._start = [_address(peer) for peer in start]  # best first
        self._named: dict[Address, Member | None] = {}
        self._alive: list[tuple[int, Address]] = []  # as far as is known, nearest before it first
        self._answers: dict[Address, tuple[Member, ...]] = {}
        self._failures: dict[Address, str] = {}
        for address in dict.fromkeys(self._start):
            self._note(address, None)
        self._name(peer for peer in start if isinstance(peer, Member))

    def next(self) -> Member | Address | None:
        """The best peer not yet asked, or None when all are, or enough."""
        if len(self._answers) + len(self._failures) >= ASKS_MAX:
            return None
        nearest_first = (address for _, address in self._alive)
        if not self._answers:
            nearest_first = (address for address in self._start if address not in self._failures)
        elif self._spanned() and (after := self._after()) not in self._answers:
            return self._named[after] or after
        for address in nearest_first:
            if address not in self._answers:
                return self._named[address] or address
        return None

    def answered(self, peer: Member | Address, members: tuple[Member, ...]) -> None:
        self._answers[_address(peer)] = members
        self._name(members)

    def failed(self, peer: Member | Address, why: str) -> None:
        address = _address(peer)
        self._failures[address] = why
        self._alive.remove((self._away(address), address))

    def squeezed(self) -> Member | Address | None:
        """The owner, once it and the member before it have answered, and nobody else can be."""
        if not self._answers:
            return None
        after = self._after()
        if after not in self._answers or self._before() not in self._answers:
            return None
        if not self._spanned() and not self._is_all_of_a_small_ring():
            return None
        return self._named[after] or after

    def _is_all_of_a_small_ring(self) -> bool:
        return len(self._answers) == len(self._alive) and len(self._named) <= SMALL_RING_MAX

    def _spanned(self) -> bool:
        """Whether a list that reaches over the target names somebody alive behind it."""
        for address, members in self._answers.items():
            for member in members:
                if not in_arc(address.identifier, self._target, member.identifier):
                    break  # those behind the target come first, where the list reaches there
                if member.address not in self._failures:
                    return True
        return False

    def behind(self, owner: Member) -> tuple[Member, ...]:
        """The successors of the owner, as the member before it named them."""
        before = self._before()
        others = self._named.keys() - self._failures.keys() - {owner.address, before}
        named = [member for member in self._answers.get(before, ()) if member.address in others]
        return tuple(sorted(named, key=lambda m: distance(self._target, m.identifier)))

    def _away(self, address: Address) -> int:
        """How far it is from there to the target; one at the target is behind it, hence the - 1,
        and the farthest one is the nearest behind."""
        return (self._end - address.identifier) % RING_SIZE

    def _after(self) -> Address:
        """The nearest one at or behind the target."""
        return self._alive[-1][1]

    def _before(self) -> Address:
        """The nearest one before the target."""
        return self._alive[0][1]

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
            if member.address not in self._named:
                self._note(member.address, member)
                continue
            known = self._named[member.address]
            if known is None or known.incarnation < member.incarnation:
                self._named[member.address] = member

    def _note(self, address: Address, member: Member | None) -> None:
        """Note whom nobody has named yet."""
        self._named[address] = member
        insort(self._alive, (self._away(address), address))


def _address(peer: Member | Address) -> Address:
    return peer.address if isinstance(peer, Member) else peer
