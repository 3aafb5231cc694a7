"""The life of blocks on rings of whole nodes: deaths, joins, leaves, restarts, damage."""

from __future__ import annotations

import logging
import random
import threading
from pathlib import Path

import pytest

from map_reduce.core.identifiers import distance, identifier_of
from map_reduce.core.messages import BlockRef, Done, EndJob
from map_reduce.server.access import connect
from map_reduce.server.configs import ClusterConfig, NodeConfig
from map_reduce.server.node import Node
from map_reduce.storage.disk import SET_ASIDE
from map_reduce.transport.memory import EMBEDDED, MemoryNetwork, MemoryTransport

CLUSTER = ClusterConfig(stabilize_interval_s=0.05, dead_after_s=0.3)
WAIT_S = 40


class Ring:
    """Nodes that come and go; they look for missing copies only when something has changed."""

    def __init__(self, size: int, folder: Path | None = None) -> None:
        self.network = MemoryNetwork()
        self.folder = folder
        self.transports: dict[Node, MemoryTransport] = {}
        for number in range(size):
            self.start(number)
        self.access = connect([self.nodes[0].address], MemoryTransport(self.network))
        self.await_that(self.whole, "the ring is whole")

    @property
    def nodes(self) -> list[Node]:
        return list(self.transports)

    def start(self, number: int | None = None) -> Node:
        """A node that joins; with a folder and the port of that number, where they are given."""
        transport = MemoryTransport(self.network)
        config = NodeConfig(
            host=EMBEDDED.host,
            port=0 if number is None else number + 1,
            slots=1,
            data_folder=self.folder and self.folder / str(number),
        )
        seeds = [node.address for node in self.nodes[:1]]
        node = Node(transport, cluster=CLUSTER, config=config, join=seeds)
        self.transports[node] = transport
        return node

    def crash(self, *nodes: Node) -> None:
        """All at the same time; none has time to say a word."""
        for node in nodes:
            self.transports.pop(node).close()
        for node in nodes:
            node.close()
        self.access.members()  # or else the client may know the dead alone

    def leave(self, node: Node) -> None:
        del self.transports[node]
        node.close()

    def whole(self) -> bool:
        """Whether everybody knows everybody, and nobody else."""
        everybody = {node.address for node in self.nodes}
        return all(
            {member.address for member in node._ring.view()[1]} == everybody - {node.address}
            for node in self.nodes
        )

    def put(self, count: int, size_bytes: int = 700) -> list[BlockRef]:
        draw = random.Random(7)
        return [
            self.access.blocks.put(f"job/input/{number}", draw.randbytes(size_bytes + number))
            for number in range(count)
        ]

    def group(self, ref: BlockRef) -> list[Node]:
        place = identifier_of(ref.name)
        return sorted(self.nodes, key=lambda node: distance(place, node.address.identifier))[:5]

    def holders(self, ref: BlockRef) -> list[Node]:
        return [node for node in self.nodes if ref in node._store.refs()]

    def healthy(self, refs: list[BlockRef]) -> bool:
        held = {node: set(node._store.refs()) for node in self.nodes}
        return all(
            {node for node, those in held.items() if ref in those} == set(self.group(ref))
            for ref in refs
        )

    def await_health(self, refs: list[BlockRef]) -> None:
        """Until every block is on its replica group, and nowhere else."""
        self.await_that(lambda: self.healthy(refs), "every block is on exactly its replica group")

    def await_that(self, holds, what: str) -> None:
        pause = threading.Event()
        for _ in range(WAIT_S * 50):
            if holds():
                return
            pause.wait(0.02)
        raise AssertionError(f"not within {WAIT_S} s: {what}")

    def moved_bytes(self) -> int:
        return sum(node.repair.bytes_moved for node in self.nodes)

    def close(self) -> None:
        self.access.close()
        self.crash_all()

    def crash_all(self) -> None:
        for transport in self.transports.values():
            transport.close()
        while self.transports:
            self.transports.popitem()[0].close()


@pytest.fixture
def ring_with():
    rings: list[Ring] = []

    def made(size: int, folder: Path | None = None) -> Ring:
        rings.append(Ring(size, folder))
        return rings[-1]

    yield made
    for ring in rings:
        ring.close()


def content(path: Path) -> bytes | None:
    """What is in a file that others may just be moving away."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def read_all(ring, refs):
    return all(len(ring.access.blocks.get(ref)) == ref.size_bytes for ref in refs)


def test_four_of_five_copies_may_die_one_after_another(ring_with):
    ring = ring_with(9)
    refs = ring.put(40)
    ring.await_health(refs)
    for victim in ring.group(refs[0])[:4]:
        ring.access.members()
        before = ring.moved_bytes() - victim.repair.bytes_moved
        lost = sum(ref.size_bytes for ref in refs if ref in victim._store.refs())
        ring.crash(victim)
        ring.await_health(refs)
        assert ring.moved_bytes() - before == lost, "as much moves as is missing"
    assert len(ring.nodes) == 5
    assert read_all(ring, refs)


def test_two_of_five_copies_may_die_at_the_same_instant(ring_with):
    ring = ring_with(8)
    refs = ring.put(40)
    ring.access.members()
    ring.crash(*ring.group(refs[0])[:2])
    assert read_all(ring, refs)
    ring.await_health(refs)


def test_joiners_get_what_they_own_and_reads_go_on_meanwhile(ring_with):
    ring = ring_with(6)
    refs = ring.put(40)
    ring.await_health(refs)
    joiners = [ring.start() for _ in range(6)]
    assert read_all(ring, refs)
    ring.await_health(refs)
    assert any(node._store.refs() for node in joiners)
    assert read_all(ring, refs)


def test_all_original_members_may_leave_one_by_one(ring_with):
    ring = ring_with(5)
    refs = ring.put(30)
    for node in ring.nodes:
        ring.start()
        ring.access.members()
        ring.await_that(ring.whole, "all know the joiner")
        ring.leave(node)
        assert all(len(ring.holders(ref)) == 5 for ref in refs), "who left had handed over"
    ring.await_health(refs)
    assert read_all(ring, refs)


def test_members_may_leave_before_the_ring_has_settled(ring_with):
    ring = ring_with(5)
    refs = ring.put(30)
    for node in ring.nodes:
        ring.start()
        ring.access.members()
        ring.leave(node)
        assert read_all(ring, refs)
    ring.await_health(refs)


def test_a_leaver_needs_no_repair_after_it(ring_with):
    ring = ring_with(7)
    refs = ring.put(40)
    ring.await_health(refs)
    leaver = ring.group(refs[0])[1]
    ring.access.members()
    ring.leave(leaver)
    assert ring.healthy(refs)


@pytest.mark.slow
def test_blocks_of_an_ended_job_do_not_come_back(ring_with):
    ring = ring_with(6)
    refs = ring.put(20)
    kept = ring.access.blocks.put("other/input/0", b"stays")
    ring.await_health([*refs, kept])
    deaf = ring.group(refs[0])[0]
    for node in ring.nodes:
        if node is not deaf:
            ring.access.peers.request(node.address, EndJob("job", blocks=True), Done)
    assert deaf._store.refs()
    ring.start()
    ring.await_that(lambda: not any(map(ring.holders, refs)), "the job's blocks are gone")
    ring.await_health([kept])
    with pytest.raises(Exception, match="has ended"):
        ring.access.blocks.put("job/input/late", b"late")


def test_a_damaged_file_is_set_aside_and_replaced(ring_with, tmp_path, caplog):
    ring = ring_with(3, tmp_path)
    refs = ring.put(5)
    victim = ring.group(refs[2])[0]
    path = victim._store.path_of(refs[2].name)
    good = path.read_bytes()
    path.write_bytes(b"X" + good[1:])
    with caplog.at_level(logging.ERROR):
        assert ring.access.blocks.get(refs[2]) == good
        ring.await_that(lambda: content(path) == good, "it is repaired")
    assert (path.parent / SET_ASIDE / path.name).read_bytes() == b"X" + good[1:]
    assert "do not match" in caplog.text
    assert str(path) in caplog.text
    assert ring.holders(refs[2]) == ring.nodes


def test_a_restarted_node_has_its_blocks_and_mends_those_that_suffered(ring_with, tmp_path):
    ring = ring_with(4, tmp_path)
    refs = ring.put(8)
    victim = ring.nodes[2]
    paths = [victim._store.path_of(ref.name) for ref in refs]
    contents = [path.read_bytes() for path in paths]
    ring.crash(victim)
    paths[0].write_bytes(contents[0][:-1])
    paths[1].write_bytes(b"X" + contents[1][1:])
    paths[3].unlink()
    inode = paths[2].stat().st_ino
    again = ring.start(2)

    ring.await_that(lambda: [*map(content, paths)] == contents, "all are whole again")
    assert paths[2].stat().st_ino == inode, "what was sound stays where it was"
    assert again.repair.bytes_moved <= sum(len(contents[n]) for n in (0, 1, 3))
    set_aside = {path.name for path in (tmp_path / "2" / SET_ASIDE).iterdir()}
    assert set_aside == {paths[0].name, paths[1].name}
    ring.await_health(refs)


def test_a_ring_that_was_stopped_as_a_whole_has_its_blocks_again(tmp_path):
    first = Ring(3, tmp_path)
    refs = first.put(10)
    first.close()
    second = Ring(3, tmp_path)
    try:
        second.await_health(refs)
        assert read_all(second, refs)
        assert second.moved_bytes() == 0
    finally:
        second.close()
