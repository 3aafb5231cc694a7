"""Who answers, who is suspected, who is dead.

Chord's proof takes a timeout for a death. A real timeout is a lost packet, a broken way, a long
garbage collection, a stopped process, or a death, and nothing tells which. So there are two
verdicts:

- **suspect**: the last request failed. Lookups go round a suspect at once; it costs nothing.
- **dead**: only the dead leave successor lists. It takes all of this:

  1. ``failures_min`` requests in a row failed;
  2. nothing was heard of it meanwhile, *by whichever path*, for as long as :meth:`patience_s` says;
  3. two others cannot reach it either (of three members: the third one; of two: nobody is left to
     ask);
  4. this process itself was not stopped lately (below).

Any reply or request of it, "busy" and "no" included, is a sign of life and ends both verdicts.
Two things are certain and final for one incarnation: its address answered as a *later*
incarnation, or it said itself that it leaves.

**Asking others** (SWIM, Das et al. 2002, section 3.1, indirect probes). There, the asked one pings
the suspect and passes the answer on. Our handlers never make a remote call. So the suspecter asks
a few others when *they* last heard of the suspect (:meth:`account`); they answer at once from what
they know, and ping the suspect in their own next round. Asked again a round later, they have fresh
evidence. Everybody tells only of what reached it itself, so hearsay cannot go round in circles. An
account of life puts the silence off; one of failure is a **confirmation**.

**Patience** (Lifeguard, Dadgar et al. 2018). Connections that are refused, to me and to those who
confirm it, mean that no process listens there: ``dead_after_s`` is enough. Silence alone may be a
stopped process: max(``silence_s``, 10 log10 N) seconds. Where too few are left to confirm, perhaps
it is me who is cut off, and it takes up to six times as long; who hears of nobody at all for
2 ``dead_after_s`` is *isolated*, and serves nothing from then on. All are multiplied by 1 + *ill
health*: it goes up when this process runs late, when those it asks don't answer, and when it
hears that it is called dead itself; it goes down with each round in which nothing of this happens.

**The observer's own pause.** A process that was stopped for ten seconds finds, when it goes on,
that everybody has been silent for ten seconds. It must not judge by that. So the detector is
told of every sign that its own process runs (:meth:`Detector.tick`, and each result of a
request); a gap longer than ``pause_s_max`` voids all suspicion and bars verdicts until
``clean_ticks`` ticks came without such a gap.

:class:`FailureDetector` is what the ring asks of a detector; the simulator puts an oracle in its
place where verdicts are to be exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Account

ADDRESSES_MAX = 4096
"""Members of which something is remembered."""

CONFIRMATIONS = 2
"""Others who must not reach a member either before it is dead, where there are so many."""

SILENCE_S_PER_LOG10 = 10.0
"""Times log10 N: a rumour needs so long to go round, and more members fail at the same time."""

ISOLATED_FACTOR = 2.0
"""Times ``dead_after_s``: who hears of nobody for so long, serves nothing."""

UNCONFIRMED_FACTOR = 6.0
"""How much longer a silence counts as none of the ring's while nobody can confirm it."""

CLOCK_ERROR = 0.05
"""Share by which the rates of two clocks may differ: an age that another one tells is so wrong."""

ILL_HEALTH_MAX = 8
"""Of Lifeguard's local health multiplier."""


class FailureDetector(Protocol):
    """What the ring asks of a detector."""

    def tick(self) -> Collection[Member]:
        """A maintenance round begins: the observer runs, and judges. Who is dead from now on."""

    def heard(self, member: Member) -> None:
        """A reply or a request of this very member arrived."""

    def failed(self, member: Member, *, refused: bool = False) -> None:
        """A request to the member failed; ``refused``: nobody listens at its address."""

    def left(self, member: Member) -> None:
        """The member said that it leaves, or that it is in no ring. Final."""

    def told(self, by: Member, account: Account) -> None:
        """Another one says what it knows of a member."""

    def refuted(self, member: Member) -> None:
        """Others say that it lives, after it was called dead."""

    def abstains(self, by: Member) -> None:
        """One who was asked about a suspect is in no ring itself, and cannot tell."""

    def missed(self) -> None:
        """One who was asked about a suspect did not answer, or this member was called dead."""

    def account(self, member: Member) -> Account:
        """What to tell others of a member."""

    def heard_s(self, member: Member) -> float | None:
        """When the last sign of life of this very member came, on this process's clock."""

    def silent_since_s(self, member: Member) -> float | None:
        """When the member was first found silent; None where it is not suspected."""

    def doubted(self) -> tuple[Member, ...]:
        """Everyone whose last request failed and who is not dead, the longest suspected first."""

    def isolated(self) -> bool:
        """Whether nobody at all was heard for so long that it is me who is cut off."""

    def ended(self, member: Member) -> bool:
        """Whether this incarnation has certainly ended: it left, or a later one answered."""

    def suspects(self, member: Member) -> bool:
        """Whether to prefer others for now. True of the dead too."""

    def dead(self, member: Member) -> bool:
        """Whether the ring is to close over it."""

    def living(self, members: Iterable[Member]) -> list[Member]:
        """Those that are not dead."""


@dataclass
class _Doubt:
    """A suspicion under way."""

    since_s: float
    failures: int = 0
    refusals: int = 0  # how many of the last ones, in a row, were refused connections
    confirmed: dict[Address, bool] = field(default_factory=dict)  # by whom; whether refused
    dead: bool = False


class Detector:
    """Verdicts from the outcomes of ordinary requests, and from what others say.

    Args:
        now_s: monotonic seconds.
        dead_after_s: how long a member's connections must have been refused, at least.
        silence_s: how long a member must have been silent, at least.
        failures_min: how many requests in a row must have failed, at least.
        confirmations: others that must confirm it; see :data:`CONFIRMATIONS`.
        pause_s_max: a longer gap between two signs of one's own life is a pause. It must exceed
            the longest quiet time in normal running: the interval of ticks plus one timeout.
        clean_ticks: ticks without a gap that end the bar on verdicts after a pause.
        others: the other members of the ring, as far as they are known and not believed dead.
    """

    def __init__(
        self,
        now_s: Callable[[], float],
        *,
        dead_after_s: float,
        silence_s: float = 20.0,
        failures_min: int = 3,
        confirmations: int = CONFIRMATIONS,
        pause_s_max: float = 2.0,
        clean_ticks: int = 3,
        others: Callable[[], Collection[Member]] = tuple,
    ) -> None:
        self._now_s = now_s
        self._dead_after_s = dead_after_s
        self._silence_s = max(silence_s, dead_after_s)
        self._failures_min = failures_min
        self._confirmations = confirmations
        self._pause_s_max = pause_s_max
        self._clean_ticks = clean_ticks
        self._others = others
        self._ticks_until_verdicts = 0
        self._ran_at_s = now_s()
        self._ill_health = 0
        self._faltered = False
        self._doubts: dict[Member, _Doubt] = {}
        self._abstaining: dict[Member, None] = {}
        self._heard: dict[Member, float] = {}  # when last
        self._alone_since_s: float | None = None  # the first failure after the last sign of life
        self._ended: dict[Address, int] = {}  # the last incarnation that certainly has

    # -------------------------------------------------------------- what happens

    def tick(self) -> Collection[Member]:
        self._running()
        self._ticks_until_verdicts = max(0, self._ticks_until_verdicts - 1)
        if not self._faltered:
            self._ill_health = max(0, self._ill_health - 1)
        self._faltered = False
        dead = [member for member, doubt in self._doubts.items() if self._judges(member, doubt)]
        for member in dead:
            self._doubts[member].dead = True
        return dead

    def _judges(self, member: Member, doubt: _Doubt) -> bool:
        """Whether it is time for the verdict."""
        silent_s = self._now_s() - doubt.since_s
        return (
            not doubt.dead
            and doubt.failures >= self._failures_min
            and silent_s >= self._dead_after_s
            and self.may_judge()
            and silent_s >= self.patience_s(member)
        )

    def heard(self, member: Member) -> None:
        now_s = self._running()
        if self._doubts:
            self._doubts.pop(member, None)
        if member not in self._heard:
            self._has_ended(member.address, member.incarnation - 1)
            _bound(self._heard)
        self._heard[member] = now_s
        self._alone_since_s = None

    def failed(self, member: Member, *, refused: bool = False) -> None:
        now_s = self._running()
        if (doubt := self._doubts.get(member)) is None:
            _bound(self._doubts)
            doubt = self._doubts[member] = _Doubt(now_s)
        if self._alone_since_s is None:
            self._alone_since_s = now_s
        doubt.failures += 1
        doubt.refusals = doubt.refusals + 1 if refused else 0

    def left(self, member: Member) -> None:
        self._has_ended(member.address, member.incarnation)

    def told(self, by: Member, account: Account) -> None:
        self._abstaining.pop(by, None)
        member = account.member
        if account.ended:
            self._has_ended(member.address, member.incarnation)
        if (doubt := self._doubts.get(member)) is None:
            return
        ago_s = math.inf if account.ago_s is None else account.ago_s * (1 + CLOCK_ERROR)
        alive_s = self._now_s() - ago_s
        if alive_s > doubt.since_s:  # somebody heard of it after it fell silent here
            self._doubts[member] = _Doubt(alive_s)
        elif account.failing:
            doubt.confirmed[by.address] = account.refused
        else:
            doubt.confirmed.pop(by.address, None)

    def abstains(self, by: Member) -> None:
        _bound(self._abstaining)
        self._abstaining[by] = None

    def refuted(self, member: Member) -> None:
        if member in self._doubts:
            self._doubts[member] = _Doubt(self._now_s())

    def missed(self) -> None:
        self._falter()

    # -------------------------------------------------------------- what it knows

    def account(self, member: Member) -> Account:
        heard_s = self._heard.get(member)
        doubt = self._doubts.get(member)
        return Account(
            member=member,
            ago_s=None if heard_s is None else max(0.0, self._now_s() - heard_s),
            failing=doubt is not None and doubt.failures > 0,
            refused=doubt is not None and doubt.refusals > 0,
            ended=self.ended(member),
        )

    def heard_s(self, member: Member) -> float | None:
        return self._heard.get(member)

    def silent_since_s(self, member: Member) -> float | None:
        doubt = self._doubts.get(member)
        return None if doubt is None else doubt.since_s

    def doubted(self) -> tuple[Member, ...]:
        return tuple(member for member, doubt in self._doubts.items() if not doubt.dead)

    def isolated(self) -> bool:
        since_s = self._alone_since_s
        patience_s = ISOLATED_FACTOR * self._dead_after_s * (1 + self._ill_health)
        return since_s is not None and self._now_s() - since_s >= patience_s

    def ended(self, member: Member) -> bool:
        return self._ended.get(member.address, -1) >= member.incarnation

    def suspects(self, member: Member) -> bool:
        if member in self._doubts:
            return True
        return self._ended.get(member.address, -1) >= member.incarnation  # asked most: no call

    def dead(self, member: Member) -> bool:
        if self._ended.get(member.address, -1) >= member.incarnation:
            return True
        if not self._doubts:
            return False
        doubt = self._doubts.get(member)
        return doubt is not None and doubt.dead and self.may_judge()

    def living(self, members: Iterable[Member]) -> list[Member]:
        if self._doubts:
            return [member for member in members if not self.dead(member)]
        ended = self._ended
        return [m for m in members if ended.get(m.address, -1) < m.incarnation]

    def may_judge(self) -> bool:
        """Whether this process has run without a pause for long enough."""
        ran_s = self._now_s() - self._ran_at_s
        return self._ticks_until_verdicts == 0 and ran_s <= self._pause_s_max

    def patience_s(self, suspect: Member) -> float:
        """For how long the suspect must be silent, by all that is known now, to be dead.

        Infinite while others who answer could confirm it and have not.
        """
        doubt = self._doubts[suspect]
        view = self._others()
        others = len(view) - (suspect in view)
        wanted = min(self._confirmations, others)
        confirmed = len(doubt.confirmed)
        if confirmed < wanted and confirmed < self._answering(view, suspect, wanted):
            return math.inf
        health = 1 + self._ill_health
        if doubt.refusals >= self._failures_min and all(doubt.confirmed.values()):
            return self._dead_after_s * health
        silence_s = max(self._silence_s, SILENCE_S_PER_LOG10 * math.log10(others + 2))
        if confirmed < wanted:
            share = math.log(confirmed + 1) / math.log(wanted + 1)
            silence_s *= UNCONFIRMED_FACTOR - (UNCONFIRMED_FACTOR - 1) * share
        return silence_s * health

    def _answering(self, view: Collection[Member], suspect: Member, upto: int) -> int:
        """How many others of the view could confirm that the suspect is dead, counted to there."""
        known = (member for member in view if member != suspect)
        able = (m for m in known if m not in self._doubts and m not in self._abstaining)
        return sum(1 for _ in islice(able, upto))

    # -------------------------------------------------------------- this process itself

    def _running(self) -> float:
        """Note that it runs, and by its clock when that is."""
        now_s = self._now_s()
        gap_s = now_s - self._ran_at_s
        if gap_s > self._pause_s_max / 2:
            self._falter()
            if gap_s > self._pause_s_max:
                self._doubts.clear()
                self._alone_since_s = None
                self._ticks_until_verdicts = self._clean_ticks + 1  # this tick is not clean
        self._ran_at_s = now_s
        return now_s

    def _falter(self) -> None:
        self._ill_health = min(ILL_HEALTH_MAX, self._ill_health + 1)
        self._faltered = True

    def _has_ended(self, address: Address, incarnation: int) -> None:
        if incarnation > self._ended.get(address, -1):
            _bound(self._ended)
            self._ended[address] = incarnation


def _bound(known: dict[Any, Any]) -> None:
    """Make room for one more: what came first goes."""
    if len(known) >= ADDRESSES_MAX:
        del known[next(iter(known))]
