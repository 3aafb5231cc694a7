"""Blocks of the ring: put them on their replica group, get them from any of it.

A block is acknowledged once a majority of its replica group has checked its digest and kept
it. A reader takes it from whichever replica answers and checks the digest again.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from map_reduce.core.chord.replication import majority, replica_group
from map_reduce.core.digests import PIECE_BYTES, digest_of, new_digest
from map_reduce.core.identifiers import Address, Identifier, Member, identifier_of
from map_reduce.core.messages import (
    BlockRef,
    DamagedBlock,
    Done,
    GetPiece,
    NoBlock,
    Piece,
    PieceStored,
    PutPiece,
)
from map_reduce.errors import (
    BlockCorruptError,
    BlockMissingError,
    ClusterError,
    MapReduceError,
    Unreachable,
)
from map_reduce.ports import BlockStore
from map_reduce.runtime.peers import Peers

log = logging.getLogger(__name__)

BULK_TIMEOUT_S = 10.0
"""For one piece of 1 MiB."""

Locate = Callable[[Identifier], tuple[Member, ...]]
"""From a place on the ring to its owner and the owner's successors."""


class RingBlocks:
    """Blocks as seen by a client (``store`` None) or a node.

    Args:
        replicas: how many copies to keep, where the ring has as many members.
    """

    def __init__(
        self, peers: Peers, locate: Locate, *, replicas: int, store: BlockStore | None = None
    ) -> None:
        self._peers = peers
        self._locate = locate
        self._replicas = replicas
        self._store = store

    def put(self, name: str, data: bytes) -> BlockRef:
        """Store bytes under a name.

        Raises:
            ClusterError: fewer than a majority of the replica group acknowledged them; names
                the nodes and what each said.
        """
        ref = BlockRef(name, len(data), digest_of(data))
        self._replicate(ref, lambda: _pieces_of_bytes(data), adopt=None)
        return ref

    def put_file(self, ref: BlockRef, path: Path) -> None:
        """Store a finished file as a block; the file is used up. Raises as :meth:`put`."""
        self._replicate(ref, lambda: _pieces_of_file(path), adopt=path)
        path.unlink(missing_ok=True)

    def get(self, ref: BlockRef) -> bytes:
        """The block's bytes.

        Raises:
            BlockMissingError: no replica that answers has it, undamaged.
        """
        chunks: list[bytes] = []

        def start() -> Callable[[bytes], object]:
            chunks.clear()
            return chunks.append

        if self._store is not None:
            try:
                data, _ = self._store.read(ref.name, 0, ref.size_bytes)
            except BlockMissingError:
                pass  # then another node has it
            else:
                if digest_of(data) == ref.digest:
                    return data
                tell_of_damage(self._peers, self._peers.member, ref)
        self._read_from_any(ref, start)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def fetch(self, ref: BlockRef, path: Path) -> Path:
        """Write the block's bytes to ``path``, which is returned, and is the caller's.

        Raises:
            BlockMissingError: no replica that answers has it, undamaged.
        """
        if self._store is not None and self._link_own(self._store, ref, path):
            return path
        with open(path, "wb") as file:  # buffered, since only then a short write is an error

            def start() -> Callable[[bytes], object]:
                file.seek(0)
                file.truncate()
                return file.write

            self._read_from_any(ref, start)
        return path

    def _link_own(self, store: BlockStore, ref: BlockRef, path: Path) -> bool:
        """Make ``path`` another name of the store's own file, if that is sound. Its bytes stay
        there when the store deletes the block."""
        if (damaged := store.verify(ref.name)) is not None:
            tell_of_damage(self._peers, self._peers.member, damaged)
            return False
        local = store.path_of(ref.name)
        if local is None:
            return False
        try:
            path.unlink(missing_ok=True)
            os.link(local, path)
        except FileNotFoundError:
            return False  # deleted just now
        except OSError:  # another file system
            shutil.copyfile(local, path)
        return True

    def _replicate(
        self, ref: BlockRef, pieces: Callable[[], Iterator[bytes]], adopt: Path | None
    ) -> None:
        group = replica_group(self._locate(identifier_of(ref.name)), self._replicas)
        problems = []
        here = self._peers.me
        for member in group:
            if member == here and adopt is not None and self._store is not None:
                continue
            try:
                self._send(member.address, ref, pieces())
            except ClusterError as error:
                problems.append(str(error))
        if here in group and adopt is not None and self._store is not None:
            self._store.adopt_file(ref, adopt)  # last: the others were read from this file
        if len(group) - len(problems) < majority(len(group)):
            raise Unreachable(
                f"block {ref.name} could be stored on {len(group) - len(problems)} of "
                f"{len(group)} nodes only: {'; '.join(problems)}"
            )

    def _send(self, peer: Address, ref: BlockRef, pieces: Iterator[bytes]) -> None:
        offset, stored = 0, False
        for piece in pieces:
            message = PutPiece(ref, offset, piece)
            reply = self._peers.request(peer, message, PieceStored, timeout_s=BULK_TIMEOUT_S)
            offset += len(piece)
            stored = reply.complete
        if not stored:
            raise BlockCorruptError(f"{peer} got all of block {ref.name} and is still waiting")

    def _read_from_any(self, ref: BlockRef, start: Callable[[], Callable[[bytes], object]]) -> None:
        problems = []
        line = self._locate(identifier_of(ref.name))
        for member in replica_group(line, len(line)):
            take, digest = start(), new_digest()
            try:
                for data in read_range(self._peers, member.address, ref.name, 0, ref.size_bytes):
                    digest.update(data)
                    take(data)
            except MapReduceError as error:
                problems.append(str(error))
                continue
            if digest.digest() == ref.digest:
                return
            problems.append(f"{member} has a damaged copy")
            tell_of_damage(self._peers, member, ref)
        raise BlockMissingError(f"no node can give block {ref.name}: {'; '.join(problems)}")


def read_range(
    peers: Peers, peer: Address, name: str, offset: int, length_bytes: int
) -> Iterator[bytes]:
    """The bytes of a range of what ``peer`` keeps under ``name``, in pieces of 1 MiB.

    Raises:
        BlockMissingError: the peer has no such block, or it ends before the range does.
        Unreachable: the peer does not answer.
    """
    end = offset + length_bytes
    while offset < end:
        message = GetPiece(name, offset, min(PIECE_BYTES, end - offset))
        reply = peers.request(peer, message, Piece, NoBlock, timeout_s=BULK_TIMEOUT_S)
        if isinstance(reply, NoBlock) or not reply.data:
            raise BlockMissingError(f"{peer} does not have block {name}, or not all of it")
        yield reply.data
        offset += len(reply.data)


def tell_of_damage(peers: Peers, holder: Member, ref: BlockRef) -> None:
    """Have a holder look at its copy and mend it; a message that may be lost."""
    try:
        peers.request(holder.address, DamagedBlock(ref), Done)
    except ClusterError as error:
        log.info("%s was not told that its copy of %s is damaged: %s", holder, ref.name, error)


def _pieces_of_bytes(data: bytes) -> Iterator[bytes]:
    if len(data) <= PIECE_BYTES:
        yield data
        return
    for offset in range(0, len(data), PIECE_BYTES):
        yield data[offset : offset + PIECE_BYTES]


def _pieces_of_file(path: Path) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        piece = file.read(PIECE_BYTES)
        yield piece  # a block of no bytes is sent as one empty piece
        while piece := file.read(PIECE_BYTES):
            yield piece
