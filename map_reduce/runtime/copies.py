"""Moving whole blocks between the stores of two nodes, piece by piece.

One piece is under way at a time, and each waits until it is allowed, which bounds how many bytes
move in a second: the restoring of copies takes its time, and jobs keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from map_reduce.core.digests import PIECE_BYTES
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import (
    BlockRef,
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
    Refused,
    Unreachable,
)
from map_reduce.ports import BlockStore
from map_reduce.runtime.blocks import tell_of_damage
from map_reduce.runtime.peers import Peers

PIECE_TIMEOUT_S = 4.0
"""Less than a closing node waits for a thread."""


@dataclass
class CopyCounts:
    """What was moved so far."""

    blocks_fetched: int = 0
    blocks_sent: int = 0
    bytes_moved: int = 0


class Copies:
    """Fetches and sends blocks of one node's store.

    Args:
        allow: called before each piece with its size; returns when it may be moved, and raises
            a ClusterError when no more is to be.
    """

    def __init__(self, peers: Peers, store: BlockStore, allow: Callable[[int], None]) -> None:
        self._peers = peers
        self._store = store
        self._allow = allow
        self.counts = CopyCounts()

    def fetch(self, ref: BlockRef, sources: Sequence[Member], silent: set[Member]) -> None:
        """Get a block from the first of ``sources`` that gives it sound.

        ``silent`` are not asked, and who does not answer becomes one of them.

        Raises:
            BlockMissingError: none does; names what each said.
            Refused: this node's disk has no room.
        """
        problems = []
        for source in sources:
            if source in silent:
                problems.append(f"{source} does not answer")
                continue
            try:
                self._fetch_from(ref, source)
            except BlockCorruptError:
                problems.append(f"{source} has a damaged copy")
                tell_of_damage(self._peers, source, ref)
            except OSError as error:
                raise Refused(f"block {ref.name} could not be kept here: {error}") from error
            except ClusterError as error:
                if isinstance(error, Unreachable):
                    silent.add(source)
                problems.append(str(error))
            else:
                self.counts.blocks_fetched += 1
                return
        raise BlockMissingError(f"nobody gave block {ref.name}: {'; '.join(problems)}")

    def _fetch_from(self, ref: BlockRef, source: Member) -> None:
        offset, whole = 0, ref.size_bytes == 0 and self._store.put_piece(ref, 0, b"")
        while not whole:
            length_bytes = min(PIECE_BYTES, ref.size_bytes - offset)
            self._allow(length_bytes)
            message = GetPiece(ref.name, offset, length_bytes)
            reply = self._peers.request(
                source.address, message, Piece, NoBlock, timeout_s=PIECE_TIMEOUT_S
            )
            if isinstance(reply, NoBlock):
                raise BlockMissingError(f"{source} does not have block {ref.name}")
            if not reply.data or len(reply.data) > length_bytes:
                raise BlockCorruptError(f"{source} has another length of block {ref.name}")
            whole = self._store.put_piece(ref, offset, reply.data)
            offset += len(reply.data)
            self.counts.bytes_moved += len(reply.data)

    def send(self, ref: BlockRef, peer: Member) -> None:
        """Send a block of the store.

        Raises:
            BlockMissingError: it is not here any more, or cannot be read.
            Unreachable: the peer does not answer.
            Refused: it does not take the block.
        """
        offset = 0
        while True:
            try:
                data, _ = self._store.read(ref.name, offset, PIECE_BYTES)
            except OSError as error:
                raise BlockMissingError(f"block {ref.name} cannot be read: {error}") from error
            self._allow(len(data))
            message = PutPiece(ref, offset, data)
            reply = self._peers.request(
                peer.address, message, PieceStored, timeout_s=PIECE_TIMEOUT_S
            )
            offset += len(data)
            self.counts.bytes_moved += len(data)
            if reply.complete:
                self.counts.blocks_sent += 1
                return
            if not data or offset >= ref.size_bytes:
                raise Refused(f"{peer} got all of block {ref.name} and is still waiting")
