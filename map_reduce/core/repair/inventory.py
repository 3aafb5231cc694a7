"""What a member holds, by place on the ring.

    ────●────────●──●──────────●───●●───▶   places: the SHA-1 of the names, in order
        a        b  c          d   ef       a digest of name, size and digest of each
             (                   ]          an arc: its digest is b xor c xor d

Arcs may begin and end anywhere, so they can follow the ring. The exclusive or tells sets apart
that differ by accident; it is no defence against a member that lies, and none is needed, for
every block is checked by its own digest on arrival.
"""

from __future__ import annotations

import functools
import itertools
import operator
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from map_reduce.core import names
from map_reduce.core.digests import DIGEST_BYTES
from map_reduce.core.hashes import blake2b
from map_reduce.core.identifiers import (
    RING_BITS,
    RING_SIZE,
    Identifier,
    distance,
    identifier_of,
    in_arc,
)
from map_reduce.core.messages import BlockRef


class Arc(NamedTuple):
    """The places behind ``after`` up to and including ``upto``; all of them where both are one."""

    after: Identifier
    upto: Identifier

    @classmethod
    def read(cls, after: bytes, upto: bytes) -> Arc | None:
        """From how messages write its ends; None where they are no identifiers."""
        if len(after) != len(upto) or len(upto) != RING_BITS // 8:
            return None
        return cls(*(Identifier(int.from_bytes(end, "big")) for end in (after, upto)))

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
    """A member's whole blocks, without map outputs, which have no copies.

    Not thread-safe: its owner holds one lock around each use and each step of a procedure that
    reads it. It may change between two steps.
    """

    def __init__(self, refs: Iterable[BlockRef] = ()) -> None:
        self._refs: dict[Identifier, BlockRef] = {}
        for ref in refs:
            if names.is_replicated(ref.name):
                self._refs[identifier_of(ref.name)] = ref
        self._digests = {place: _digest(ref) for place, ref in self._refs.items()}
        self._places = sorted(self._refs)

    def __len__(self) -> int:
        return len(self._places)

    def set(self, name: str, ref: BlockRef | None) -> None:
        """Note what is held under a name now; None for nothing."""
        if not names.is_replicated(name):
            return
        place = identifier_of(name)
        if ref is None:
            if place in self._refs:
                del self._refs[place], self._digests[place]
                del self._places[bisect_left(self._places, place)]
            return
        if place not in self._refs:
            insort(self._places, place)
        self._refs[place] = ref
        self._digests[place] = _digest(ref)

    def named(self, name: str) -> BlockRef | None:
        return self._refs.get(identifier_of(name))

    def count(self, arc: Arc) -> int:
        return sum(end - start for start, end in self._spans(arc))

    def digest(self, arc: Arc) -> bytes:
        """Of all blocks in the arc; zeros where there are none."""
        digests = map(self._digests.__getitem__, self._in(arc))
        return functools.reduce(operator.xor, digests, 0).to_bytes(DIGEST_BYTES, "big")

    def refs(self, arc: Arc) -> tuple[BlockRef, ...]:
        """Clockwise."""
        return tuple(map(self._refs.__getitem__, self._in(arc)))

    def clockwise(self, start: Identifier) -> list[tuple[Identifier, BlockRef]]:
        """All blocks with their places, beginning behind ``start``."""
        return [(place, self._refs[place]) for place in self._in(Arc(start, start))]

    def _in(self, arc: Arc) -> Iterator[Identifier]:
        """The places of the blocks in the arc, clockwise."""
        spans = self._spans(arc)
        return itertools.chain.from_iterable(self._places[start:end] for start, end in spans)

    def _spans(self, arc: Arc) -> tuple[tuple[int, int], ...]:
        """The one or two ranges of indices that the arc covers."""
        start, end = (bisect_right(self._places, place) for place in arc)
        if arc.after < arc.upto:
            return ((start, end),)
        return ((start, len(self._places)), (0, end))


def _digest(ref: BlockRef) -> int:
    text = f"{ref.name}\0{ref.size_bytes}\0".encode() + ref.digest
    return int.from_bytes(blake2b(text, digest_size=DIGEST_BYTES).digest(), "big")
