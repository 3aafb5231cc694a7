"""What every BlockStore does."""

from __future__ import annotations

import itertools
import os
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from map_reduce.core.blocks.pieces import RANGES_MAX
from map_reduce.core.digests import digest_of
from map_reduce.core.messages import BlockRef
from map_reduce.errors import BlockCorruptError, BlockMissingError, ProtocolError
from map_reduce.storage.disk import SET_ASIDE, DiskBlockStore
from map_reduce.storage.memory import MemoryBlockStore
from map_reduce.storage.tiered import SMALL_BYTES_MAX, TieredBlockStore


def block(name: str, data: bytes) -> BlockRef:
    return BlockRef(name, len(data), digest_of(data))


@pytest.fixture(params=["memory", "disk", "tiered"])
def store(request, tmp_path):
    if request.param == "memory":
        made = MemoryBlockStore()
    elif request.param == "disk":
        made = DiskBlockStore(tmp_path / "blocks", temporary=True)
    else:
        disk = DiskBlockStore(tmp_path / "blocks", temporary=True)
        made = TieredBlockStore(disk, memory_bytes_max=2 * SMALL_BYTES_MAX)
    yield made
    made.close()
    assert not (tmp_path / "blocks").exists()


@given(data=st.data(), content=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_pieces_in_any_order_and_repeated_make_the_block(store, data, content):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=4)))
    edges = [0, *cuts, len(content)]
    pieces = [(a, content[a:b]) for a, b in itertools.pairwise(edges)]
    repeated = data.draw(st.lists(st.sampled_from(pieces), max_size=4))
    order = data.draw(st.permutations(pieces + repeated))
    ref = block("a/b c/ü", content)
    results = [store.put_piece(ref, offset, piece) for offset, piece in order]
    assert results[-1]
    assert store.read(ref.name, 0, 1000) == (content, len(content))
    assert store.usage() == (1, len(content))
    assert store.delete_prefix("a/") == 1
    with pytest.raises(BlockMissingError):
        store.read(ref.name, 0, 1)


def test_a_name_that_no_file_can_have_leaves_nothing_behind(tmp_path):
    store = DiskBlockStore(tmp_path / "blocks", temporary=True)
    ref = block("n" * 300, b"abcd")
    with pytest.raises(OSError, match="too long"):
        store.put_piece(ref, 0, b"ab")
    assert not store.knows(ref.name)
    store.close()


def test_a_half_received_block_is_not_there(store):
    ref = block("x", b"abcd")
    assert not store.put_piece(ref, 0, b"ab")
    assert store.usage() == (0, 0)
    with pytest.raises(BlockMissingError):
        store.read("x", 0, 4)
    assert store.delete_prefix("") == 1


def test_damaged_bytes_are_refused_and_may_be_sent_again(store):
    ref = block("x", b"abcd")
    with pytest.raises(BlockCorruptError):
        store.put_piece(ref, 0, b"abXd")
    with pytest.raises(BlockMissingError):
        store.read("x", 0, 4)
    assert store.put_piece(ref, 0, b"abcd")


@pytest.mark.parametrize(("offset", "data"), [(-1, b"a"), (3, b"abc"), (9, b"a")])
def test_a_piece_outside_the_block_is_refused(store, offset, data):
    with pytest.raises(ProtocolError, match="does not fit"):
        store.put_piece(block("x", b"abcd"), offset, data)


def test_ranges_are_cut_at_the_end(store):
    store.put_piece(block("x", b"abcd"), 0, b"abcd")
    assert store.read("x", 1, 2) == (b"bc", 4)
    assert store.read("x", 3, 9) == (b"d", 4)
    assert store.read("x", 4, 9) == (b"", 4)


def test_a_file_is_adopted(store, tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"hello")
    store.adopt_file(BlockRef("job/map/0.0", 5, b""), path)
    assert not path.exists()
    assert store.read("job/map/0.0", 1, 3) == (b"ell", 5)


def test_bytes_are_adopted(store):
    name = "job/map/0.0"
    store.adopt_bytes(BlockRef(name, 5, b""), b"hello")
    assert store.read(name, 1, 3) == (b"ell", 5)
    assert store.bytes_of(name) in (b"hello", None)
    assert store.bytes_of("job/map/1.0") is None
    assert store.usage() == (1, 5)
    assert store.refs() == ()
    path = store.path_of(name)
    assert path is None or path.read_bytes() == b"hello"
    assert store.read(name, 0, 9) == (b"hello", 5)
    assert store.delete_prefix("job/") == 1
    assert store.usage() == (0, 0)


def test_adopted_bytes_stay_in_memory_while_there_is_room(tmp_path):
    disk = DiskBlockStore(tmp_path / "blocks", temporary=True)
    store = TieredBlockStore(disk, memory_bytes_max=8)
    for name in ("a", "b", "c"):
        store.adopt_bytes(BlockRef(name, 4, b""), b"1234")
    assert [store.bytes_of(name) for name in ("a", "b", "c")] == [b"1234", b"1234", None]
    assert disk.usage() == (1, 4)
    assert store.read("c", 0, 9) == (b"1234", 4)
    store.discard("a")
    assert store.bytes_of("a") is None
    store.adopt_bytes(BlockRef("d", 4, b""), b"5678")
    assert store.bytes_of("d") == b"5678"
    store.close()


def test_the_prefix_must_match_from_the_start(store):
    for name in ("a/1", "a/2", "b/a/1"):
        store.put_piece(block(name, b"z"), 0, b"z")
    assert store.delete_prefix("a/") == 2
    assert store.usage() == (1, 1)


def test_concurrent_writers_of_many_blocks(store):
    content = bytes(range(256)) * 600  # larger than a small block
    failures = []

    def write(number: int) -> None:
        ref = block(f"n/{number % 3}", content)
        try:
            for offset in range(0, len(content), 5000):
                store.put_piece(ref, offset, content[offset : offset + 5000])
        except Exception as error:  # handed to the main thread  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert all(store.read(f"n/{n}", 0, len(content))[0] == content for n in range(3))


def test_what_is_there_is_listed_and_who_watches_hears_of_changes(store, tmp_path):
    heard = []
    store.watch(heard.append)
    small, large = block("a/1", b"z"), block("a/2", bytes(SMALL_BYTES_MAX + 1))
    assert store.refs() == ()
    assert store.ref_of("a/1") is None
    store.put_piece(small, 0, b"z")
    assert heard == ["a/1"]
    store.put_piece(large, 0, b"half")
    assert heard == ["a/1"]
    store.put_piece(large, 0, bytes(large.size_bytes))
    assert heard == ["a/1", "a/2"]
    path = tmp_path / "out"
    path.write_bytes(b"hello")
    store.adopt_file(BlockRef("a/map/0.0", 5, b""), path)
    assert set(store.refs()) == {small, large}, "without map outputs, which have no digest"
    assert store.ref_of("a/2") == large
    assert store.ref_of("a/map/0.0") is None
    heard.clear()
    store.discard("a/1")
    assert heard == ["a/1"]
    assert store.refs() == (large,)
    with pytest.raises(BlockMissingError):
        store.read("a/1", 0, 1)
    store.discard("a/1")
    assert heard == ["a/1"]
    store.delete_prefix("a/2")
    assert heard == ["a/1", "a/2"]
    assert store.refs() == ()


def test_a_block_that_moves_to_disk_never_goes(tmp_path):
    disk = DiskBlockStore(tmp_path / "blocks", temporary=True)
    store = TieredBlockStore(disk, memory_bytes_max=8)
    ref = block("a", b"1")
    store.put_piece(ref, 0, b"1")
    heard = []
    store.watch(heard.append)
    assert store.path_of("a")
    assert set(heard) <= {"a"}
    assert store.ref_of("a") == ref
    assert store.refs() == (ref,)
    store.close()


def test_half_a_block_is_discarded_too(store):
    store.put_piece(block("x", b"abcd"), 0, b"ab")
    store.discard("x")
    assert store.delete_prefix("") == 0
    assert store.put_piece(block("x", b"abcd"), 0, b"abcd")


def damage(store, tmp_path, name):
    """Change a byte of a block behind the store's back."""
    for path in (tmp_path / "blocks").glob(f"*-{name}"):
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        return
    memory = getattr(store, "_memory", store)
    memory._whole[name] = b"X" + memory._whole[name][1:]


@pytest.mark.parametrize("size", [4, SMALL_BYTES_MAX + 1])
def test_a_damaged_block_is_put_out_of_use_and_may_be_sent_again(store, tmp_path, size, caplog):
    ref = block("x", bytes(size))
    store.put_piece(ref, 0, bytes(size))
    assert store.verify("x") is None
    assert store.verify("y") is None
    assert not caplog.records
    damage(store, tmp_path, "x")
    assert store.verify("x") == ref
    assert "block x" in caplog.text
    assert store.refs() == ()
    with pytest.raises(BlockMissingError):
        store.read("x", 0, 1)
    assert store.verify("x") is None
    assert store.put_piece(ref, 0, bytes(size))
    assert store.verify("x") is None
    assert store.read("x", 0, size)[0] == bytes(size)


def test_what_has_no_digest_cannot_be_damaged(store, tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"hello")
    store.adopt_file(BlockRef("job/map/0.0", 5, b""), path)
    assert store.verify("job/map/0.0") is None
    assert store.read("job/map/0.0", 0, 5)[0] == b"hello"


def test_files_of_a_wrong_length_are_set_aside_and_map_outputs_are_not_found_again(
    tmp_path, caplog
):
    folder = tmp_path / "data"
    first = DiskBlockStore(folder, temporary=False)
    for name in ("a", "b"):
        first.put_piece(block(name, b"content"), 0, b"content")
    out = tmp_path / "out"
    out.write_bytes(b"hello")
    first.adopt_file(BlockRef("job/map/0.0", 5, b""), out)
    path = first.path_of("a")
    path.write_bytes(b"cont")
    first.close()
    second = DiskBlockStore(folder, temporary=False)
    assert second.refs() == (block("b", b"content"),)
    assert second.usage() == (1, 7)
    assert (folder / SET_ASIDE / path.name).read_bytes() == b"cont"
    assert "4 bytes, not 7" in caplog.text
    assert second.put_piece(block("a", b"content"), 0, b"content")
    second.close()
    third = DiskBlockStore(folder, temporary=False)
    assert third.usage() == (2, 14)


def test_a_file_that_vanished_is_noticed(tmp_path, caplog):
    store = DiskBlockStore(tmp_path / "data", temporary=False)
    ref = block("a", b"content")
    store.put_piece(ref, 0, b"content")
    store.path_of("a").unlink()
    assert store.verify("a") == ref
    assert "gone" in caplog.text
    assert store.refs() == ()


@pytest.mark.parametrize("temporary", [False, True])
def test_a_lasting_folder_is_synchronised_before_a_block_counts(tmp_path, monkeypatch, temporary):
    store = DiskBlockStore(tmp_path / "data", temporary=temporary)
    synced = []

    def fsync(descriptor):
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), store.refs()))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(store, "refs", lambda: tuple(store._whole))
    store.put_piece(block("a", b"content"), 0, b"con")
    assert synced == []
    store.put_piece(block("a", b"content"), 3, b"tent")
    out = tmp_path / "out"
    out.write_bytes(b"hello")
    store.adopt_file(BlockRef("job/map/0.0", 5, b""), out)
    if temporary:
        assert synced == []
    else:
        assert [(path.rpartition("/")[2][-6:], refs) for path, refs in synced] == [
            ("a.part", ()),
            ("data", ()),
        ]
    store.close()


def test_a_lasting_folder_gives_its_blocks_back(tmp_path):
    first = DiskBlockStore(tmp_path / "data", temporary=False)
    first.put_piece(block("job/input/1", b"kept"), 0, b"kept")
    first.put_piece(block("job/input/2", b"half"), 0, b"ha")
    (tmp_path / "data" / "readme.txt").write_text("not a block")
    first.close()
    second = DiskBlockStore(tmp_path / "data", temporary=False)
    assert second.read("job/input/1", 0, 10) == (b"kept", 4)
    assert second.usage() == (1, 4)
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert "readme.txt" in names
    assert not any(name.endswith(".part") for name in names)
    second.close()


def test_small_blocks_stay_in_memory_until_a_file_is_needed(tmp_path):
    disk = DiskBlockStore(tmp_path / "blocks", temporary=True)
    store = TieredBlockStore(disk, memory_bytes_max=8)
    store.put_piece(block("a", b"12345678"), 0, b"12345678")
    store.put_piece(block("b", b"9"), 0, b"9")  # memory is full
    assert disk.usage() == (1, 1)
    path = store.path_of("a")
    assert path is not None
    assert path.read_bytes() == b"12345678"
    assert store.read("a", 0, 8)[0] == b"12345678"
    assert disk.usage() == (2, 9)
    assert store.usage() == (2, 9)
    store.close()


def test_pieces_with_gaps_without_end_are_refused(store):
    ref = block("x", bytes(10_000))
    for number in range(RANGES_MAX):
        store.put_piece(ref, 2 * number, b"\0")
    with pytest.raises(ProtocolError, match="gaps"):
        store.put_piece(ref, 2 * RANGES_MAX, b"\0")
    assert not store.put_piece(ref, 2 * RANGES_MAX - 1, b"\0")  # which goes on where one ended


def test_blocks_that_never_become_whole_do_not_fill_the_memory(tmp_path):
    disk = DiskBlockStore(tmp_path / "blocks", temporary=True)
    store = TieredBlockStore(disk, memory_bytes_max=10)
    for number in range(9):
        store.put_piece(block(f"a/{number}", b"abcd"), 0, b"a")
    assert store._memory.held_bytes == 8
    assert store.delete_prefix("a/") == 9
    assert store._memory.held_bytes == 0
    store.close()
