"""Where to put the next block of many, so that all nodes have about as much to do.

Consistent hashing alone is uneven: of n nodes, one owns about log n times its share of the ring.
The Chord paper answers with virtual nodes (SIGCOMM 2001, section 6.2). But who stores the blocks of
a job lists them anyway, so each can be placed by one of several names, and the one chosen is
simply its name: with d names, the fullest of n nodes has log log n / log d above its share (Azar,
Broder, Karlin and Upfal, "Balanced allocations", 1994; for rings: Byers, Considine and
Mitzenmacher, "Simple load balancing for distributed hash tables", 2003). Readers need to know
nothing of it, and no node has to be many nodes.

What is balanced is what the *owners* own. They are read first and do the repairs; and since the
copies of a block go to the nodes behind its owner, what all nodes hold is then balanced, too. (To
balance what they hold leaves some nodes owning several times their share.)

The members and loads that one goes by may be out of date, and other clients place blocks at the
same time. That costs some balance and nothing else, for a block is where its name says.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from map_reduce.core.identifiers import Identifier, Member, identifier_of

CHOICES = 4
"""Names that a block may have. Each costs one SHA-1 and no message. Over 200 nodes the fullest
has 1.5 times its share with two, 1.2 with four, 1.1 with eight, and 5 with one."""


class Placement:
    """The choices of one who places blocks, with an account of what it has placed where.

    Args:
        members: of the ring, in any order, as far as they are known. Where none is, every block
            has the first of its names.
        loads: what they already own, in bytes or any other unit; nothing, where not named.
    """

    def __init__(
        self, members: Iterable[Member], loads: Mapping[Member, float] | None = None
    ) -> None:
        self._ring = sorted(members, key=lambda member: member.identifier)
        self._places: list[Identifier] = [member.identifier for member in self._ring]
        known = loads or {}
        self.loads: dict[Member, float] = {member: known.get(member, 0) for member in self._ring}

    def owner(self, name: str) -> Member:
        """Whose a block of that name is, if the members are these."""
        at = bisect_left(self._places, identifier_of(name))
        return self._ring[at % len(self._ring)]

    def choose(self, names: Sequence[str], size: float) -> str:
        """The one of ``names`` (d of them) whose owner has the least load, the first of equals;
        ``size`` is put to that owner's account.

            placement = Placement(members)
            for key in range(1_000_000):
                placement.choose([f"{key}~{choice}" for choice in range(d)], 1)
            placement.loads  # keys by owner
        """
        if not self._ring:
            return names[0]
        owners = [self.owner(name) for name in names]
        chosen = min(range(len(names)), key=lambda number: self.loads[owners[number]])
        self.loads[owners[chosen]] += size
        return names[chosen]
