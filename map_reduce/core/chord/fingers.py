"""The finger table: shortcuts across large rings (Stoica et al., SIGCOMM 2001, section 4.3).

Finger i of a member n is the owner of n + 2**i, for i from 0 to 159. Most of these owners are
the same few members: with N members only about log2 N differ. So a round of repair looks up the
first start behind the successor list, learns its owner, and goes on with the first start behind
that owner; a whole round costs about log2(N / list length) lookups, and where the list goes
round the whole ring, none.

Fingers make lookups short and are needed for nothing else; a wrong one costs a detour.
"""

from __future__ import annotations

from map_reduce.core.identifiers import RING_BITS, RING_SIZE, Identifier, Member, distance


class Fingers:
    """The distinct fingers of one member, and which start is to be looked up next."""

    def __init__(self, me: Member) -> None:
        self._here = me.identifier
        self._owners: dict[int, Member] = {}  # by the lowest exponent with this owner
        self._reached = 0  # how far, clockwise from here, this round has come

    def members(self) -> tuple[Member, ...]:
        return tuple(self._owners.values())

    def next_start(self, covered: Identifier) -> Identifier | None:
        """The next start to look up, or None at a round's end.

        ``covered`` is the last member of the successor list: starts up to it need no finger.
        """
        behind_list = distance(self._here, covered)
        self._reached = max(self._reached, behind_list)
        for exponent in [i for i in self._owners if i < behind_list.bit_length()]:
            del self._owners[exponent]
        exponent = self._reached.bit_length()
        # 2**(bit_length) is the first power of two above reached; reached itself is covered.
        if self._reached == 0 or exponent >= RING_BITS:
            self._reached = 0
            return None
        return Identifier((self._here + (1 << exponent)) % RING_SIZE)

    def found(self, start: Identifier, owner: Member) -> None:
        """Note the owner of a start that :meth:`next_start` gave."""
        exponent = distance(self._here, start).bit_length() - 1
        self._owners[exponent] = owner
        reached = distance(self._here, owner.identifier)
        if reached < (1 << exponent):  # the owner is this member, or one behind it: all round
            self._owners = {i: finger for i, finger in self._owners.items() if i < exponent}
            self._reached = RING_SIZE - 1
            return
        for skipped in range(exponent + 1, min(reached.bit_length(), RING_BITS)):
            self._owners.pop(skipped, None)
        self._reached = reached

    def skip(self, start: Identifier) -> None:
        """The lookup of this start failed: go on with the next."""
        self._reached = max(self._reached, distance(self._here, start))

    def clear(self) -> None:
        """None is needed."""
        self._owners.clear()

    def forget(self, member: Member) -> None:
        self._owners = {i: owner for i, owner in self._owners.items() if owner != member}
