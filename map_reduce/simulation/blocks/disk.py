"""A disk, and the store of blocks that a process opens on it.

The disk outlives the process; what is half received does not. What the store does and what it
finds when it is opened is what the one over a real folder does (``storage/disk.py``): a test
holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from map_reduce.core.blocks.pieces import Pieces
from map_reduce.core.digests import digest_of
from map_reduce.core.messages import BlockRef
from map_reduce.errors import BlockCorruptError, BlockMissingError


class File(NamedTuple):
    """A whole block as the disk has it: what it should be, and its bytes."""

    ref: BlockRef
    data: bytes

    @property
    def sound(self) -> bool:
        return digest_of(self.data) == self.ref.digest


class Disk:
    """What is left when a process ends.

    Attributes:
        changed: called with the name of each block that comes or goes.
    """

    def __init__(self, changed: Callable[[str], None]) -> None:
        self.files: dict[str, File] = {}
        self.ends: dict[str, bool] = {}  # jobs that were to be deleted, and whether wholly
        self.changed = changed
        self.set_aside = 0
        self.full = 0  # how many faults say so
        self.slow = 0
        self.busy_until_us = 0

    def write(self, file: File) -> None:
        self.files[file.ref.name] = file
        self.changed(file.ref.name)

    def remove(self, name: str) -> None:
        if self.files.pop(name, None) is not None:
            self.changed(name)

    def put_aside(self, name: str) -> None:
        self.set_aside += 1
        self.remove(name)

    def wipe(self) -> None:
        self.ends.clear()
        for name in list(self.files):
            self.remove(name)


class Store:
    """The blocks of one process.

    Args:
        changed: called with the name of each block that comes or goes.
        checks: whether what is received is checked; not so in a mutant.
    """

    def __init__(self, disk: Disk, changed: Callable[[str], None], *, checks: bool = True) -> None:
        self._disk = disk
        self._checks = checks
        self._changed = changed
        self._partial: dict[str, tuple[BlockRef, bytearray, Pieces]] = {}
        for name, file in list(disk.files.items()):
            if len(file.data) != file.ref.size_bytes:
                disk.put_aside(name)

    def put_piece(self, ref: BlockRef, offset: int, data: bytes) -> bool:
        """Raises BlockCorruptError, ProtocolError, or OSError where the disk is full."""
        if ref.name in self._disk.files:
            return True
        if self._disk.full:
            raise OSError("no space left on device")
        entry = self._partial.get(ref.name)
        if entry is None or entry[0] != ref:
            entry = (ref, bytearray(ref.size_bytes), Pieces(ref.size_bytes))
            self._partial[ref.name] = entry
        _, buffer, pieces = entry
        pieces.add(offset, len(data))
        buffer[offset : offset + len(data)] = data
        if not pieces.complete:
            return False
        del self._partial[ref.name]
        file = File(ref, bytes(buffer))
        if self._checks and not file.sound:
            raise BlockCorruptError(f"the bytes received for block {ref.name} are damaged")
        self._write(file)
        return True

    def adopt(self, ref: BlockRef, data: bytes) -> None:
        """Raises OSError where the disk is full."""
        if self._disk.full:
            raise OSError("no space left on device")
        self._write(File(ref, data))

    def _write(self, file: File) -> None:
        self._disk.write(file)
        self._changed(file.ref.name)

    def read(self, name: str, offset: int, length_bytes: int) -> tuple[bytes, int]:
        """Raises BlockMissingError."""
        file = self._disk.files.get(name)
        if file is None:
            raise BlockMissingError(f"there is no block {name} here")
        return file.data[offset : offset + length_bytes], len(file.data)

    def ref_of(self, name: str) -> BlockRef | None:
        file = self._disk.files.get(name)
        return None if file is None else file.ref

    def refs(self) -> tuple[BlockRef, ...]:
        return tuple(file.ref for file in self._disk.files.values())

    def discard(self, name: str) -> None:
        self._partial.pop(name, None)
        self._disk.remove(name)
        self._changed(name)

    def delete_prefix(self, prefix: str) -> None:
        for name in [*self._disk.files, *self._partial]:
            if name.startswith(prefix):
                self.discard(name)

    def verify(self, name: str) -> BlockRef | None:
        """What a damaged block should have been; it is set aside."""
        file = self._disk.files.get(name)
        if file is None or file.sound:
            return None
        self._disk.put_aside(name)
        self._changed(name)
        return file.ref
