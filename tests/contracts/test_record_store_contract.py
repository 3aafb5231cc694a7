"""What every RecordStore does."""

import threading

import pytest

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages.records import Ballot
from map_reduce.core.registers.acceptor import Held
from map_reduce.storage.disk_records import open_records
from map_reduce.storage.memory_records import MemoryRecordStore

ME = Member(Address("n", 1), 1)


class Opener:
    """Opens the store, and opens it again as after a restart."""

    def __init__(self, kind, folder):
        self.lasts = kind == "disk"
        self._folder = folder

    def open(self):
        return open_records(self._folder) if self.lasts else MemoryRecordStore()


@pytest.fixture(params=["memory", "disk"])
def opener(request, tmp_path):
    return Opener(request.param, tmp_path)


def held(name, number):
    return Held(name, Ballot(0, number, ME))


def test_a_new_store_holds_nothing_and_is_nobody_else(opener, tmp_path):
    store = opener.open()
    assert store.held() == ()
    other = Opener("disk" if opener.lasts else "memory", tmp_path / "other").open()
    assert store.identity != other.identity
    assert 0 <= store.identity < 2**63
    store.close()
    other.close()


def test_a_store_that_lasts_is_the_same_after_a_restart_and_no_other_is(opener):
    store = opener.open()
    for number in range(1, 4):
        store.sync(store.append(held("a", number)))
    store.sync(store.append(held("b", 1)))
    store.close()
    again = opener.open()
    assert (again.identity == store.identity) == opener.lasts
    assert again.incarnation > store.incarnation
    assert set(again.held()) == ({held("a", 3), held("b", 1)} if opener.lasts else set())
    again.close()


def test_threads_append_and_synchronise_at_the_same_time(opener):
    store = opener.open()
    failures = []

    def work(name):
        try:
            for number in range(1, 30):
                store.sync(store.append(held(name, number)))
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"r{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert not failures
    if opener.lasts:
        again = opener.open()
        assert set(again.held()) == {held(f"r{number}", 29) for number in range(6)}
        again.close()
