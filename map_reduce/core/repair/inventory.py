"""What a member holds, by place on the ring.

    blocks   ──●──●●────●───●●●──●────▶  places (SHA-1 of the names), in order
    digests    a  b c   d   …            of name, size and digest of each
    prefixes  0 a ab abc …               exclusive or of all before it

The digest of an arc is the exclusive or of its blocks' digests: two prefixes give it at once,
however long the arc. It tells sets apart that differ by accident; it is no defence against a
member that lies, and none is needed, for every block is checked by its own digest on arrival.
"""

from __future__ import annotations

import hashlib
import itertools
import operator
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from map_reduce.core import names
from map_reduce.core.digests import DIGEST_BYTES
from map_reduce.core.identifiers import RING_SIZE, Identifier, distance, identifier_of, in_arc
from map_reduce.core.messages import BlockRef


class Arc(NamedTuple):
    """The places behind ``after`` up to and including ``upto``; all of them where both are one."""

    after: Identifier
    upto: Identifier

    def __contains__(self, place: object) -> bool:
        return isinstance(place, int) and in_arc(self.after, Identifier(place), self.upto)

    @property
    def size(self) -> int:
        return distance(self.after, self.upto) or RING_SIZE

    def parts(self, count: int) -> tuple[Arc, ...]:
        """As many neighbouring arcs of about one size; fewer where it has fewer places."""
        count = min(count, self.size)
        cuts = [
            Identifier((self.after + self.size * number // count) % RING_SIZE)
            for number in range(count + 1)
        ]
        return tuple(itertools.starmap(Arc, itertools.pairwise(cuts)))


class Inventory:
    """A member's whole blocks at one moment, without map outputs, which have no copies."""

    def __init__(self, refs: Iterable[BlockRef]) -> None:
        wanted = (ref for ref in refs if names.is_replicated(ref.name))
        entries = sorted((*_entry(ref), ref) for ref in wanted)
        self._places = [place for place, _, _ in entries]
        self._refs = [ref for _, _, ref in entries]
        digests = (digest for _, digest, _ in entries)
        self._prefixes = [*itertools.accumulate(digests, operator.xor, initial=0)]
        self._by_name = {ref.name: ref for ref in self._refs}

    def __len__(self) -> int:
        return len(self._refs)

    def named(self, name: str) -> BlockRef | None:
        return self._by_name.get(name)

    def count(self, arc: Arc) -> int:
        return sum(end - start for start, end in self._spans(arc))

    def digest(self, arc: Arc) -> bytes:
        """Of all blocks in the arc; zeros where there are none."""
        total = 0
        for start, end in self._spans(arc):
            total ^= self._prefixes[start] ^ self._prefixes[end]
        return total.to_bytes(DIGEST_BYTES, "big")

    def refs(self, arc: Arc) -> tuple[BlockRef, ...]:
        """Clockwise."""
        return tuple(ref for start, end in self._spans(arc) for ref in self._refs[start:end])

    def clockwise(self, start: Identifier) -> Iterator[tuple[Identifier, BlockRef]]:
        """All blocks with their places, beginning behind ``start``."""
        for first, end in self._spans(Arc(start, start)):
            yield from zip(self._places[first:end], self._refs[first:end], strict=True)

    def _spans(self, arc: Arc) -> tuple[tuple[int, int], ...]:
        """The one or two ranges of indices that the arc covers."""
        start, end = (bisect_right(self._places, place) for place in arc)
        if arc.after < arc.upto:
            return ((start, end),)
        return ((start, len(self._places)), (0, end))


@lru_cache(maxsize=1 << 17)
def _entry(ref: BlockRef) -> tuple[Identifier, int]:
    """A block's place, and the digest of what it is."""
    text = f"{ref.name}\0{ref.size_bytes}\0".encode() + ref.digest
    digest = hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()
    return identifier_of(ref.name), int.from_bytes(digest, "big")
