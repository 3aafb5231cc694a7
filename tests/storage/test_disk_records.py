"""Records on disk: crashes at any byte, damage, full disks, two processes on one folder."""

import subprocess
import sys
import threading

import pytest
from faulty_folder import FaultyFolder
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages.records import Ballot, RecordState, Replica
from map_reduce.core.registers.acceptor import Held
from map_reduce.errors import ConfigError
from map_reduce.storage import disk_records
from map_reduce.storage.disk_records import JOURNAL, SET_ASIDE, DiskRecordStore, open_records
from map_reduce.storage.journal import (
    ENTRIES_AT,
    MAGIC,
    DamagedJournal,
    Header,
    decode,
    encode_entry,
    encode_mark,
    encode_start,
)

ME = Member(Address("n", 1), 1)


def held(name: str, number: int, size: int = 3) -> Held:
    ballot = Ballot(0, number, ME)
    members = ((Replica(Address("n", 1), 2),),)
    return Held(name, ballot, ballot, RecordState(b"v" * size, members, 0, number, (ballot,)))


@pytest.fixture(autouse=True)
def compacts_often(monkeypatch):
    monkeypatch.setattr(disk_records, "GROWN_BYTES_MIN", ENTRIES_AT + 500)


# ------------------------------------------------------------------ crashes


@given(data=st.data())
def test_what_was_synchronised_outlives_any_crash(data):
    def pick(low, high):
        return data.draw(st.integers(low, high))

    folder = FaultyFolder()
    store = DiskRecordStore(folder)
    identity, incarnation = store.identity, store.incarnation
    possible = {name: [Held(name)] for name in "abc"}  # the last one synchronised, and later ones
    for number in range(1, data.draw(st.integers(1, 25))):
        name = data.draw(st.sampled_from("abc"))
        place = store.append(held(name, number, data.draw(st.sampled_from((1, 20, 600)))))
        possible[name].append(next(one for one in store.held() if one.name == name))
        if data.draw(st.booleans()):
            store.sync(place)
            possible = {name: [values[-1]] for name, values in possible.items()}
        if data.draw(st.integers(0, 4)) == 0:
            folder = folder.crash(pick)
            store = DiskRecordStore(folder, now_ns=5)  # a clock that was set back
            assert store.identity == identity
            assert store.incarnation > incarnation
            incarnation = store.incarnation
            found = {one.name: one for one in store.held()}
            for name, values in possible.items():
                assert found.get(name, Held(name)) in values
                possible[name] = [found.get(name, Held(name))]


@given(data=st.data(), room=st.integers(0, 60))
def test_a_full_disk_ends_the_store_and_nothing_that_it_vouched_for_is_lost(data, room):
    def pick(low, high):
        return data.draw(st.integers(low, high))

    folder = FaultyFolder()
    store = DiskRecordStore(folder)
    identity = store.identity
    folder.operations_max = folder.operations + room
    vouched: dict[str, Held] = {}
    latest: dict[str, list[Held]] = {}
    failed = False
    for number in range(1, 30):
        one = held("abc"[number % 3], number)
        latest.setdefault(one.name, []).append(one)
        try:
            store.sync(store.append(one))
        except OSError:
            failed = True
        else:
            assert not failed, "it goes on after a failure"
            vouched[one.name] = one
            latest[one.name] = [one]
    assert failed
    store = DiskRecordStore(folder.crash(pick))
    assert store.identity == identity
    found = {one.name: one for one in store.held()}
    for name in vouched:
        assert found[name] in latest[name]


def test_a_disk_that_failed_once_is_not_trusted_again():
    folder = FaultyFolder()
    store = DiskRecordStore(folder)
    place = store.append(held("a", 1))
    folder.operations_max = folder.operations
    with pytest.raises(OSError, match="No space left"):
        store.sync(place)
    folder.operations_max = float("inf")
    for call in (lambda: store.sync(place), lambda: store.append(held("a", 2))):
        with pytest.raises(OSError, match="No space left"):
            call()


def test_a_crash_at_every_byte_of_a_write_leaves_what_was_before():
    header = Header(7, 8)
    first = encode_start(header) + encode_entry(held("a", 1)) + encode_entry(held("b", 2))
    last = encode_entry(held("a", 3))
    mark = encode_mark(len(first))
    whole = first[:4096] + mark + first[4096 + len(mark) :] + last
    for size in range(len(first), len(whole)):
        journal = decode(whole[:size])
        assert journal == (header, (held("a", 1), held("b", 2)), size - len(first))
    assert decode(whole) == (header, (held("b", 2), held("a", 3)), 0)
    for size in [*range(0, len(first), 97), len(first) - 1]:
        with pytest.raises(DamagedJournal):
            decode(whole[:size])


# ------------------------------------------------------------------ damage


@given(data=st.data())
def test_flipped_bits_are_noticed_or_change_nothing(data):
    folder = FaultyFolder()
    store = DiskRecordStore(folder)
    for number in range(1, 5):
        place = store.append(held("abc"[number % 3], number))
    store.sync(place)
    good = {one.name: one for one in store.held()}
    content = bytearray(folder.read(JOURNAL))
    interesting = st.one_of(
        st.integers(0, 120), st.integers(4090, 4115), st.integers(ENTRIES_AT, len(content) - 1)
    )
    at = data.draw(st.one_of(interesting, st.integers(0, len(content) - 1)))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    damaged = FaultyFolder({JOURNAL: bytes(content)})
    try:
        reopened = DiskRecordStore(damaged)
    except ConfigError:
        assert len(MAGIC) <= at < len(MAGIC) + 2  # another version, as far as anybody can tell
        return
    if reopened.identity == store.identity:
        assert {one.name: one for one in reopened.held()} == good
    else:
        assert reopened.held() == ()
        assert damaged.read(SET_ASIDE) == bytes(content)


def test_a_byte_in_the_middle_makes_another_replica_with_nothing(tmp_path, caplog):
    store = open_records(tmp_path)
    store.sync(store.append(held("a", 1)))
    store.close()
    content = bytearray((tmp_path / JOURNAL).read_bytes())
    content[ENTRIES_AT + 20] ^= 1
    (tmp_path / JOURNAL).write_bytes(content)
    again = open_records(tmp_path)
    assert again.identity != store.identity
    assert again.held() == ()
    again.sync(again.append(held("b", 1)))
    again.close()
    assert "are damaged" in caplog.text
    assert (tmp_path / SET_ASIDE).read_bytes() == content
    once_more = open_records(tmp_path)
    assert (once_more.identity, once_more.held()) == (again.identity, (held("b", 1),))
    once_more.close()


def test_a_lost_journal_is_a_lost_identity(tmp_path):
    store = open_records(tmp_path)
    store.close()
    (tmp_path / JOURNAL).unlink()
    again = open_records(tmp_path)
    assert again.identity != store.identity
    again.close()


def test_a_journal_of_another_version_is_left_alone(tmp_path):
    (tmp_path / JOURNAL).write_bytes(MAGIC + b"2\n" + bytes(ENTRIES_AT))
    with pytest.raises(ConfigError, match="another version of map-reduce"):
        open_records(tmp_path)
    assert (tmp_path / JOURNAL).read_bytes().startswith(MAGIC + b"2\n")


# ------------------------------------------------------------------ owners


def test_a_folder_has_one_owner_at_a_time(tmp_path):
    store = open_records(tmp_path)
    with pytest.raises(ConfigError, match="in use by another node"):
        open_records(tmp_path)
    store.close()
    open_records(tmp_path).close()


def test_a_folder_is_free_once_its_owner_was_killed(tmp_path):
    program = (
        "import sys; from pathlib import Path; from map_reduce.storage.disk_records import "
        "open_records; s = open_records(Path(sys.argv[1])); print(s.identity, flush=True); "
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        identity = int(process.stdout.readline())
        with pytest.raises(ConfigError, match="MR_DATA_FOLDER"):
            open_records(tmp_path)
        process.kill()
        process.wait()
    store = open_records(tmp_path)
    assert store.identity == identity
    store.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=f"cannot keep records in {tmp_path / 'file'}"):
        open_records(tmp_path / "file")


# ------------------------------------------------------------------ group commit, size


class SlowFolder(FaultyFolder):
    """Its first synchronisation of a file after ``hold`` waits until it is let go."""

    def __init__(self):
        super().__init__()
        self.syncs = 0
        self.held_up = threading.Event()
        self.go_on = threading.Event()

    def create(self, name):
        file = super().create(name)
        really = file.sync

        def sync():
            self.syncs += 1
            if self.syncs == 2:  # the first is of the empty journal
                self.held_up.set()
                assert self.go_on.wait(30)
            really()

        file.sync = sync
        return file


def test_many_wait_for_one_synchronisation():
    folder = SlowFolder()
    store = DiskRecordStore(folder)
    threads = [threading.Thread(target=store.sync, args=(store.append(held("a", 1)),))]
    threads[0].start()
    assert folder.held_up.wait(30)
    for number in range(2, 8):
        place = store.append(held("a", number, 1))
        threads.append(threading.Thread(target=store.sync, args=(place,)))
        threads[-1].start()
    folder.go_on.set()
    for thread in threads:
        thread.join(30)
    assert folder.syncs <= 4  # the one held up, one for all others, perhaps one that came between
    assert DiskRecordStore(folder.crash(lambda low, high: low)).held() == (held("a", 7, 1),)


def test_a_journal_does_not_grow_for_ever(tmp_path):
    store = open_records(tmp_path)
    sizes = []
    for number in range(1, 300):
        store.sync(store.append(held("abc"[number % 3], number, 50)))
        sizes.append((tmp_path / JOURNAL).stat().st_size)
    assert max(sizes) < ENTRIES_AT + 2000
    expected = store.held()
    store.close()
    again = open_records(tmp_path)
    assert again.held() == expected
    again.close()
