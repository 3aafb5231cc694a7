"""Members worth asking that are not in the successor list.

Two memories heal what the list alone cannot:

- the **view** (``view.py``): who is in the ring, as far as it is known here. Stabilize takes the
  nearest live one between itself and its successor as a candidate, and this undoes every wrong
  drop;
- the **remembered**: a few addresses that once were members and were dropped, and the seeds.
  Asked now and then, they are how two halves find each other after a partition.

Nothing in here is trusted: a member is adopted only once it answered itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from map_reduce.core.chord.view import MEMBERS_MAX, MembershipView
from map_reduce.core.identifiers import Address, Member

REMEMBERED_MAX = 8
"""Dropped members and seeds, each, that are remembered."""

GOLDEN = 0.6180339887498949
"""Steps of this part of a list come near every place of it early, and repeat none for long."""


class Acquaintances:
    """The view and the remembered of one member."""

    def __init__(self, me: Member, members_max: int = MEMBERS_MAX) -> None:
        self._me = me
        self.members = MembershipView(me, members_max)
        self._dropped: dict[Address, None] = {}
        self._seeds: dict[Address, None] = {}
        self._turn = 0
        self._step = me.identifier & 0xFFFF  # each member visits the others in another order

    def view(self) -> tuple[Member, ...]:
        """Nearest clockwise first."""
        return self.members.living()

    def learn(self, members: Iterable[Member]) -> None:
        """Note members that somebody named; of one address the latest incarnation stays."""
        self.members.learn(members)

    def forget(self, member: Member) -> None:
        """Take out of the view."""
        self.members.forget(member)

    def next_partner(self) -> Member | None:
        """One of the view after the other, in an order that looks drawn."""
        if not (living := self.members.living()):
            return None
        self._step += 1
        return living[int(self._step * GOLDEN * len(living)) % len(living)]

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
