"""What one member knows of its place in the ring, and what it answers.

Answers are immediate and local: a handler never waits and asks nobody. All that a member does of
its own accord, and why, stands in ``member.py``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable
from enum import Enum

from map_reduce.core.chord.acquaintances import Acquaintances
from map_reduce.core.chord.detector import Detector, FailureDetector
from map_reduce.core.chord.fingers import Fingers
from map_reduce.core.chord.view import MEMBERS_MAX
from map_reduce.core.identifiers import (
    RING_SIZE,
    Address,
    Identifier,
    Member,
    between,
    distance,
    in_arc,
)
from map_reduce.core.messages import (
    Account,
    Accounts,
    Busy,
    Done,
    FindSuccessor,
    GetNeighbours,
    GetPlace,
    Gossip,
    Gossiped,
    HeardOf,
    Leaving,
    Message,
    Neighbours,
    No,
    Notify,
    Ping,
    Place,
    Pong,
    Route,
    Sighting,
)
from map_reduce.errors import NotListening

ASKED_ABOUT_MAX = 8
"""Suspects of others that a member remembers to ping."""

NAMED_MAX = 16
"""Members on each side of a target that a route names."""

DENSITY_SAMPLE = 16
"""Members by whose distance the size of the ring is estimated."""

DENSITY_ERROR_MAX = 4
"""By what factor that may be wrong."""

CLOSEST_MAX = 16
"""Members named in a route that leads on: as many as a list has. With four, and half of the ring
dead, one lookup in thirty finds no way."""


class Standing(Enum):
    """Where an incarnation is in its life."""

    OUTSIDE = "outside"
    MEMBER = "member"
    LEFT = "left"


class RingState:
    """The place of one incarnation in the ring. See :class:`RingMember`."""

    def __init__(
        self,
        me: Member,
        *,
        now_s: Callable[[], float],
        successors_max: int = 16,
        dead_after_s: float = 5.0,
        silence_s: float = 20.0,
        pause_s_max: float = 2.0,
        view_max: int = MEMBERS_MAX,
        detector: FailureDetector | None = None,
    ) -> None:
        self.me = me
        self._now_s = now_s
        self.standing = Standing.OUTSIDE
        self.predecessor: Member | None = None
        self.successors: tuple[Member, ...] = ()
        self.cut_off = False
        self.fingers = Fingers(me)
        self.acquaintances = Acquaintances(me, view_max)
        self.detector = detector or Detector(
            now_s,
            dead_after_s=dead_after_s,
            silence_s=silence_s,
            pause_s_max=pause_s_max,
            others=self.acquaintances.view,
        )
        self._asked_about: dict[Member, None] = {}  # suspects of others, to be pinged
        self._successors_max = successors_max
        self._stabilizing = False
        self._failed_this_round: set[Member] = set()
        self.on_death: Callable[[Member], None] = lambda member: None
        """Called when the detector has judged that a member is dead."""

    # -------------------------------------------------------------- what it knows

    @property
    def joined(self) -> bool:
        """Whether it is in the ring, or was until it was cut off."""
        return self.standing is Standing.MEMBER

    @property
    def serves(self) -> bool:
        """Whether it may answer for the ring and for its keys."""
        return self.joined and not self.cut_off

    @property
    def successor(self) -> Member:
        """The first of the list; itself where alone. Only of a joined member."""
        return self.successors[0]

    @property
    def alone(self) -> bool:
        return len(self.successors) == 1 and self.successors[0] == self.me

    def owns(self, identifier: Identifier) -> bool:
        """Whether the identifier lies in (predecessor, me]. No while that is not known."""
        if not self.serves or self.predecessor is None:
            return False
        return in_arc(self.predecessor.identifier, identifier, self.me.identifier)

    @property
    def _view_reaches_far(self) -> bool:
        """Whether the view has as many members as the ring, to judge by how dense the nearest
        ones stand; or as many as it can hold. One that is still filling has gaps."""
        living = self.acquaintances.view()
        if self.acquaintances.members.is_full or not living:
            return True
        near = living[:DENSITY_SAMPLE]
        reach = distance(self.me.identifier, near[-1].identifier)
        return DENSITY_ERROR_MAX * reach * len(living) >= len(near) * RING_SIZE

    def believed_dead(self, member: Member) -> bool:
        return self.detector.dead(member)

    def suspects(self, member: Member) -> bool:
        return self.detector.suspects(member)

    def members(self) -> tuple[Member, ...] | None:
        """All members of the ring as far as they are known, me first and then clockwise; None where
        the ring may be larger than the view, or where I am cut off from it."""
        if not self.serves or self.acquaintances.members.is_full:
            return None
        others = {*self.acquaintances.view(), *self.successors} - {self.me}
        others = {member for member in others if not self.believed_dead(member)}
        here = self.me.identifier
        return (self.me, *sorted(others, key=lambda m: distance(here, m.identifier)))

    def contacts(self) -> tuple[Address, ...]:
        """Addresses that a later incarnation may join by."""
        known = [member.address for member in (*self.successors, *self.acquaintances.view())]
        return tuple(dict.fromkeys([*known, *self.acquaintances.remembered()]))

    # -------------------------------------------------------------- what it hears of others

    def heard_from(self, member: Member) -> None:
        """A request or reply of this very member arrived, of whatever kind."""
        if member == self.me:
            return  # that I answer myself says nothing of the others
        self.detector.heard(member)
        if self.acquaintances.members.is_gone(member) and not self.detector.ended(member):
            self.acquaintances.members.heard(member, self._now_s())

    def failed(self, member: Member, error: Exception | None = None) -> None:
        """A request of whatever kind to the member failed."""
        self._failed_this_round.add(member)
        self.detector.failed(member, refused=isinstance(error, NotListening))
        if self.believed_dead(member):
            self._bury(member)

    def _bury(self, member: Member) -> None:
        """It is dead, or not in the ring any more: say so."""
        since_s = self.detector.silent_since_s(member)
        self.acquaintances.members.gone(member, self._now_s() if since_s is None else since_s)
        self.fingers.forget(member)

    def _merge(self, sightings: Collection[Sighting], *, news: bool) -> None:
        """Take over what somebody told, but that one lives of which I know that it ended. Who is
        refuted to be gone gets all its time again."""
        ended = self.detector.ended
        believed = [told for told in sightings if told.gone or not ended(told.member)]
        if len(believed) < len(sightings):
            for told in sightings:
                if not told.gone and ended(told.member):
                    self._bury(told.member)
        for member in self.acquaintances.members.merge(
            believed, self._now_s(), self.detector.heard_s, news=news
        ):
            if member == self.me:
                self.detector.missed()
            else:
                self.detector.refuted(member)

    # -------------------------------------------------------------- what it answers

    def handle(self, message: Message, sender: Member | None = None) -> Message | None:
        """The answer to a message of the ring, at once; None for any other message."""
        match message:
            case GetNeighbours():
                return Busy() if self._stabilizing else self._neighbours()
            case Ping():
                return Pong(self.me)
            case Gossip():
                return self._gossip_back(message, sender)
            case Notify(member):
                return self._rectify(member)
            case FindSuccessor(target):
                return self._refusal() or self._route(Identifier(int.from_bytes(target, "big")))
            case HeardOf(members):
                return self._tell_of(members)
            case Leaving():
                return self._part_from(message)
            case GetPlace():
                return self._place()
            case _:
                return None

    def _neighbours(self) -> Neighbours:
        if not self.joined:
            return Neighbours(self.me, None, ())
        return Neighbours(self.me, self.predecessor, self.successors)

    def _place(self) -> Place:
        """All of it, for whoever looks at the ring from outside: in the middle of a change, too."""
        known = [*self.successors, *self.acquaintances.view()]
        known += [self.predecessor] if self.predecessor is not None else []
        others = [member for member in dict.fromkeys(known) if member != self.me]
        return Place(
            self.me,
            self.standing.value,
            self.cut_off,
            self.predecessor,
            self.successors,
            suspects=tuple(m for m in others if self.suspects(m)),
            dead=tuple(m for m in others if self.believed_dead(m)),
            contacts=self.contacts(),
        )

    def _refusal(self) -> No | None:
        """Why it does not serve, if it does not."""
        if not self.joined:
            return No(f"{self.me} is not in the ring: its standing is {self.standing.value}")
        if self.cut_off:
            return No(f"{self.me} is cut off: none of the members that it knows answers")
        return None

    def _rectify(self, notifier: Member) -> Message:
        """Zave, ``Rectify``, with the ping done beforehand by :meth:`probe`."""
        if not self.joined:
            return self._refusal() or Done()
        self.heard_from(notifier)
        if self.believed_dead(notifier):
            return No(f"{notifier} has left the ring, or was restarted since")
        if notifier.address == self.me.address:
            return No(f"{self.me} is another incarnation of the notifier")
        self.acquaintances.learn([notifier])
        if (
            self.predecessor is None
            or between(self.predecessor.identifier, notifier.identifier, self.me.identifier)
            or self.believed_dead(self.predecessor)
        ):
            self.predecessor = notifier
        return Done()

    def _part_from(self, message: Leaving) -> Message:
        """The leaver is as good as dead from now on; stabilize closes over it."""
        self.detector.left(message.member)
        self._bury(message.member)
        named = (*message.successors, *([message.predecessor] if message.predecessor else []))
        self._learn(named)
        return Done()

    def _tell_of(self, members: Iterable[Member]) -> Accounts:
        """What I know of them at first hand; those that I did not hear lately I shall ping. Who is
        in no ring pings nobody, and can tell of its own earlier lives alone."""
        accounts = []
        for member in members:
            if member.address == self.me.address:
                earlier = member.incarnation < self.me.incarnation
                ago_s = 0.0 if member == self.me else None
                accounts.append(Account(member, ago_s, failing=False, refused=False, ended=earlier))
                continue
            if not self.joined:
                continue
            accounts.append(self.detector.account(member))
            if len(self._asked_about) < ASKED_ABOUT_MAX:
                self._asked_about[member] = None
        return Accounts(tuple(accounts))

    def _gossip_back(self, message: Gossip, asker: Member | None) -> Gossiped:
        """What the asker does not know, after I took over its news. See ``view.py``."""
        now_s = self._now_s()
        members = self.acquaintances.members
        rest = members.differing(message.digests, asker, now_s)
        self._merge(message.news, news=True)
        return Gossiped(members.news(now_s), rest)

    def _route(self, target: Identifier) -> Route:
        """One step of a lookup (``lookup.py``): the owner by all that I know, those after it,
        and those before it.

        Suspects are avoided as a way, but named where they may be the owner: a member that is
        wrongly suspected must not lose its keys to the next one.
        """
        listed = [m for m in self.detector.living(self.successors) if m != self.me]
        if self.owns(target):
            return Route(True, (self.me, *listed))
        here = self.me.identifier
        seen: list[Member] = []
        if self._view_reaches_far:
            seen = self.detector.living(self.acquaintances.members.around(target))
        places = sorted(((m.identifier - here) % RING_SIZE, m) for m in {*listed, *seen})
        known = [member for _, member in places]
        at = bisect_left(places, (distance(here, target),))
        behind = self.predecessor  # the owner, where it is so new that few know it
        if at < len(known):
            members = [*known[at : at + NAMED_MAX], *known[max(0, at - NAMED_MAX) : at][::-1]]
        else:
            suspects = self.detector.suspects
            ways = {m for m in (*known, *self.fingers.members()) if not suspects(m)}
            ways = ways or set(listed)
            nearest = sorted(((target - m.identifier) % RING_SIZE, m) for m in ways)
            members = [member for _, member in nearest[:CLOSEST_MAX]]
            if behind is not None and behind != self.me and not self.believed_dead(behind):
                members.append(behind)
        return Route(False, tuple(dict.fromkeys(members)))

    def _learn(self, members: Iterable[Member]) -> None:
        self.acquaintances.learn(self.detector.living(members))
