"""Map outputs in other nodes' files: read where they lie, or asked for, but never mistaken."""

from __future__ import annotations

import os
import random
import threading

import msgspec
import pytest

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import (
    AttemptId,
    BlockRef,
    FilePlace,
    Files,
    Functions,
    GetFiles,
    GetRanges,
    No,
    ReduceWork,
    Request,
    Source,
    StartAttempt,
)
from map_reduce.runtime.links import Links
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.same_machine import FILE_BYTES_MIN, files_of
from map_reduce.runtime.shuffling import Shuffling, answers_about_map_outputs
from map_reduce.storage.disk import DiskBlockStore
from map_reduce.storage.memory import MemoryBlockStore
from map_reduce.storage.tiered import TieredBlockStore
from map_reduce.transport.memory import MemoryNetwork, MemoryTransport

LARGE = 2 * FILE_BYTES_MIN
OFFSET = 5
WAIT_S = 30


def content(name, length):
    return random.Random(name).randbytes(length)


class TwoNodes:
    """One that has map outputs, and one that fetches them."""

    def __init__(self, folder, host, my_host):
        self.folder = folder
        network = MemoryNetwork()
        self.store = TieredBlockStore(
            DiskBlockStore(folder / "blocks", temporary=True), memory_bytes_max=1 << 20
        )
        self.twist = lambda request, reply: reply
        self.asked = []
        self.other, self._mine = MemoryTransport(network), MemoryTransport(network)
        self.address = self.other.listen(Address(host, 0))
        self._answers = answers_about_map_outputs(self.store, self.address)
        self.other.serve(self._answer)
        me = Member(Address(my_host, 99), 1)
        self.links = Links()
        peers = Peers(self._mine, timeout_s=WAIT_S, me=me)
        self._shuffling = Shuffling(
            peers, MemoryBlockStore(), self.links, lambda order: True, lambda: 0.0
        )

    def _answer(self, request: Request):
        self.asked.append(type(request.body))
        return self.twist(request.body, self._answers[type(request.body)](request.body))

    def keep(self, number, length):
        """A source in the middle of a map output."""
        name = f"job/map/{number}"
        data = content(name, OFFSET + length + 3)
        if length >= FILE_BYTES_MIN:
            path = self.folder / f"made-{number}"
            path.write_bytes(data)
            self.store.adopt_file(BlockRef(name, len(data), b""), path)
        else:
            self.store.adopt_bytes(BlockRef(name, len(data), b""), data)
        return Source(self.address, name, OFFSET, length)

    def fetch(self, sources):
        order = StartAttempt(
            attempt=AttemptId("job", "reduce", 0, 0),
            epoch=1,
            master=self.address,
            functions=Functions(b"", None, b""),
            work=ReduceWork.of(0, 1, 1, sources),
            timeout_s=60.0,
            careful=False,
        )
        return self._shuffling.fetch(order, order.work, self._made)

    def _made(self):
        folder = self.folder / "attempt"
        folder.mkdir(exist_ok=True)
        return folder

    def close(self):
        self._shuffling.close()
        self._mine.close()
        self.other.close()
        self.links.close()
        self.store.close()


@pytest.fixture
def nodes_at(tmp_path):
    made = []

    def make(host="127.0.0.1", my_host="127.0.0.1"):
        made.append(TwoNodes(tmp_path, host, my_host))
        return made[-1]

    yield make
    for nodes in made:
        nodes.close()


def expected(sources):
    return [content(source.name, OFFSET + source.length_bytes + 3)[OFFSET:-3] for source in sources]


def contents(found):
    came = []
    for path, at, size in found:
        with open(path, "rb") as file:
            came.append(os.pread(file.fileno(), size, at))
    return came


def test_large_ones_are_read_where_they_lie_and_the_others_are_asked_for(nodes_at):
    nodes = nodes_at()
    sources = [nodes.keep(0, LARGE), nodes.keep(1, 10), nodes.keep(2, LARGE), nodes.keep(3, 0)]
    found = nodes.fetch(sources)
    assert contents(found) == expected(sources)
    assert nodes.asked == [GetFiles, GetRanges]
    theirs = [nodes.store.path_of(sources[n].name).stat().st_ino for n in (0, 2)]
    assert [found[n].path.stat().st_ino for n in (0, 2)] == theirs


def test_what_is_read_stays_when_its_node_deletes_it(nodes_at):
    nodes = nodes_at()
    sources = [nodes.keep(0, LARGE)]
    found = nodes.fetch(sources)
    nodes.store.delete_prefix("job/")
    nodes.store.close()
    assert contents(found) == expected(sources)


@pytest.mark.parametrize("hosts", [("10.0.0.1", "127.0.0.1"), ("127.0.0.1", "10.0.0.2")])
def test_a_node_that_may_be_on_another_machine_is_not_asked_for_files(nodes_at, hosts):
    nodes = nodes_at(*hosts)
    sources = [nodes.keep(0, LARGE)]
    assert contents(nodes.fetch(sources)) == expected(sources)
    assert set(nodes.asked) == {GetRanges}


def another_file(nodes, place):
    path = nodes.folder / "another"
    path.write_bytes(bytes(place.size_bytes))
    return msgspec.structs.replace(place, path=str(path))


def a_link_to_it(nodes, place):
    path = nodes.folder / "symbolic"
    path.symlink_to(place.path)
    return msgspec.structs.replace(place, path=str(path))


@pytest.mark.parametrize(
    "wrong",
    [
        another_file,
        a_link_to_it,
        lambda nodes, place: msgspec.structs.replace(place, path=place.path + ".gone"),
        lambda nodes, place: msgspec.structs.replace(place, path=str(nodes.folder)),
        lambda nodes, place: msgspec.structs.replace(place, path="\0"),
        lambda nodes, place: msgspec.structs.replace(place, device=place.device + 1),
        lambda nodes, place: msgspec.structs.replace(place, size_bytes=place.size_bytes + 1),
        lambda nodes, place: msgspec.structs.replace(place, size_bytes=LARGE),
        lambda nodes, place: FilePlace("", 0, 0, 0),
    ],
)
def test_a_file_that_is_not_what_was_meant_is_not_read(nodes_at, wrong):
    nodes = nodes_at()
    sources = [nodes.keep(0, LARGE)]

    def twist(request, reply):
        return Files((wrong(nodes, reply.files[0]),)) if isinstance(reply, Files) else reply

    nodes.twist = twist
    found = nodes.fetch(sources)
    assert contents(found) == expected(sources)
    assert [path.name for path in (nodes.folder / "attempt").iterdir()] == ["sources"]


def test_a_file_of_another_user_is_not_read(nodes_at, monkeypatch):
    nodes = nodes_at()
    sources = [nodes.keep(0, LARGE)]
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert contents(nodes.fetch(sources)) == expected(sources)
    assert GetRanges in nodes.asked


@pytest.mark.parametrize("reply", [Files(()), No("not here")])
def test_a_node_that_does_not_say_is_asked_for_the_bytes(nodes_at, reply):
    nodes = nodes_at()
    sources = [nodes.keep(0, LARGE), nodes.keep(1, LARGE)]
    nodes.twist = lambda request, right: reply if isinstance(request, GetFiles) else right
    assert contents(nodes.fetch(sources)) == expected(sources)


def test_what_is_in_memory_stays_there(nodes_at):
    nodes = nodes_at()
    source = nodes.keep(0, 10)
    names = GetFiles("job/map/", ("0", "1"))
    assert files_of(nodes.store, nodes.address, names) == Files((FilePlace("", 0, 0, 0),) * 2)
    assert nodes.store.bytes_of(source.name) is not None


def test_who_is_not_on_loopback_names_no_file(nodes_at):
    nodes = nodes_at()
    nodes.keep(0, LARGE)
    names = GetFiles("job/map/", ("0",))
    assert files_of(nodes.store, nodes.address, names).files[0].path
    assert files_of(nodes.store, Address("10.0.0.5", 1), names) == Files(())


def test_no_thread_is_needed_for_what_is_all_in_files(nodes_at):
    nodes = nodes_at()
    before = {thread.name for thread in threading.enumerate()}
    nodes.fetch([nodes.keep(0, LARGE)])
    begun = {thread.name for thread in threading.enumerate()} - before
    assert not [name for name in begun if name.startswith("map-reduce-links")]
