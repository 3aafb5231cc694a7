"""Who answers, who is suspected, who is dead.

Chord's proof takes a timeout for a death. A real timeout is a lost packet, a long garbage
collection, a stopped process, or a death, and nothing tells which. So there are two verdicts:

- **suspect**: the last request failed. Lookups go round a suspect at once; it costs nothing.
- **dead**: at least ``failures_min`` requests in a row failed, over at least ``dead_after_s``
  seconds, and nothing was heard of it meanwhile. Only the dead leave successor lists.

Any reply, "busy" and "no" included, is proof of life and ends both verdicts. Two things are
certain and final for one incarnation: its address answered as a *later* incarnation, or it said
itself that it leaves.

**The observer's own pause.** A process that was stopped for ten seconds finds, when it goes on,
that everybody has been silent for ten seconds. It must not judge by that. So the detector is
told of every sign that its own process runs (:meth:`Detector.tick`, and each result of a
request); a gap longer than ``pause_s_max`` voids all suspicion and bars verdicts until
``clean_ticks`` ticks came without such a gap.

:class:`FailureDetector` is what the ring asks of a detector. Indirect probes (SWIM) can feed
one through :meth:`heard` and :meth:`failed`; the simulator puts an oracle in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from map_reduce.core.identifiers import Address, Member

ADDRESSES_MAX = 4096
"""Addresses whose latest incarnation is remembered."""


class FailureDetector(Protocol):
    """What the ring asks of a detector."""

    def tick(self) -> None:
        """A maintenance round begins: the observer runs."""

    def heard(self, member: Member) -> None:
        """A reply or a request of this very member arrived."""

    def failed(self, member: Member) -> None:
        """A request to the member failed."""

    def left(self, member: Member) -> None:
        """The member said that it leaves, or that it is in no ring. Final."""

    def ended(self, member: Member) -> bool:
        """Whether this incarnation has certainly ended: it left, or a later one answered."""

    def suspects(self, member: Member) -> bool:
        """Whether to prefer others for now. True of the dead too."""

    def dead(self, member: Member) -> bool:
        """Whether the ring is to close over it."""


@dataclass
class _Silence:
    since_s: float
    failures: int


class Detector:
    """Verdicts from the outcomes of ordinary requests.

    Args:
        now_s: monotonic seconds.
        dead_after_s: how long a member must have been silent, at least.
        failures_min: how many requests in a row must have failed, at least.
        pause_s_max: a longer gap between two signs of one's own life is a pause. It must exceed
            the longest quiet time in normal running: the interval of ticks plus one timeout.
        clean_ticks: ticks without a gap that end the bar on verdicts after a pause.
    """

    def __init__(
        self,
        now_s: Callable[[], float],
        *,
        dead_after_s: float,
        failures_min: int = 3,
        pause_s_max: float = 2.0,
        clean_ticks: int = 3,
    ) -> None:
        self._now_s = now_s
        self._dead_after_s = dead_after_s
        self._failures_min = failures_min
        self._pause_s_max = pause_s_max
        self._clean_ticks = clean_ticks
        self._ticks_until_verdicts = 0
        self._ran_at_s = now_s()
        self._silent: dict[Member, _Silence] = {}
        self._latest: dict[Address, int] = {}  # incarnation
        self._left: dict[Address, int] = {}  # incarnation

    def tick(self) -> None:
        self._running()
        self._ticks_until_verdicts = max(0, self._ticks_until_verdicts - 1)

    def heard(self, member: Member) -> None:
        self._running()
        self._silent.pop(member, None)
        if member.incarnation > self._latest.get(member.address, -1):
            _remember(self._latest, member)

    def failed(self, member: Member) -> None:
        self._running()
        silence = self._silent.setdefault(member, _Silence(self._now_s(), 0))
        silence.failures += 1
        if len(self._silent) > ADDRESSES_MAX:
            self._silent.pop(next(iter(self._silent)))

    def left(self, member: Member) -> None:
        if member.incarnation > self._left.get(member.address, -1):
            _remember(self._left, member)

    def ended(self, member: Member) -> bool:
        return (
            self._left.get(member.address, -1) >= member.incarnation
            or self._latest.get(member.address, -1) > member.incarnation
        )

    def suspects(self, member: Member) -> bool:
        return member in self._silent or self.ended(member)

    def dead(self, member: Member) -> bool:
        if self.ended(member):
            return True
        silence = self._silent.get(member)
        return (
            silence is not None
            and self._ticks_until_verdicts == 0
            and self._now_s() - self._ran_at_s <= self._pause_s_max
            and silence.failures >= self._failures_min
            and self._now_s() - silence.since_s >= self._dead_after_s
        )

    def suspected(self) -> tuple[Member, ...]:
        """Everyone whose last request failed."""
        return tuple(self._silent)

    def _running(self) -> None:
        now_s = self._now_s()
        if now_s - self._ran_at_s > self._pause_s_max:
            self._silent.clear()
            self._ticks_until_verdicts = self._clean_ticks + 1  # the tick that notices is not clean
        self._ran_at_s = now_s


def _remember(incarnations: dict[Address, int], member: Member) -> None:
    incarnations.pop(member.address, None)
    incarnations[member.address] = member.incarnation
    if len(incarnations) > ADDRESSES_MAX:
        incarnations.pop(next(iter(incarnations)))
