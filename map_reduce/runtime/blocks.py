"""Blocks of the ring, as seen by a client or a node: drives the procedures of ``core/blocks``.

A block is acknowledged once a majority of its replica group has checked its digest and kept
it. A reader takes it from whichever replica answers and checks the digest again.

Where several nodes have just died, no majority answers until the ring has closed over them. So
storing is tried again for a while, each time on the group as it is then.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from map_reduce.core.blocks.effects import (
    Adopt,
    Allow,
    BlockProcedure,
    Effect,
    Keep,
    Load,
    T,
    TakeOwn,
)
from map_reduce.core.blocks.reading import read, read_own
from map_reduce.core.blocks.writing import store
from map_reduce.core.digests import digest_of
from map_reduce.core.identifiers import Identifier, Member, identifier_of
from map_reduce.core.messages import BULK, BlockRef
from map_reduce.core.procedure import Ask, perform
from map_reduce.errors import BlockCorruptError, BlockMissingError, Refused, Unreachable
from map_reduce.ports import BlockStore
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.placing import Placing

log = logging.getLogger(__name__)

STORE_S_MAX = 20.0
"""How long storing is tried again: several times as long as it takes to call a node dead."""

STORE_RETRY_S = 0.5

BULK_TIMEOUT_S = 10.0
"""For one piece of 1 MiB."""

Locate = Callable[[Identifier], tuple[Member, ...]]
"""From a place on the ring to its owner and the owner's successors."""


class RingBlocks:
    """Blocks as seen by a client (``store`` None) or a node.

    Args:
        replicas: how many copies to keep, where the ring has as many members.
        placing: chooses between names of a block.
        store_s_max: seconds after which storing is given up.
    """

    def __init__(
        self,
        peers: Peers,
        locate: Locate,
        *,
        replicas: int,
        store: BlockStore | None = None,
        placing: Placing | None = None,
        store_s_max: float = STORE_S_MAX,
    ) -> None:
        self._peers = peers
        self._locate = locate
        self._replicas = replicas
        self._store = store
        self._placing = placing
        self._store_s_max = store_s_max
        self._closing = threading.Event()

    def choose(self, names: Sequence[str], size_bytes: int) -> str:
        """Under which of the names to store so many bytes."""
        return names[0] if self._placing is None else self._placing.choose(names, size_bytes)

    def put(self, name: str, data: bytes) -> BlockRef:
        """Store bytes under a name.

        Raises:
            ClusterError: fewer than a majority of the replica group acknowledged them, for 20
                seconds; names the nodes and what each said.
        """
        ref = BlockRef(name, len(data), digest_of(data))
        self._put(ref, _Memory(data), None)
        return ref

    def put_file(self, ref: BlockRef, path: Path) -> None:
        """Store a finished file as a block; the file is used up. Raises as :meth:`put`."""
        try:
            self._put(ref, _File(path), self._peers.me if self._store is not None else None)
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let nobody try again from now on."""
        self._closing.set()

    def _put(self, ref: BlockRef, here: _Here, me: Member | None) -> None:
        give_up_s = time.monotonic() + self._store_s_max
        while True:
            try:
                self._perform(store(ref, self._line(ref), replicas=self._replicas, me=me), here)
                return
            except Unreachable as error:
                if time.monotonic() >= give_up_s or self._closing.wait(STORE_RETRY_S):
                    raise
                log.info("to be tried again: %s", error)

    def get(self, ref: BlockRef) -> bytes:
        """The block's bytes.

        Raises:
            BlockMissingError: no replica that answers has it, undamaged.
        """
        here = _Memory()
        self._read(ref, here)
        return here.data

    def fetch(self, ref: BlockRef, path: Path) -> Path:
        """Write the block's bytes to ``path``, which is returned, and is the caller's.

        Raises:
            BlockMissingError: no replica that answers has it, undamaged.
        """
        path.unlink(missing_ok=True)  # it might be another name of a file of the store
        path.touch()
        self._read(ref, _File(path))
        return path

    def _read(self, ref: BlockRef, here: _Here) -> None:
        if self._store is not None and self._perform(read_own(ref, self._peers.member), here):
            return
        self._perform(read(ref, self._line(ref)), here)

    def _line(self, ref: BlockRef) -> tuple[Member, ...]:
        return self._locate(identifier_of(ref.name))

    def _perform(self, procedure: BlockProcedure[T], here: _Here) -> T:
        return perform(procedure, lambda effect: self._carry_out(effect, here))

    def _carry_out(self, effect: Effect, here: _Here) -> object:
        match effect:
            case Ask():
                bulk = isinstance(effect.message, BULK)
                return self._peers.ask(effect, BULK_TIMEOUT_S if bulk else None)
            case Load(_, offset, length_bytes):
                return here.load(offset, length_bytes)
            case Keep(_, offset, data):
                here.keep(offset, data)
                return False
            case TakeOwn(ref) if self._store is not None:
                return here.take_own(ref, self._store)
            case Adopt(ref) if self._store is not None:
                here.adopt(ref, self._store)
                return None
            case Allow():
                return None  # users are not kept waiting
        raise AssertionError(f"{effect} is not asked for in storing and reading")


class _Here(Protocol):
    """Where the bytes are, or are wanted."""

    def load(self, offset: int, length_bytes: int) -> bytes: ...

    def keep(self, offset: int, data: bytes) -> None: ...

    def take_own(self, ref: BlockRef, store: BlockStore) -> bool: ...

    def adopt(self, ref: BlockRef, store: BlockStore) -> None: ...


class _Memory:
    def __init__(self, data: bytes = b"") -> None:
        self._chunks = [data]

    @property
    def data(self) -> bytes:
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def load(self, offset: int, length_bytes: int) -> bytes:
        whole = self.data
        return whole if len(whole) <= length_bytes else whole[offset : offset + length_bytes]

    def keep(self, offset: int, data: bytes) -> None:
        if offset == 0:
            self._chunks.clear()
        self._chunks.append(data)

    def take_own(self, ref: BlockRef, store: BlockStore) -> bool:
        try:
            data, _ = store.read(ref.name, 0, ref.size_bytes)
        except BlockMissingError:
            return False
        if digest_of(data) != ref.digest:
            raise BlockCorruptError(f"this node's copy of block {ref.name} is damaged")
        self._chunks = [data]
        return True

    def adopt(self, ref: BlockRef, store: BlockStore) -> None:
        store.put_piece(ref, 0, self.data)


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, offset: int, length_bytes: int) -> bytes:
        with open(self._path, "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length_bytes)

    def keep(self, offset: int, data: bytes) -> None:
        with open(self._path, "r+b") as file:  # buffered: only then a short write is an error
            if offset == 0:
                file.truncate()
            file.seek(offset)
            file.write(data)

    def take_own(self, ref: BlockRef, store: BlockStore) -> bool:
        """Make the path another name of the store's own file, if that is sound. Its bytes stay
        there when the store deletes the block."""
        if store.verify(ref.name) is not None:
            raise BlockCorruptError(f"this node's copy of block {ref.name} was damaged")
        local = store.path_of(ref.name)
        if local is None:
            return False
        try:
            self._path.unlink(missing_ok=True)
            os.link(local, self._path)
        except FileNotFoundError:
            self._path.touch()
            return False  # deleted just now
        except OSError:  # another file system
            shutil.copyfile(local, self._path)
        return True

    def adopt(self, ref: BlockRef, store: BlockStore) -> None:
        try:
            store.adopt_file(ref, self._path)
        except OSError as error:
            raise Refused(f"this node could not keep block {ref.name}: {error}") from error
