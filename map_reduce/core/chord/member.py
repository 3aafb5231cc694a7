"""One member of the ring.

Chord as first published can lose its ring (Zave, "Reasoning about identifier spaces: how to make
Chord correct", arXiv 1610.01140). This is her corrected protocol, in its own words:

- **join**: find the place, take the predecessor's list (``joining.py``);
- **stabilize**: ask the successor for its predecessor and list; take over the list; if its
  predecessor stands between, ask that one too and take *it* for the successor (**adopt**); then
  notify the successor;
- **rectify** (on notify): take the notifier for the predecessor if it is nearer than the one I
  have, or if the one I have is dead;
- **fail**: a successor that is dead is dropped from the head of the list.

The rules that keep the ring whole, each of which the simulator has seen fail when taken out:

1. a list is truncated before its owner, never padded (``successors.py``);
2. nothing is adopted but what just answered itself, as the incarnation it was asked as;
3. one operation that changes the list at a time; while it runs, GetNeighbours is answered with
   ``Busy``, for a list in the making must not be copied;
4. only the dead are dropped (``detector.py``), and only from the head.

Where it differs from hers, because real clusters begin with one node and judge wrongly:

- a ring begins with **one** member, by :meth:`RingMember.create`, an act of the operator;
- **candidate injection**: before it asks its successor, stabilize asks the nearest member that
  it has heard of between itself and the successor, and adopts it if it answers. Every member
  that was dropped though alive comes back this way, and two rings that learn of each other
  (:meth:`RingMember.reunite`) become one;
- rectify does not ping: handlers never wait. :meth:`RingMember.probe` pings the predecessor
  instead, and the notifier, who repeats itself every round, is taken as soon as it is dead.

The life of one incarnation::

    OUTSIDE ──create, join──▶ MEMBER ──leave──▶ LEFT

**Losing everybody.** A member whose whole list is dead asks everyone else that it has heard of,
and adopts the nearest that answers; the members that this skips come back as candidates. If
nobody answers, it is *cut off*: it cannot know whether the others died or the network did, so it
makes no ring of its own. It keeps its last successor, serves nothing, and goes on asking; with
the first answer it is back in its place. One exception keeps small rings usable: if, of the last
ring that it knew *whole*, all but at most one member have certainly ended (they left in order,
or were started anew since), it goes on alone, and :meth:`RingMember.reunite` merges the two
should the other one live after all. So of two nodes either carries on without the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest

from map_reduce.core.chord.joining import find_place
from map_reduce.core.chord.lookup import lookup
from map_reduce.core.chord.state import Standing
from map_reduce.core.chord.successors import goes_round, truncated
from map_reduce.core.chord.touch import InTouch
from map_reduce.core.identifiers import (
    RING_SIZE,
    Address,
    Identifier,
    Member,
    between,
    distance,
)
from map_reduce.core.messages import Leaving, Neighbours, Notify, Ping, Pong
from map_reduce.core.procedure import Ask, Procedure
from map_reduce.errors import ClusterError

LAST_RESORTS_MAX = 64
"""Members that are asked when the whole list is dead."""


class RingMember(InTouch):
    """The state of one member, what it answers, and the steps that keep it in its place.

    Not thread-safe: whoever drives it holds one lock around each step of a procedure, each
    :meth:`handle` and each read, and none while an Ask is under way.

    Args:
        me: address and incarnation; a new incarnation is a new object.
        now_s: monotonic seconds, for the detector.
        successors_max: length of the successor list.
        dead_after_s: refused connections after which a member may be called dead (``detector.py``).
        silence_s: silence after which a member may be called dead.
        pause_s_max: a longer gap in this process's own life is a pause (``detector.py``); more
            than the interval of ticks plus one request timeout.
        view_max: members in the view (``view.py``).
        detector: in place of the usual one.
    """

    _whole_ring: tuple[Member, ...] = ()  # the others, where the last list named all
    _stabilized_place: tuple[Member | None, tuple[Member, ...]] = (None, ())
    _reconnect_turn = 0
    settled = False
    """Whether the last stabilize found everything as the one before it had left it."""

    # -------------------------------------------------------------- becoming a member

    def create(self) -> None:
        """Begin a ring. An act of the operator, never a way out of trouble."""
        self._enter(self.me, (self.me,))

    def _enter(self, predecessor: Member, successors: tuple[Member, ...]) -> None:
        self.predecessor = predecessor
        self.successors = successors
        self.standing = Standing.MEMBER
        self.cut_off = False

    def join(self, seeds: Sequence[Address]) -> Procedure[None]:
        """Join the ring that the seeds are members of.

        Raises:
            Unreachable: no seed leads to the ring; names each and what came of it.
            Refused: the ring is busy or changing just there; trying again can help.
        """
        self.acquaintances.remember_seeds(seeds)
        place = yield from find_place(self.me, seeds)
        head, *rest = place.successors
        self.heard_from(place.predecessor)
        self._enter(place.predecessor, self._list_from(head, rest))
        self._learn([place.predecessor, *place.successors])

    def leave(self) -> Procedure[None]:
        """Leave in order: the predecessor closes over me at once. Failures to tell are ignored:
        for who was not told, I am dead."""
        if not self.joined:
            return
        farewell = Leaving(self.me, self.predecessor, self.successors)
        self.standing = Standing.LEFT
        sides = [self.predecessor, *self.successors[:1]]
        for peer in dict.fromkeys(side for side in sides if side not in (None, self.me)):
            assert peer is not None
            yield from self._tell(peer, farewell)

    # -------------------------------------------------------------- staying in one's place

    def stabilize(self) -> Procedure[None]:
        """Zave, ``Stabilize``, begun by a candidate. Does nothing while another one runs."""
        if self._stabilizing or not self.joined:
            return
        self._failed_this_round.clear()
        for dead in self.detector.tick():
            self._bury(dead)
            self.on_death(dead)
        self._stabilizing = True
        try:
            yield from self._stabilize()
        finally:
            self._stabilizing = False
        if not self.alone and self.detector.isolated():
            self.cut_off = True
        elif self.cut_off and not self.believed_dead(self.successor):
            self.cut_off = False
        place = (self.predecessor, self.successors)
        self.settled = place == self._stabilized_place
        self._stabilized_place = place

    def _stabilize(self) -> Procedure[None]:
        if not self.alone and self.believed_dead(self.successor):
            yield from self._drop_successor()
            return
        candidate = self._candidate()
        if candidate is not None and (yield from self._adopt(candidate)):
            return
        view = self._neighbours() if self.alone else (yield from self._ask_place(self.successor))
        if view is None:
            if self.believed_dead(self.successor):
                yield from self._drop_successor()
            return
        if not self.alone:
            self._follow(view)
        nearer = view.predecessor
        if nearer is not None and self._is_nearer(nearer) and (yield from self._adopt(nearer)):
            return
        yield from self._notify_successor()

    def _adopt(self, nearer: Member) -> Procedure[bool]:
        """Take it for the successor if it answers; whether it did."""
        view = yield from self._ask_place(nearer)
        if view is None:
            return False
        self._follow(view)
        yield from self._notify_successor()
        return True

    def _follow(self, view: Neighbours) -> None:
        """Let the list be the member that answered, then its own list."""
        self.successors = self._list_from(view.member, view.successors)
        self.cut_off = False
        whole = goes_round(self.me, view.member, view.successors)
        self._whole_ring = self.successors if whole else ()

    def _list_from(self, head: Member, rest: Sequence[Member]) -> tuple[Member, ...]:
        return truncated(self.me, head, rest, self._successors_max)

    def _candidate(self) -> Member | None:
        """The nearest member heard of between me and my successor (candidate injection)."""
        here = self.me.identifier
        reach = distance(here, self.successor.identifier) or RING_SIZE
        for member in self.acquaintances.view():
            if distance(here, member.identifier) >= reach:
                return None
            if not self.suspects(member):
                return member
        return None

    def _is_nearer(self, member: Member) -> bool:
        return between(
            self.me.identifier, member.identifier, self.successor.identifier
        ) and not self.suspects(member)

    def _drop_successor(self) -> Procedure[None]:
        """Close over the dead head of the list."""
        dropped, *rest = self.successors
        self.acquaintances.remember_dropped(dropped)
        self.fingers.forget(dropped)
        if rest:
            self.successors = tuple(rest)
            yield from self._notify_successor()
            return
        for member in self._last_resorts():
            if (yield from self._adopt(member)):
                return
        if self._is_last_of_its_ring():
            self._enter(self.me, (self.me,))
        else:
            self.cut_off = True
            yield from self._reconnect()

    def _reconnect(self) -> Procedure[None]:
        """Cut off: go on asking. Who answers becomes a candidate, or is known to have ended."""
        view = yield from self._ask_place(self.successor)
        if view is not None:
            self._follow(view)
            yield from self._notify_successor()
            return
        others = self._whole_ring or self.successors
        self._reconnect_turn = (self._reconnect_turn + 1) % len(others)
        yield from self._meet(others[self._reconnect_turn])
        yield from self._seek_remembered()

    def _last_resorts(self) -> list[Member]:
        """Whom to ask when all of the list is dead, nearest clockwise first."""
        known = {*self.acquaintances.view(), *self.fingers.members()}
        if self.predecessor is not None:
            known.add(self.predecessor)
        alive = [m for m in known if m != self.me and not self.suspects(m)]
        return nsmallest(
            LAST_RESORTS_MAX, alive, key=lambda m: distance(self.me.identifier, m.identifier)
        )

    def _is_last_of_its_ring(self) -> bool:
        """Whether all but at most one of the last whole ring have certainly ended."""
        vanished = [m for m in self._whole_ring if not self.detector.ended(m)]
        return bool(self._whole_ring) and len(vanished) <= 1

    def _notify_successor(self) -> Procedure[None]:
        if not self.alone:
            yield from self._tell(self.successor, Notify(self.me))
        elif self.predecessor is not None and self.believed_dead(self.predecessor):
            self.predecessor = self.me  # a joiner died before I took it for my successor

    # -------------------------------------------------------------- ways and other rings

    def fix_finger(self) -> Procedure[None]:
        """Look up one finger, or none where the view holds the whole ring."""
        if not self.joined or self.alone or len(self.successors) < self._successors_max:
            return
        if self._view_reaches_far and not self.acquaintances.members.is_full:
            self.fingers.clear()
            return
        start = self.fingers.next_start(self.successors[-1].identifier)
        if start is None:
            return
        try:
            owner = (yield from self.lookup(start))[0]
        except ClusterError:
            self.fingers.skip(start)
        else:
            self.fingers.found(start, owner)

    def reunite(self) -> Procedure[None]:
        """Ask one remembered address to look me up. If another ring answers, it names whom I
        would have for my successor there: a candidate, by which the two rings become one."""
        if self.joined:
            yield from self._seek_remembered()

    def _seek_remembered(self) -> Procedure[None]:
        address = self.acquaintances.next_remembered()
        if address is None:
            return
        try:
            pong = yield Ask(address, Ping())
            members = yield from lookup(self.me.identifier, [address])
        except ClusterError:
            return
        if isinstance(pong, Pong):  # whoever is there now was perhaps dropped by mistake
            self.heard_from(pong.member)
            self._learn([pong.member])
        yield from self._meet(members[0])

    def _meet(self, member: Member) -> Procedure[None]:
        """Make it a candidate if it answers, whatever was believed of it."""
        if (yield from self._ping(member)):
            self._learn([member])

    def lookup(self, target: Identifier) -> Procedure[tuple[Member, ...]]:
        """Who owns the target, and its successors, beginning with what I know myself.

        Raises:
            Unreachable: no owner was found; names who was asked.
        """
        if self.owns(target):
            return self._route(target).members
        return (yield from self._noting(lookup(target, [self.me])))
