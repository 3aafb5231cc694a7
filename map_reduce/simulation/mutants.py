"""The protocol with one guard taken out.

A checker that cannot fail proves nothing: for each of these, the tests show that it does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from map_reduce.core.chord.detector import Detector
from map_reduce.core.chord.member import RingMember
from map_reduce.core.identifiers import Member, between
from map_reduce.core.messages import Done, Message, Sighting
from map_reduce.core.procedure import Procedure


class Untruncated(RingMember):
    """Lists run on past their owner, as the fixed-length lists of the published protocol do."""

    def _list_from(self, head: Member, rest: Sequence[Member]) -> tuple[Member, ...]:
        return (head, *rest)[: self._successors_max]


class BlindAdopter(RingMember):
    """The successor's predecessor is adopted unasked, as in the first publication (2001)."""

    def _adopt(self, nearer: Member) -> Procedure[bool]:
        self.successors = self._list_from(nearer, self.successors)
        yield from self._notify_successor()
        return True


class LoyalToTheDead(RingMember):
    """A dead predecessor is never replaced by a notifier that is farther away."""

    def _rectify(self, notifier: Member) -> Message:
        if self.predecessor is None or between(
            self.predecessor.identifier, notifier.identifier, self.me.identifier
        ):
            return super()._rectify(notifier)
        return Done()


class Hasty(RingMember):
    """One failed request is taken for a death."""

    def believed_dead(self, member: Member) -> bool:
        return member in self._failed or super().believed_dead(member)

    @property
    def _failed(self) -> set[Member]:
        failed: set[Member] = self.__dict__.setdefault("_failed_members", set())
        return failed

    def failed(self, member: Member, error: Exception | None = None) -> None:
        self._failed.add(member)

    def heard_from(self, member: Member) -> None:
        self._failed.discard(member)


class Uninjected(RingMember):
    """No candidates from the view."""

    def _candidate(self) -> Member | None:
        return None


class NeverBusy(RingMember):
    """A list in the making is given away."""

    def handle(self, message: Message, sender: Member | None = None) -> Message | None:
        stabilizing, self._stabilizing = self._stabilizing, False
        reply = super().handle(message, sender)
        self._stabilizing = stabilizing
        return reply


class Unconfirmed(RingMember):
    """Nobody else has to find a member dead, and what others heard of it counts for nothing."""

    def _inquire(self) -> Procedure[None]:
        yield from ()

    def __init__(self, me: Member, *, now_s: Callable[[], float], **rest: Any) -> None:
        super().__init__(me, now_s=now_s, **rest)
        if isinstance(self.detector, Detector):
            others = self.acquaintances.view
            self.detector = Detector(now_s, dead_after_s=5.0, confirmations=0, others=others)


class Graceless(RingMember):
    """It judges by the silence of a time in which it stood still itself."""

    def __init__(self, me: Member, *, now_s: Callable[[], float], **rest: Any) -> None:
        super().__init__(me, now_s=now_s, **(rest | {"pause_s_max": math.inf}))


class Unrefuted(RingMember):
    """What was said of a death is never taken back."""

    def heard_from(self, member: Member) -> None:
        self.detector.heard(member)

    def _merge(self, sightings: Iterable[Sighting], *, news: bool) -> None:
        of_others = [told for told in sightings if told.member.address != self.me.address]
        members = self.acquaintances.members
        members.merge(of_others, self._now_s(), lambda member: None, news=news)


class Forgetful(RingMember):
    """Of two sightings the later one to arrive counts, whatever its number."""

    def _merge(self, sightings: Iterable[Sighting], *, news: bool) -> None:
        view = self.acquaintances.members
        told = list(sightings)
        for sighting in told:
            if sighting.gone and sighting.member != self.me:
                view.forget(sighting.member)
        view._forgotten.clear()
        super()._merge(told, news=news)


class Taciturn(RingMember):
    """It does not gossip."""

    def _gossip(self) -> Procedure[None]:
        yield from ()
