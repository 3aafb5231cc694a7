"""Reading a job's specification, which a client has made, into a node's memory."""

from __future__ import annotations

from map_reduce.core.messages import SPEC_BYTES_MAX, BlockRef, JobSpec
from map_reduce.errors import ProtocolError
from map_reduce.runtime.blocks import RingBlocks


def read_specification(blocks: RingBlocks, ref: BlockRef) -> JobSpec:
    """Fetch and decode it.

    Raises:
        ProtocolError: it is longer than ``SPEC_BYTES_MAX``, or is none.
        MapReduceError: it can't be fetched.
    """
    if ref.size_bytes > SPEC_BYTES_MAX:
        raise ProtocolError(
            f"a job's specification has {ref.size_bytes} bytes, more than the {SPEC_BYTES_MAX} "
            "that a node reads into its memory"
        )
    return JobSpec.decode(blocks.get(ref))
