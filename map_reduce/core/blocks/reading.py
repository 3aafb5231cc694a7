"""Reading a block: from the first member of its line that gives the bytes of the digest.

The line is all that the owner knows of: behind the replica group stand those who were in it before
somebody joined, and still have what he lacks. Whoever reads checks the digest itself, so it takes
nobody's word for the bytes, and tells the holder of a damaged copy.
"""

from __future__ import annotations

from collections.abc import Sequence

from map_reduce.core.blocks.copying import receive, tell_of_damage
from map_reduce.core.blocks.effects import BlockProcedure, TakeOwn
from map_reduce.core.chord.replication import replica_group
from map_reduce.core.digests import PIECE_BYTES
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import BlockRef
from map_reduce.errors import BlockCorruptError, BlockMissingError, ClusterError


def read_own(ref: BlockRef, me: Member) -> BlockProcedure[bool]:
    """Whether this node's own store had it, which costs no message."""
    try:
        own: bool = yield TakeOwn(ref)
    except BlockCorruptError:
        yield from tell_of_damage(ref, me)
        return False
    return own


def read(
    ref: BlockRef, line: Sequence[Member], *, piece_bytes: int = PIECE_BYTES
) -> BlockProcedure[None]:
    """Have the block's bytes kept here, piece by piece; a piece at offset 0 begins anew.

    Raises:
        BlockMissingError: no member that answers has it, undamaged; names what each said.
    """
    problems = []
    for source in replica_group(line, len(line)):
        try:
            yield from receive(ref, source, piece_bytes=piece_bytes)
        except BlockCorruptError:
            problems.append(f"{source} has a damaged copy")
            yield from tell_of_damage(ref, source)
        except ClusterError as error:
            problems.append(str(error))
        else:
            return
    raise BlockMissingError(f"no node can give block {ref.name}: {'; '.join(problems)}")
