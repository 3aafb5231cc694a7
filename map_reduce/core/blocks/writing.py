"""Storing a block: it is acknowledged once a majority of its replica group keeps it.

    the line of the name:  owner  2nd  3rd  4th  5th │ 6th …
                             ✓     ✗    ✓    ✓    ✗  │          3 of 5: acknowledged

All of the group are tried, one after another, and each has checked the digest and has the block
on its disk when it answers. Whoever has not got it gets it by repair. So of an acknowledged block
a copy is left after the loss of any two nodes. A block that was not acknowledged may be there all
the same, on a few nodes, and repair may spread it: its name is not to be used for other bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from map_reduce.core.blocks.copying import send
from map_reduce.core.blocks.effects import Adopt, BlockProcedure
from map_reduce.core.chord.replication import majority, replica_group
from map_reduce.core.digests import PIECE_BYTES
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import BlockRef
from map_reduce.errors import ClusterError, Unreachable


class Stored(NamedTuple):
    """An acknowledged block: who was to keep it, and who does."""

    group: tuple[Member, ...]
    keepers: tuple[Member, ...]


def store(
    ref: BlockRef,
    line: Sequence[Member],
    *,
    replicas: int,
    me: Member | None = None,
    piece_bytes: int = PIECE_BYTES,
) -> BlockProcedure[Stored]:
    """Store what is here under a name.

    Args:
        line: the owner of the name and its successors.
        me: the node whose store can adopt what is here; it does so last, when the others have
            read it, and only if that makes a majority: what is here is still here otherwise.

    Raises:
        Unreachable: fewer than a majority of the group keep it; names what each said.
    """
    group = replica_group(line, replicas)
    keepers: list[Member] = []
    problems = []
    for member in sorted(group, key=lambda member: member == me):
        try:
            if member == me:
                if not is_acknowledged(group, [*keepers, me]):
                    break
                yield Adopt(ref)
            else:
                yield from send(ref, member, piece_bytes=piece_bytes)
        except ClusterError as error:
            problems.append(str(error))
        else:
            keepers.append(member)
    if not is_acknowledged(group, keepers):
        raise Unreachable(
            f"block {ref.name} could be stored on {len(keepers)} of {len(group)} nodes only: "
            f"{'; '.join(problems)}"
        )
    return Stored(group, tuple(keepers))


def is_acknowledged(group: Sequence[Member], keepers: Sequence[Member]) -> bool:
    """Whether so many are enough."""
    return len(keepers) >= majority(len(group))
