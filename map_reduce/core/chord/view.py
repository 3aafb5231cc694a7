"""The membership view: who is in the ring, as far as one member knows.

In rings of up to ``members_max`` (1024) every member knows nearly all others, so that a lookup
mostly asks the owner at once and fingers are needed beyond that only (Gupta, Liskov and Rodrigues,
NSDI 2004: in such rings full membership is nearly free). Everything in here is a **hint**: lookups
end with the owner's own word, and a member is adopted only once it answered itself.

**Sightings.** What is said of a member is a :class:`Sighting`: its incarnation, a *version*, and
whether it is gone. Of two, the one with the higher incarnation counts; of one incarnation, the
higher version; of one version, that it is gone. So whoever believes a member dead says "gone"
with the version that it knows, and that is refuted, everywhere and for good, by "not gone" with
the next version (SWIM, section 4.2, where the version is called incarnation). A member that
learns that it is called gone says so itself. As everybody who hears from it directly has the same
proof, they say so too; a sighting tells since when the member was silent, and who heard of it
later than that does not believe it.

**How sightings spread.** Each round every member has an exchange with another one, in an order
that visits all and differs from member to member. The asker sends its *news*: what changed lately,
each at most about 3 log2 N times, and a digest for each sixteenth of the circle. The asked answers
with its own news and all that it knows of the sixteenths whose digests differ. So a change
spreads as an epidemic, in a few rounds, and what an epidemic misses the digests find. In rings
beyond ``members_max`` views differ by nature, and digests are left out: there the asked answers
with the nearest that it knows, which are the asker's too.

    a ──news, digests──▶ b        a ◀──news, what differs── b

**Tombstones.** That a member is gone is remembered for the last ``TOMBSTONES_MAX`` of them, or
else somebody who has not heard of it would bring it back. Where that happens all the same, whoever
asks it next finds it dead.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import NamedTuple

from map_reduce.core.chord.detector import CLOCK_ERROR
from map_reduce.core.identifiers import RING_BITS, Address, Identifier, Member, distance
from map_reduce.core.messages import Sighting

MEMBERS_MAX = 1024
"""Members in the view: the nearest clockwise are kept."""

TOMBSTONES_MAX = 256

SECTORS = 16
"""Equal parts of the circle, each with a digest of its own."""

SECTOR_BITS = RING_BITS - SECTORS.bit_length() + 1
"""Of the places in one sector."""

NEWS_MAX = 32
"""Sightings in the news of one message."""

ANSWER_MAX = 256
"""Sightings in one answer, besides news."""

NEAREST_TOLD = 16
"""Sightings in an answer without digests: the nearest behind the asked one."""

FRESH_TELLINGS = 4
"""News that was told less often than this is *fresh*: it is worth more exchanges a round."""

AROUND_MAX = 16
"""Members on each side of a target that :meth:`MembershipView.around` names."""


class _Tombstone(NamedTuple):
    """That a member is gone: since when it was silent, on this process's clock."""

    member: Member
    version: int
    since_s: float


class MembershipView:
    """The view of one member. It never names its owner.

    Args:
        members_max: how many it holds at most; in larger rings the nearest clockwise.
    """

    def __init__(self, me: Member, members_max: int = MEMBERS_MAX) -> None:
        self._me = me
        self._here = me.identifier
        self.members_max = members_max
        self._living: list[Member] = []  # nearest clockwise first
        self._distances: list[int] = []  # of each of those
        self._sightings: list[Sighting] = []  # of each of those
        self._by_address: dict[Address, Sighting] = {}  # the same
        self._tombstones: dict[Address, _Tombstone] = {}  # the latest last
        self._forgotten: dict[Address, tuple[Member, int]] = {}
        self._digests = [0] * SECTORS
        self._news = {me.address: 0}  # how often told; what changed last comes last
        self._told: tuple[Member, ...] | None = None
        self.version = 0
        """Of its owner: how often it refuted that it is gone."""

    # -------------------------------------------------------------- what it holds

    def living(self) -> tuple[Member, ...]:
        """Those not known to be gone, nearest clockwise first."""
        if self._told is None:
            self._told = tuple(self._living)
        return self._told

    @property
    def is_full(self) -> bool:
        """Whether the ring may be larger than the view."""
        return len(self._living) >= self.members_max

    @property
    def has_fresh_news(self) -> bool:
        return any(tellings < FRESH_TELLINGS for tellings in reversed(self._news.values()))

    def around(self, target: Identifier) -> list[Member]:
        """The nearest on each side of the target, in ring order. Not past me."""
        at = bisect_left(self._distances, distance(self._here, target))
        return self._living[max(0, at - AROUND_MAX) : at + AROUND_MAX]

    def clockwise_from(self, start: Identifier) -> Iterator[Member]:
        """All of them in ring order, beginning with the first one at or behind the start."""
        at = bisect_left(self._distances, distance(self._here, start))
        return chain(islice(self._living, at, None), islice(self._living, at))

    def is_gone(self, member: Member) -> bool:
        """Whether this very incarnation is said to be gone."""
        if not self._tombstones:
            return False
        tombstone = self._tombstones.get(member.address)
        return tombstone is not None and tombstone.member == member

    # -------------------------------------------------------------- what it is told

    def learn(self, members: Iterable[Member]) -> None:
        """Members that somebody named. That is no proof of life: tombstones stay."""
        for member in members:
            known = self._by_address.get(member.address)
            if known is not None and known.member.incarnation >= member.incarnation:
                continue
            tombstone = self._tombstones.get(member.address)
            if tombstone is None or tombstone.member.incarnation < member.incarnation:
                self._enter(member, self._version_before(member))

    def forget(self, member: Member) -> None:
        """Take out, without saying that it is gone. Which life and version it was is remembered:
        what was refuted once must not be believed again."""
        known = self._by_address.get(member.address)
        if known is not None and known.member == member:
            self._forgotten.pop(member.address, None)
            self._forgotten[member.address] = member, known.version
            if len(self._forgotten) > TOMBSTONES_MAX:
                del self._forgotten[next(iter(self._forgotten))]
            self._remove(self._place(member))
            self._news.pop(member.address, None)

    def gone(self, member: Member, since_s: float) -> None:
        """I believe it dead, or it left; ``since_s`` is when it was first found silent."""
        known = self.sighting(member.address, 0.0)
        version = self._version_before(member)
        if known is not None and known.member == member:
            version = known.version
        if self._bury(_Tombstone(member, version, since_s)):
            self._tell(member.address)

    def _version_before(self, member: Member) -> int:
        """Of this very life, when it was forgotten."""
        forgotten, version = self._forgotten.get(member.address, (None, 0))
        return version if forgotten == member else 0

    def _was_later(self, address: Address, rank: tuple[int, int, bool]) -> bool:
        """Whether a later life or version had been known when the address was forgotten."""
        if (forgotten := self._forgotten.get(address)) is None:
            return False
        member, version = forgotten
        return rank < (member.incarnation, version, False)

    def heard(self, member: Member, now_s: float) -> None:
        """It spoke to me: refutes what is said about an earlier silence."""
        tombstone = self._tombstones.get(member.address)
        if tombstone is not None and tombstone.member == member and tombstone.since_s < now_s:
            self._enter(member, tombstone.version + 1)
            self._tell(member.address)

    def merge(
        self,
        sightings: Iterable[Sighting],
        now_s: float,
        heard_s: Callable[[Member], float | None],
        *,
        news: bool,
    ) -> list[Member]:
        """Take over what somebody told; who thereby has been refuted to be gone.

        Args:
            heard_s: when I last heard from a member myself.
            news: whether to tell it to others.
        """
        refuted: list[Member] = []
        for told in sightings:
            address = told.member.address
            known = self._by_address.get(address)
            if known is told:
                continue  # as nearly always
            known = known or self.sighting(address, now_s)
            if known is not None and _rank(known) >= _rank(told):
                if known.gone and not told.gone:
                    self._tell(address)  # somebody has not heard of it yet
                continue
            if address == self._me.address:
                if told.member == self._me:  # I am called gone
                    self.version = told.version + 1
                    refuted.append(self._me)
                    self._tell(address)
                continue
            version, since_s = told.version, now_s - told.silent_s * (1 - CLOCK_ERROR)
            at_s = heard_s(told.member) if told.gone else None
            if told.gone and (at_s is None or at_s <= since_s):
                changed = self._bury(_Tombstone(told.member, version, since_s))
            else:
                changed = self._enter(told.member, version + told.gone)
                if version + told.gone:
                    refuted.append(told.member)
            if changed and (news or told.gone):
                self._tell(address)
        return refuted

    # -------------------------------------------------------------- exchanges

    def tell_nothing(self) -> None:
        """Nothing of what I know is news to anybody any more."""
        self._news.clear()

    def news(self, now_s: float) -> tuple[Sighting, ...]:
        """The latest changes, to be told to one more."""
        tellings_max = 3 * (len(self._living) + 1).bit_length()
        told: list[Sighting] = []
        for address in list(islice(reversed(self._news), NEWS_MAX)):
            sighting = self.sighting(address, now_s)
            self._news[address] += 1
            if sighting is None or self._news[address] >= tellings_max:
                del self._news[address]
            if sighting is not None:
                told.append(sighting)
        return tuple(told)

    def digests(self) -> tuple[int, ...]:
        """Of the living in each sector, me included; empty where the view is full."""
        if self.is_full:
            return ()
        digests = list(self._digests)
        digests[_sector(self._me)] ^= _digest(self._me, self.version)
        return tuple(digests)

    def differing(
        self, digests: Sequence[int], asker: Member | None, now_s: float
    ) -> tuple[Sighting, ...]:
        """All that I know of the sectors whose digests are not mine, or, without digests, my
        nearest; and that the asker is gone, if that is said."""
        wanted: list[Sighting] = []
        if asker is not None and self.is_gone(asker):
            wanted.append(_told_of(self._tombstones[asker.address], now_s))
        mine = self.digests()
        if mine and len(digests) == SECTORS and digests != mine:
            differ = [theirs != ours for theirs, ours in zip(digests, mine, strict=True)]
            wanted += self._sightings_in(differ, now_s)
        elif not mine or not digests:
            wanted += self._sightings[:NEAREST_TOLD]
        return tuple(wanted[:ANSWER_MAX])

    def sighting(self, address: Address, now_s: float) -> Sighting | None:
        """What is known of an address."""
        if address == self._me.address:
            return Sighting(self._me, self.version, False, 0.0)
        if (tombstone := self._tombstones.get(address)) is not None:
            return _told_of(tombstone, now_s)
        return self._by_address.get(address)

    def _sightings_in(self, wanted: Sequence[bool], now_s: float) -> list[Sighting]:
        """Of me, the living, and the gone, in those sectors; at least as many as are told."""
        mine = _sector(self._me)
        found = [Sighting(self._me, self.version, False, 0.0)] if wanted[mine] else []
        begin = 0
        for number in range(mine + 1, mine + SECTORS + 1):  # the rest of mine is the last part
            end = bisect_left(self._distances, (number << SECTOR_BITS) - self._here)
            if wanted[(number - 1) % SECTORS]:
                found += self._sightings[begin:end]
            begin = end
        if wanted[mine]:
            found += self._sightings[begin:]
        if len(found) < ANSWER_MAX:
            gone = (t for t in self._tombstones.values() if wanted[_sector(t.member)])
            found += (_told_of(tombstone, now_s) for tombstone in gone)
        return found

    # -------------------------------------------------------------- entries

    def _tell(self, address: Address) -> None:
        self._news.pop(address, None)
        self._news[address] = 0

    def _place(self, member: Member) -> int:
        """Where a member at its address stands among the living, or would."""
        return bisect_left(self._distances, distance(self._here, member.identifier))

    def _enter(self, member: Member, version: int) -> bool:
        """Let it live, unless a later life or version is known; whether that changed anything."""
        known = self.sighting(member.address, 0.0)
        rank = (member.incarnation, version, False)
        if (known is not None and _rank(known) >= rank) or self._was_later(member.address, rank):
            return False
        away = distance(self._here, member.identifier)
        at = bisect_left(self._distances, away)
        if at == self.members_max or not away:
            return False
        if known is not None and not known.gone:
            self._remove(at)
        self._tombstones.pop(member.address, None)
        self._living.insert(at, member)
        self._distances.insert(at, away)
        sighting = _told_of_living(member, version)
        self._sightings.insert(at, sighting)
        self._by_address[member.address] = sighting
        self._count(member, version)
        if len(self._living) > self.members_max:
            self._remove(len(self._living) - 1)
        return True

    def _bury(self, tombstone: _Tombstone) -> bool:
        """Let it be gone, unless a later life or version is known; whether that is new."""
        address = tombstone.member.address
        known = self.sighting(address, 0.0)
        rank = (tombstone.member.incarnation, tombstone.version, True)
        if (known is not None and _rank(known) >= rank) or self._was_later(address, rank):
            return False
        if address in self._by_address:
            self._remove(self._place(tombstone.member))
        self._tombstones.pop(address, None)
        self._tombstones[address] = tombstone
        if len(self._tombstones) > TOMBSTONES_MAX:
            del self._tombstones[next(iter(self._tombstones))]
        return True

    def _remove(self, at: int) -> None:
        member = self._living.pop(at)
        sighting = self._sightings.pop(at)
        del self._distances[at], self._by_address[member.address]
        self._count(member, sighting.version)

    def _count(self, member: Member, version: int) -> None:
        """Count it in, or out: XOR does either."""
        self._digests[_sector(member)] ^= _digest(member, version)
        self._told = None


@lru_cache(maxsize=1 << 17)
def _told_of_living(member: Member, version: int) -> Sighting:
    """The same object each time: many hold it, and know it by that when they are told it."""
    return Sighting(member, version, False, 0.0)


def _told_of(tombstone: _Tombstone, now_s: float) -> Sighting:
    silent_s = max(0.0, now_s - tombstone.since_s)
    return Sighting(tombstone.member, tombstone.version, True, silent_s)


def _rank(sighting: Sighting) -> tuple[int, int, bool]:
    """Of two sightings of one address, the higher one counts."""
    return sighting.member.incarnation, sighting.version, sighting.gone


def _sector(member: Member) -> int:
    return member.identifier >> SECTOR_BITS


def _digest(member: Member, version: int) -> int:
    """64 bits that tell apart members, lives and versions."""
    mixed = member.identifier + member.incarnation * 0x9E3779B97F4A7C15
    mixed = (mixed + version * 0xC2B2AE3D27D4EB4F) & 0xFFFFFFFFFFFFFFFF
    return mixed ^ mixed >> 29
