"""Where a node keeps what it has: in its data folder, or in memory and its temporary folder.

What a data folder needs is imported once there is one: a node in a script has none.
"""

from __future__ import annotations

from pathlib import Path

from map_reduce.ports import BlockStore, EndedJobs, RecordStore
from map_reduce.server.configs import NodeConfig
from map_reduce.server.scratch import Scratch
from map_reduce.storage.data_folder import make_private
from map_reduce.storage.disk import DiskBlockStore
from map_reduce.storage.memory_records import MemoryRecordStore
from map_reduce.storage.tiered import TieredBlockStore


def open_blocks(config: NodeConfig, scratch: Scratch) -> BlockStore:
    """The blocks of a node, as far as its folder has any from before.

    Raises:
        ConfigError: the folder can't be used.
    """
    if config.data_folder is not None:  # what is to last can't be in memory
        return DiskBlockStore(config.data_folder, temporary=False)
    disk = DiskBlockStore(scratch.folder("blocks"), temporary=True)
    return TieredBlockStore(disk, memory_bytes_max=config.memory_blocks_mb_max << 20)


def open_records(data_folder: Path | None) -> RecordStore:
    """Of the replica that this node is, which another node in the same folder goes on with.

    Raises:
        ConfigError: the folder can't be used.
    """
    if data_folder is None:
        return MemoryRecordStore()
    from map_reduce.storage import disk_records

    make_private(data_folder)
    return disk_records.open_records(data_folder / "records")


def open_ended_jobs(data_folder: Path | None) -> EndedJobs | None:
    """The memory of jobs that were deleted here, where it is to outlast the node."""
    if data_folder is None:
        return None
    from map_reduce.storage.ended_jobs import DiskEndedJobs

    return DiskEndedJobs(data_folder)
