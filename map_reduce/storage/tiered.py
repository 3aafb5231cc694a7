"""Small blocks in memory, the others on disk: the store of a node.

Which tier a block is in shows in speed alone. A worker process needs a file; asking for one
(:meth:`TieredBlockStore.path_of`) moves a block from memory to disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from map_reduce.core.messages import BlockRef
from map_reduce.errors import BlockMissingError
from map_reduce.storage.disk import DiskBlockStore
from map_reduce.storage.memory import MemoryBlockStore

SMALL_BYTES_MAX = 64 * 1024


class TieredBlockStore:
    """A BlockStore of at most ``memory_bytes_max`` bytes of small blocks before a disk store."""

    def __init__(self, disk: DiskBlockStore, *, memory_bytes_max: int) -> None:
        self._memory = MemoryBlockStore()
        self._disk = disk
        self._memory_bytes_max = memory_bytes_max
        self._refs: dict[str, BlockRef] = {}
        self._demotion = threading.Lock()

    def put_piece(self, ref: BlockRef, offset: int, data: bytes) -> bool:
        # All pieces of a block go to the tier that its first piece went to.
        with self._demotion:
            if ref.name not in self._refs:
                room = self._memory_bytes_max - self._memory.held_bytes
                small = ref.size_bytes <= min(SMALL_BYTES_MAX, room)
                if not small or self._disk.knows(ref.name):
                    return self._disk.put_piece(ref, offset, data)
                self._refs[ref.name] = ref
            return self._memory.put_piece(ref, offset, data)

    def adopt_file(self, ref: BlockRef, path: Path) -> None:
        self._disk.adopt_file(ref, path)

    def adopt_bytes(self, ref: BlockRef, data: bytes) -> None:
        with self._demotion:
            room = self._memory_bytes_max - self._memory.held_bytes
            if len(data) > min(SMALL_BYTES_MAX, room):
                self._disk.adopt_bytes(ref, data)
                return
            self._refs[ref.name] = ref
            self._memory.adopt_bytes(ref, data)

    def bytes_of(self, name: str) -> bytes | None:
        return self._memory.bytes_of(name)

    def read(self, name: str, offset: int, length_bytes: int) -> tuple[bytes, int]:
        try:
            return self._memory.read(name, offset, length_bytes)
        except BlockMissingError:
            return self._disk.read(name, offset, length_bytes)

    def path_of(self, name: str) -> Path | None:
        with self._demotion:
            if self._memory.holds(name):
                ref = self._refs[name]
                data, _ = self._memory.read(name, 0, ref.size_bytes)
                if ref.digest:
                    self._disk.put_piece(ref, 0, data)
                else:
                    self._disk.adopt_bytes(ref, data)
                self._memory.take(name)
                del self._refs[name]
        return self._disk.path_of(name)

    def delete_prefix(self, prefix: str) -> int:
        with self._demotion:
            for name in [name for name in self._refs if name.startswith(prefix)]:
                del self._refs[name]
            return self._memory.delete_prefix(prefix) + self._disk.delete_prefix(prefix)

    def discard(self, name: str) -> None:
        with self._demotion:
            self._refs.pop(name, None)
            self._memory.discard(name)
            self._disk.discard(name)

    def verify(self, name: str) -> BlockRef | None:
        damaged = self._memory.verify(name)
        if damaged is None:
            return self._disk.verify(name)
        with self._demotion:
            self._refs.pop(name, None)
        return damaged

    def refs(self) -> tuple[BlockRef, ...]:
        with self._demotion:  # a block on its way to disk is in one of the two
            return self._memory.refs() + self._disk.refs()

    def ref_of(self, name: str) -> BlockRef | None:
        with self._demotion:
            return self._memory.ref_of(name) or self._disk.ref_of(name)

    def watch(self, changed: Callable[[str], None]) -> None:
        self._memory.watch(changed)
        self._disk.watch(changed)

    def usage(self) -> tuple[int, int]:
        memory, disk = self._memory.usage(), self._disk.usage()
        return memory[0] + disk[0], memory[1] + disk[1]

    def close(self) -> None:
        self._memory.close()
        self._disk.close()
