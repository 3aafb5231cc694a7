"""Members worth asking that are not in the successor list.

Two memories heal what the list alone cannot:

- the **view**: members that replies have named lately. Stabilize takes the nearest live one
  between itself and its successor as a candidate, and this undoes every wrong drop;
- the **remembered**: a few addresses that once were members and were dropped, and the seeds.
  Asked now and then, they are how two halves find each other after a partition.

Nothing in here is trusted: a member is adopted only once it answered itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from map_reduce.core.identifiers import Address, Member, distance

VIEW_MAX = 64
"""Members in the view: the nearest clockwise are kept."""

REMEMBERED_MAX = 8
"""Dropped members and seeds, each, that are remembered."""


class Acquaintances:
    """The view and the remembered of one member."""

    def __init__(self, me: Member) -> None:
        self._me = me
        self._view: list[Member] = []  # nearest clockwise first
        self._distances: list[int] = []  # of each in the view
        self._dropped: dict[Address, None] = {}
        self._seeds: dict[Address, None] = {}
        self._turn = 0

    def view(self) -> tuple[Member, ...]:
        """Nearest clockwise first."""
        return tuple(self._view)

    def learn(self, members: Iterable[Member]) -> None:
        """Note members that somebody named; of one address the latest incarnation stays."""
        here = self._me.identifier
        for member in members:
            away = distance(here, member.identifier)
            at = bisect_left(self._distances, away)
            if at < len(self._view) and self._distances[at] == away:
                if self._view[at].incarnation < member.incarnation:
                    self._view[at] = member
            elif away and at < VIEW_MAX:
                self._view.insert(at, member)
                self._distances.insert(at, away)
        del self._view[VIEW_MAX:], self._distances[VIEW_MAX:]

    def forget(self, member: Member) -> None:
        """Take out of the view."""
        at = bisect_left(self._distances, distance(self._me.identifier, member.identifier))
        if at < len(self._view) and self._view[at] == member:
            del self._view[at], self._distances[at]

    def remember_dropped(self, member: Member) -> None:
        _bounded(self._dropped, member.address)

    def remember_seeds(self, seeds: Iterable[Address]) -> None:
        for seed in seeds:
            if seed != self._me.address:
                _bounded(self._seeds, seed)

    def remembered(self) -> tuple[Address, ...]:
        return tuple(dict.fromkeys((*self._dropped, *self._seeds)))

    def next_remembered(self) -> Address | None:
        """Each in turn."""
        if not (remembered := self.remembered()):
            return None
        self._turn += 1
        return remembered[self._turn % len(remembered)]


def _bounded(addresses: dict[Address, None], address: Address) -> None:
    addresses.pop(address, None)
    addresses[address] = None
    if len(addresses) > REMEMBERED_MAX:
        del addresses[next(iter(addresses))]
