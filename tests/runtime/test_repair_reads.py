"""Readers of blocks notice damage, tell the holder, and find copies where the ring has changed."""

from __future__ import annotations

import pytest

from map_reduce.core.digests import digest_of
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import BlockRef, DamagedBlock, Done, GetPiece, NoBlock, Piece
from map_reduce.errors import BlockMissingError
from map_reduce.runtime.blocks import RingBlocks
from map_reduce.runtime.peers import Peers
from map_reduce.storage.disk import DiskBlockStore

MEMBERS = tuple(Member(Address("n", port), 1) for port in range(1, 9))
ME = MEMBERS[1]
REF = BlockRef("job/x", 5, digest_of(b"hello"))


class Copies:
    """A Transport to nodes that give what they are said to hold."""

    def __init__(self):
        self.held = {}
        self.told = []

    def call(self, peer, request, timeout_s):
        match request.body:
            case GetPiece(_, offset, length_bytes):
                if peer not in self.held:
                    return NoBlock(REF.name)
                content = self.held[peer]
                return Piece(content[offset : offset + length_bytes], len(content))
            case DamagedBlock(ref):
                assert ref == REF
                self.told.append(peer)
                return Done()


@pytest.fixture
def copies():
    return Copies()


@pytest.fixture
def store(tmp_path):
    return DiskBlockStore(tmp_path / "blocks", temporary=True)


@pytest.fixture
def blocks(copies, store):
    peers = Peers(copies, timeout_s=1, me=ME)
    return RingBlocks(peers, lambda target: MEMBERS, replicas=5, store=store)


def test_the_holder_of_a_damaged_copy_is_told(blocks, copies, tmp_path):
    copies.held = {MEMBERS[0].address: b"hallo", MEMBERS[2].address: b"hello"}
    assert blocks.get(REF) == b"hello"
    assert copies.told == [MEMBERS[0].address]
    assert blocks.fetch(REF, tmp_path / "x").read_bytes() == b"hello"
    assert copies.told == [MEMBERS[0].address] * 2


def test_a_copy_behind_the_group_is_found(blocks, copies):
    copies.held = {MEMBERS[7].address: b"hello"}
    assert blocks.get(REF) == b"hello"


def test_an_own_copy_that_is_damaged_is_not_used(blocks, copies, store, tmp_path):
    store.put_piece(REF, 0, b"hello")
    path = store.path_of(REF.name)
    path.write_bytes(b"hallo")
    copies.held = {MEMBERS[0].address: b"hello"}
    assert blocks.get(REF) == b"hello"
    assert blocks.fetch(REF, tmp_path / "x").read_bytes() == b"hello"
    assert set(copies.told) == {ME.address}
    assert store.refs() == ()


def test_an_own_file_stays_when_the_store_deletes_the_block(blocks, store, tmp_path):
    store.put_piece(REF, 0, b"hello")
    own = store.path_of(REF.name)
    fetched = blocks.fetch(REF, tmp_path / "x")
    assert fetched == tmp_path / "x"
    assert fetched.stat().st_ino == own.stat().st_ino, "no bytes were copied"
    store.discard(REF.name)
    assert not own.exists()
    assert fetched.read_bytes() == b"hello"


def test_an_own_file_on_another_file_system_is_copied(blocks, store, tmp_path, monkeypatch):
    def link(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", link)
    store.put_piece(REF, 0, b"hello")
    (tmp_path / "x").write_bytes(b"older")
    assert blocks.fetch(REF, tmp_path / "x").read_bytes() == b"hello"
    assert store.refs() == (REF,)


def test_an_own_file_that_vanishes_meanwhile_is_fetched(blocks, store, copies, tmp_path):
    store.put_piece(REF, 0, b"hello")
    own = store.path_of(REF.name)
    store.verify = lambda name: own.unlink(missing_ok=True)
    copies.held = {MEMBERS[0].address: b"hello"}
    assert blocks.fetch(REF, tmp_path / "x").read_bytes() == b"hello"
    copies.held = {}
    with pytest.raises(BlockMissingError):
        blocks.fetch(REF, tmp_path / "y")
