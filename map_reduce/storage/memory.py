"""Blocks in memory, up to a bound."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from map_reduce.core.blocks.pieces import Pieces
from map_reduce.core.digests import digest_of
from map_reduce.core.messages import BlockRef
from map_reduce.errors import BlockCorruptError, BlockMissingError

log = logging.getLogger(__name__)


def unwatched(name: str) -> None:
    """What a store calls that nobody watches."""


class MemoryBlockStore:
    """A BlockStore whose blocks and half-received blocks lie in dictionaries."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._whole: dict[str, bytes] = {}
        self._refs: dict[str, BlockRef] = {}
        self._whole_bytes = 0
        self._partial_bytes = 0
        self._changed: Callable[[str], None] = unwatched
        self._partial: dict[str, tuple[BlockRef, bytearray, Pieces]] = {}

    def put_piece(self, ref: BlockRef, offset: int, data: bytes) -> bool:
        with self._lock:
            if ref.name in self._whole:
                return True
            entry = self._partial.get(ref.name)
            if entry is None or entry[0] != ref:
                self._forget_partial(ref.name)
                self._partial_bytes += ref.size_bytes
                entry = (ref, bytearray(ref.size_bytes), Pieces(ref.size_bytes))
                self._partial[ref.name] = entry
            _, buffer, pieces = entry
            pieces.add(offset, len(data))
            buffer[offset : offset + len(data)] = data
            if not pieces.complete:
                return False
            self._forget_partial(ref.name)
            whole = bytes(buffer)
            if digest_of(whole) != ref.digest:
                raise BlockCorruptError(f"the bytes received for block {ref.name} are damaged")
            self._add(ref, whole)
            return True

    def adopt_file(self, ref: BlockRef, path: Path) -> None:
        self.adopt_bytes(ref, path.read_bytes())
        path.unlink()

    def adopt_bytes(self, ref: BlockRef, data: bytes) -> None:
        with self._lock:
            self._remove(ref.name)
            self._add(ref, data)

    def bytes_of(self, name: str) -> bytes | None:
        with self._lock:
            return self._whole.get(name)

    def read(self, name: str, offset: int, length_bytes: int) -> tuple[bytes, int]:
        with self._lock:
            whole = self._whole.get(name)
        if whole is None:
            raise BlockMissingError(f"there is no block {name} here")
        return whole[offset : offset + length_bytes], len(whole)

    def path_of(self, name: str) -> Path | None:
        return None

    def take(self, name: str) -> bytes | None:
        """Remove a whole block and return its bytes; None where there is none."""
        with self._lock:
            return self._remove(name)

    def holds(self, name: str) -> bool:
        with self._lock:
            return name in self._whole

    def delete_prefix(self, prefix: str) -> int:
        with self._lock:
            whole = [name for name in self._whole if name.startswith(prefix)]
            partial = [name for name in self._partial if name.startswith(prefix)]
            for name in whole:
                self._remove(name)
            for name in partial:
                self._forget_partial(name)
        return len(whole) + len(partial)

    def discard(self, name: str) -> None:
        with self._lock:
            self._remove(name)
            self._forget_partial(name)

    def verify(self, name: str) -> BlockRef | None:
        with self._lock:
            whole, ref = self._whole.get(name), self._refs.get(name)
        if whole is None or ref is None or not ref.digest or digest_of(whole) == ref.digest:
            return None
        log.error("block %s in memory does not match its digest and was dropped", name)
        with self._lock:
            if self._whole.get(name) is whole:
                self._remove(name)
        return ref

    def refs(self) -> tuple[BlockRef, ...]:
        with self._lock:
            return tuple(ref for ref in self._refs.values() if ref.digest)

    def ref_of(self, name: str) -> BlockRef | None:
        with self._lock:
            ref = self._refs.get(name)
        return ref if ref is not None and ref.digest else None

    def watch(self, changed: Callable[[str], None]) -> None:
        self._changed = changed

    def usage(self) -> tuple[int, int]:
        with self._lock:
            return len(self._whole), self._whole_bytes

    @property
    def held_bytes(self) -> int:
        """What the blocks take up, those that have come in part included."""
        with self._lock:
            return self._whole_bytes + self._partial_bytes

    def _forget_partial(self, name: str) -> None:
        partial = self._partial.pop(name, None)
        if partial is not None:
            self._partial_bytes -= partial[0].size_bytes

    def _add(self, ref: BlockRef, data: bytes) -> None:
        self._whole[ref.name] = data
        self._refs[ref.name] = ref
        self._whole_bytes += len(data)
        self._changed(ref.name)

    def _remove(self, name: str) -> bytes | None:
        whole = self._whole.pop(name, None)
        if whole is not None:
            del self._refs[name]
            self._whole_bytes -= len(whole)
            self._changed(name)
        return whole

    def close(self) -> None:
        with self._lock:
            self._whole.clear()
            self._refs.clear()
            self._whole_bytes = self._partial_bytes = 0
            self._partial.clear()
