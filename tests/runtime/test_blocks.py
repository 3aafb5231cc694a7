"""Blocks of the ring: majorities, damaged copies, replicas that do not answer."""

from __future__ import annotations

import pytest

from map_reduce.core.digests import PIECE_BYTES, digest_of
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import (
    BlockRef,
    GetPiece,
    No,
    NoBlock,
    Piece,
    PieceStored,
    PutPiece,
    Request,
)
from map_reduce.errors import BlockMissingError, ClusterError, Unreachable
from map_reduce.runtime.blocks import RingBlocks
from map_reduce.runtime.peers import Peers
from map_reduce.storage.memory import MemoryBlockStore

MEMBERS = tuple(Member(Address("n", port), 1) for port in range(1, 8))


class Replicas:
    """A Transport to nodes that have nothing but a store; some may be dead or out of space."""

    def __init__(self) -> None:
        self.stores = {member.address: MemoryBlockStore() for member in MEMBERS}
        self.dead: set[Address] = set()
        self.full: set[Address] = set()

    def call(self, peer: Address, request: Request, timeout_s: float):
        if peer in self.dead:
            raise Unreachable(f"{peer} does not answer")
        match request.body:
            case PutPiece(ref, offset, data):
                if peer in self.full:
                    return No("the disk is full")
                return PieceStored(self.stores[peer].put_piece(ref, offset, data))
            case GetPiece(name, offset, length_bytes):
                try:
                    return Piece(*self.stores[peer].read(name, offset, length_bytes))
                except BlockMissingError:
                    return NoBlock(name)

    def copies(self) -> list[int]:
        return [self.stores[member.address].usage()[0] for member in MEMBERS]


@pytest.fixture
def replicas():
    return Replicas()


@pytest.fixture
def blocks(replicas):
    peers = Peers(replicas, timeout_s=1)
    return RingBlocks(peers, lambda target: MEMBERS, replicas=5, store_s_max=0)


def test_a_block_is_on_the_owner_and_its_successors(blocks, replicas):
    ref = blocks.put("job/x", b"hello")
    assert replicas.copies() == [1, 1, 1, 1, 1, 0, 0]
    assert blocks.get(ref) == b"hello"


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_blocks_of_every_size_by_bytes_and_by_file(blocks, replicas, tmp_path, size):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert blocks.get(blocks.put("job/bytes", data)) == data
    path = tmp_path / "source"
    path.write_bytes(data)
    ref = BlockRef("job/file", size, digest_of(data))
    blocks.put_file(ref, path)
    assert not path.exists()
    fetched = blocks.fetch(ref, tmp_path / "fetched")
    assert fetched.read_bytes() == data


def test_a_majority_is_enough_and_less_is_not(blocks, replicas):
    replicas.dead = {MEMBERS[0].address}
    replicas.full = {MEMBERS[3].address}
    ref = blocks.put("job/x", b"hello")
    assert blocks.get(ref) == b"hello"
    replicas.dead |= {MEMBERS[2].address}
    with pytest.raises(ClusterError, match="2 of 5") as caught:
        blocks.put("job/y", b"hello")
    assert "disk is full" in str(caught.value)
    assert "n:1 does not answer" in str(caught.value)


class ClosingRing:
    """A lookup that names the dead, until it has been asked so often."""

    def __init__(self, replicas, rounds):
        self.asked = 0
        self._replicas = replicas
        self._rounds = rounds

    def __call__(self, target):
        self.asked += 1
        if self.asked < self._rounds:
            return MEMBERS
        return tuple(m for m in MEMBERS if m.address not in self._replicas.dead)


@pytest.mark.parametrize("by_file", [False, True])
def test_storing_is_tried_again_until_the_ring_has_closed_over_the_dead(
    replicas, tmp_path, monkeypatch, by_file
):
    monkeypatch.setattr("map_reduce.runtime.blocks.STORE_RETRY_S", 0.01)
    replicas.dead = {member.address for member in MEMBERS[1:4]}
    locate = ClosingRing(replicas, 4)
    store = replicas.stores[MEMBERS[0].address]
    peers = Peers(replicas, timeout_s=1, me=MEMBERS[0], handler=lambda request: None)
    blocks = RingBlocks(peers, locate, replicas=5, store=store)
    if by_file:
        (path := tmp_path / "result").write_bytes(b"hello")
        ref = BlockRef("job/x", 5, digest_of(b"hello"))
        blocks.put_file(ref, path)
        assert not path.exists()
    else:
        ref = RingBlocks(Peers(replicas, timeout_s=1), locate, replicas=5).put("job/x", b"hello")
    assert locate.asked == 4
    assert replicas.copies() == [1, 0, 0, 0, 1, 1, 1]
    assert store.ref_of("job/x") == ref


def test_closing_ends_the_wait_for_a_majority(replicas):
    replicas.dead = {member.address for member in MEMBERS}
    blocks = RingBlocks(Peers(replicas, timeout_s=1), lambda target: MEMBERS, replicas=5)
    blocks.close()
    with pytest.raises(Unreachable, match="0 of 5"):
        blocks.put("job/x", b"hello")


def test_a_damaged_copy_is_passed_over(blocks, replicas):
    ref = blocks.put("job/x", b"hello")
    replicas.stores[MEMBERS[0].address]._whole["job/x"] = b"hallo"
    replicas.stores[MEMBERS[1].address]._whole["job/x"] = b"hell"
    replicas.dead = {MEMBERS[2].address}
    assert blocks.get(ref) == b"hello"


def test_a_block_that_nobody_has_names_who_was_asked(blocks, replicas):
    ref = blocks.put("job/x", b"hello")
    for store in replicas.stores.values():
        store.delete_prefix("job/")
    with pytest.raises(BlockMissingError, match="job/x") as caught:
        blocks.get(ref)
    assert all(str(member) in str(caught.value) for member in MEMBERS[:5])


def test_a_node_reads_its_own_copy_without_asking(replicas):
    store = MemoryBlockStore()
    peers = Peers(replicas, timeout_s=1, me=MEMBERS[6])
    blocks = RingBlocks(peers, lambda target: MEMBERS, replicas=5, store=store)
    ref = BlockRef("job/x", 5, digest_of(b"hello"))
    store.put_piece(ref, 0, b"hello")
    replicas.dead = {member.address for member in MEMBERS}
    assert blocks.get(ref) == b"hello"
    store._whole["job/x"] = b"hallo"
    with pytest.raises(BlockMissingError):
        blocks.get(ref)
