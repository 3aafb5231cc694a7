"""What two members hold differently in an arc, found by digests.

The asker names an arc and the digest of what it has there. The other answers that its own is the
same; or lists its blocks, where they are few; or cuts the arc into parts and gives the digest of
each, and the asker goes on with the parts that differ. With n blocks of which one differs that is
about log(n) / log(256) requests; where one side has nothing, about one for each hundred blocks.
"""

from __future__ import annotations

from typing import NamedTuple

from map_reduce.core import names
from map_reduce.core.digests import DIGEST_BYTES
from map_reduce.core.identifiers import Member, identifier_of
from map_reduce.core.messages import (
    ArcBlocks,
    ArcEqual,
    ArcParts,
    BlockRef,
    CompareArc,
    Message,
    No,
    identifier_bytes,
)
from map_reduce.core.procedure import Ask, Procedure
from map_reduce.core.repair.inventory import Arc, Inventory
from map_reduce.errors import ProtocolError, Refused

LISTED_MAX = 256
"""Blocks listed in one answer: about 30 kB."""

PARTS_MAX = 256

ASKS_MAX = 100_000
"""Requests of one comparison: enough for some 10 million blocks."""


class Difference(NamedTuple):
    """Blocks that only one of two members holds.

    A name that both have with different bytes is in neither: the two copies are of different
    puts, and it is not for repair to choose. Readers know by digest which one they want.
    """

    only_here: tuple[BlockRef, ...]
    only_there: tuple[BlockRef, ...]


def answer_comparison(inventory: Inventory, message: CompareArc) -> Message:
    """What a member says to CompareArc, at once."""
    arc = Arc.read(message.after, message.upto)
    if arc is None:
        return No("an identifier has 20 bytes")
    if inventory.digest(arc) == message.digest:
        return ArcEqual()
    count = inventory.count(arc)
    parts = arc.parts(min(PARTS_MAX, 1 + 2 * count // LISTED_MAX))
    if count <= LISTED_MAX or len(parts) == 1:
        return ArcBlocks(inventory.refs(arc))
    return ArcParts(tuple(map(inventory.digest, parts)))


def difference(peer: Member, arc: Arc, inventory: Inventory) -> Procedure[Difference]:
    """How the peer's blocks in the arc differ from this inventory.

    Raises:
        Unreachable: the peer does not answer.
        Refused: it won't; it is leaving, for example.
        ProtocolError: its answers make no sense.
    """
    here: list[BlockRef] = []
    there: list[BlockRef] = []
    todo = [arc]
    for _ in range(ASKS_MAX):
        if not todo:
            break
        part = todo.pop()
        mine = inventory.digest(part)
        ends = (identifier_bytes(part.after), identifier_bytes(part.upto))
        reply = yield Ask(peer, CompareArc(*ends, mine))
        if isinstance(reply, ArcBlocks):
            here += inventory.refs(part)
            there += [ref for ref in reply.refs if _is_block_of(part, ref)]
        elif isinstance(reply, ArcParts):
            todo += _differing(peer, part, reply, inventory)
        elif not isinstance(reply, ArcEqual):
            raise Refused(f"{peer} does not compare its blocks: {reply}")
    if todo:
        raise ProtocolError(f"{peer}: comparing blocks found no end in {ASKS_MAX} requests")
    named_there = {ref.name for ref in there}
    return Difference(
        tuple(ref for ref in here if ref.name not in named_there),
        tuple(ref for ref in there if inventory.named(ref.name) is None),
    )


def _differing(peer: Member, arc: Arc, reply: ArcParts, inventory: Inventory) -> list[Arc]:
    parts = arc.parts(len(reply.digests)) if 1 < len(reply.digests) <= PARTS_MAX else ()
    if len(parts) != len(reply.digests) or not parts:
        raise ProtocolError(f"{peer} cut an arc of the ring into {len(reply.digests)} parts")
    return [
        part
        for part, digest in zip(parts, reply.digests, strict=True)
        if inventory.digest(part) != digest
    ]


def _is_block_of(arc: Arc, ref: BlockRef) -> bool:
    return (
        ref.size_bytes >= 0
        and len(ref.digest) == DIGEST_BYTES
        and names.is_replicated(ref.name)
        and identifier_of(ref.name) in arc
    )
