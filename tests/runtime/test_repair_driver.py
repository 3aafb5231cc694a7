"""The driver of repair: when it looks, how fast it moves, and what it does when things go wrong."""

from __future__ import annotations

import itertools
import threading

import pytest

from map_reduce.core.blocks.copying import fetch
from map_reduce.core.digests import PIECE_BYTES, digest_of
from map_reduce.core.identifiers import Address, Member, distance, identifier_of
from map_reduce.core.messages import (
    BlockRef,
    Busy,
    CompareArc,
    DamagedBlock,
    Done,
    EndedJob,
    EndJob,
    FindSuccessor,
    GetPiece,
    MissingBlocks,
    No,
    NoBlock,
    Piece,
    PieceStored,
    PutPiece,
    Route,
    WhichMissing,
)
from map_reduce.errors import BlockMissingError, MapReduceError, Unreachable
from map_reduce.runtime.pace import Pace
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.repair import Repair, RepairPace
from map_reduce.storage.memory import MemoryBlockStore

MEMBERS = sorted(
    (Member(Address("n", port), 1) for port in range(1, 4)), key=lambda m: m.identifier
)
ME, SECOND, THIRD = MEMBERS
PACE = RepairPace(settle_s=1.0, interval_s=100.0, bytes_per_s_max=1e12, handover_s_max=5.0)


def block(name, content=b"hello"):
    return BlockRef(name, len(content), digest_of(content))


def owner_of(name):
    place = identifier_of(name)
    return min(MEMBERS, key=lambda member: distance(place, member.identifier))


def name_owned_by(member):
    names = map("a/input/{}".format, itertools.count())
    return next(name for name in names if owner_of(name) == member)


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def now_s(self):
        return self.seconds


class Node:
    """What of a node repair needs."""

    def __init__(self, net, me, pace):
        self.net, self.me = net, me
        self.store = MemoryBlockStore()
        peers = Peers(net, timeout_s=1, me=me, handler=lambda request: self.answer(request.body))
        self.ended = []
        self.repair = Repair(
            peers=peers,
            view=lambda: net.views[me],
            store=self.store,
            clock=net.clock,
            replicas=5,
            pace=pace,
            end_job=self.end_job,
        )

    def end_job(self, job_id, blocks):
        self.ended.append((job_id, blocks))
        self.store.delete_prefix(f"{job_id}/" if blocks else f"{job_id}/input/")

    def put(self, name, content=b"hello"):
        ref = block(name, content)
        self.store.put_piece(ref, 0, content)
        return ref

    def answer(self, body):
        repair = self.repair
        match body:
            case CompareArc() | WhichMissing() | DamagedBlock():
                return repair.handle(body)
            case EndJob(job_id, blocks):
                repair.ended(EndedJob(job_id, blocks))
                return Done()
            case FindSuccessor(target):
                place = int.from_bytes(target, "big")
                line = sorted(self.net.alive, key=lambda m: distance(place, m.identifier))
                return Route(line[0] == self.me, tuple(line))
            case PutPiece(ref, offset, data):
                try:
                    return repair.refuses(ref) or PieceStored(
                        self.store.put_piece(ref, offset, data)
                    )
                except MapReduceError as error:
                    return No(str(error))
            case GetPiece(name, offset, length_bytes):
                try:
                    return Piece(*self.store.read(name, offset, length_bytes))
                except BlockMissingError:
                    return NoBlock(name)


class Net:
    """A Transport between three nodes on a ring; all that was asked is kept."""

    def __init__(self, pace=PACE):
        self.clock = Clock()
        self.alive = list(MEMBERS)
        self.views = {}
        self.show()
        self.nodes = {member.address: Node(self, member, pace) for member in MEMBERS}
        self.asked = []
        self.replies = {}
        self.delay_s = 0.0

    def show(self):
        """Everybody sees who is alive."""
        for at, member in enumerate(self.alive):
            others = (*self.alive[at + 1 :], *self.alive[:at])
            self.views[member] = (self.alive[at - 1], others or (member,))

    def __getitem__(self, member):
        return self.nodes[member.address]

    def call(self, peer, request, timeout_s):
        self.asked.append((peer, request.body))
        self.clock.seconds += self.delay_s
        if all(member.address != peer for member in self.alive):
            raise Unreachable(f"{peer} does not answer")
        if type(request.body) in self.replies:
            return self.replies[type(request.body)]
        return self.nodes[peer].answer(request.body)

    def count(self, kind):
        return sum(isinstance(body, kind) for _, body in self.asked)

    def look(self, member=ME):
        """Have a node look now."""
        self.clock.seconds += PACE.interval_s + 1
        self[member].repair.step()


@pytest.fixture
def net():
    return Net()


def test_a_look_brings_all_copies_in_order(net):
    mine = net[ME].put("a/input/0")
    theirs = [net[THIRD].put(f"b/input/{number}", bytes(number)) for number in range(20)]
    for _ in range(2):
        for member in MEMBERS:
            net.look(member)
    for member in MEMBERS:
        assert set(net[member].store.refs()) == {mine, *theirs}
        for ref in theirs:
            assert net[member].store.read(ref.name, 0, 100)[0] == bytes(ref.size_bytes)
    moved = sum(net[member].repair.bytes_moved for member in MEMBERS)
    assert moved == 2 * sum(ref.size_bytes for ref in (mine, *theirs))


def test_large_blocks_travel_in_pieces(net):
    content = bytes(range(256)) * (2 * PIECE_BYTES // 256) + b"end"
    ref = net[SECOND].put("a/input/0", content)
    for member in MEMBERS:
        net.look(member)
    net.look(SECOND)
    assert all(net[member].store.refs() == (ref,) for member in MEMBERS)
    assert net[ME].store.read(ref.name, 0, len(content))[0] == content


def test_it_waits_until_the_neighbours_have_settled(net):
    net.look()
    net.asked.clear()
    net.views[ME] = (SECOND, (SECOND, THIRD))
    net[ME].repair.step()
    net.clock.seconds += 0.9
    net[ME].repair.step()
    assert net.asked == []
    net.clock.seconds += 0.2
    net[ME].repair.step()
    assert net.count(CompareArc) == 2


def test_neighbours_that_never_settle_are_not_waited_for_for_ever(net):
    net.look()
    net.asked.clear()
    for number in range(100):
        net.views[ME] = (MEMBERS[1 + number % 2], net.views[ME][1])
        net.clock.seconds += 0.5
        net[ME].repair.step()
        if net.asked:
            break
    assert 18 <= number <= 22


def test_a_quiet_ring_is_looked_at_now_and_then(net):
    net.look()
    net.asked.clear()
    for _ in range(99):
        net.clock.seconds += 1
        net[ME].repair.step()
    assert net.asked == []
    net.clock.seconds += 2
    net[ME].repair.step()
    assert net.count(CompareArc) == 2


def test_who_is_asked_what_it_lacks_looks_soon(net):
    net.look()
    net.asked.clear()
    net[ME].answer(WhichMissing((block("a/input/0"),)))
    net.clock.seconds += 1.5
    net[ME].repair.step()
    assert net.count(CompareArc) == 2


def test_a_silent_node_is_asked_again_later_and_later(net):
    net.alive.remove(SECOND)
    looks = []
    for _ in range(300):
        net.clock.seconds += 1
        net[ME].repair.step()
        if net.asked:
            looks.append(net.clock.seconds)
        net.asked.clear()
    gaps = [later - earlier for earlier, later in itertools.pairwise(looks)]
    assert gaps[:3] == sorted(gaps[:3])
    assert gaps[0] <= 3
    assert gaps[-1] >= 64


def test_a_look_that_fails_is_not_the_last(net, monkeypatch):
    def fail(ask):
        raise OSError("a defect")

    monkeypatch.setattr(net[ME].repair, "_ask", fail)
    with pytest.raises(OSError, match="defect"):
        net.look()
    monkeypatch.undo()
    net.asked.clear()
    net.look()
    assert net.count(CompareArc) == 2


def test_a_node_without_a_place_asks_nobody(net):
    net.views[ME] = (None, ())
    net.look()
    assert net.asked == []


def test_a_source_that_does_not_answer_is_asked_once(net):
    for number in range(50):
        net[SECOND].put(f"a/input/{number}")
    net.replies[GetPiece] = None
    original = net.call

    def call(peer, request, timeout_s):
        if isinstance(request.body, GetPiece):
            net.asked.append((peer, request.body))
            raise Unreachable("silent")
        return original(peer, request, timeout_s)

    net.call = call
    net.look()
    assert net.count(GetPiece) == 1


def test_a_peer_that_takes_nothing_is_left_alone_until_later(net):
    for number in range(500):
        net[ME].put(f"a/input/{number}")
    net.replies[PutPiece] = No("the disk is full")
    net.look()
    assert net.count(PutPiece) <= 2


def test_a_damaged_source_is_told_and_passed_over(net):
    ref = net[SECOND].put("a/input/0")
    net[THIRD].put("a/input/0")
    net[SECOND].store._whole[ref.name] = b"hallo"
    net[ME].repair._perform(fetch(ref, [SECOND, THIRD], set()))
    assert net[ME].store.read(ref.name, 0, 9)[0] == b"hello"
    net.look(SECOND)
    assert net[SECOND].store.read(ref.name, 0, 9)[0] == b"hello"


@pytest.mark.parametrize("other", [b"hell", b"hello, and more"])
def test_a_source_with_another_length_is_passed_over(net, other):
    ref = net[THIRD].put("a/input/0")
    net[SECOND].put("a/input/0", other)
    net[ME].repair._perform(fetch(ref, [SECOND, THIRD], set()))
    assert net[ME].store.read(ref.name, 0, 99)[0] == b"hello"
    with pytest.raises(BlockMissingError, match=str(SECOND)):
        net[ME].repair._perform(fetch(block("a/input/1"), [SECOND], set()))


def test_an_own_damaged_copy_is_noticed_when_it_is_sent(net):
    ref = net[ME].put(name_owned_by(ME))
    net[THIRD].put(ref.name)
    net[ME].store._whole[ref.name] = b"hallo"
    for _ in range(2):
        for member in MEMBERS:
            net.look(member)
    for member in MEMBERS:
        assert net[member].store.read(ref.name, 0, 9)[0] == b"hello"


def test_what_a_store_held_at_the_start_is_checked():
    net = Net()
    ref = net[ME].put("a/input/0")
    net[SECOND].put("a/input/0")
    net[ME].store._whole[ref.name] = b"hallo"
    old = net[ME]
    again = Node.__new__(Node)
    again.__dict__.update(old.__dict__)
    again.repair = Repair(
        peers=Peers(net, timeout_s=1, me=ME, handler=lambda request: again.answer(request.body)),
        view=lambda: net.views[ME],
        store=old.store,
        clock=net.clock,
        replicas=5,
        pace=PACE,
        end_job=old.end_job,
    )
    again.repair.step()
    assert old.store.read(ref.name, 0, 9)[0] == b"hello"


def test_a_report_of_damage_that_is_none_changes_nothing(net):
    ref = net[ME].put("a/input/0")
    assert net[ME].answer(DamagedBlock(ref)) == Done()
    assert net[ME].answer(DamagedBlock(block("a/input/1"))) == Done()
    net[ME].repair.step()
    assert net[ME].store.refs() == (ref,)


def test_who_missed_the_end_of_a_job_is_told(net):
    net[SECOND].put("a/input/0")
    net[SECOND].put("a/spec")
    net[ME].answer(EndJob("a", True))
    for member in MEMBERS:
        net.look(member)
    assert ("a", True) in net[SECOND].ended
    assert not any(net[member].store.refs() for member in MEMBERS)
    assert net[ME].answer(PutPiece(block("a/spec"), 0, b"hello")) == net[ME].repair.refuses(
        block("a/spec")
    )


def test_who_missed_the_end_of_a_job_and_would_send_is_told(net):
    net[ME].put(name_owned_by(ME))
    net[SECOND].answer(EndJob("a", False))
    net.look()
    assert net[ME].ended == [("a", False)]
    assert net.count(PutPiece) == 0


def test_a_leaver_hands_over_and_takes_no_part_any_more(net):
    refs = {net[ME].put(f"a/input/{number}") for number in range(10)}
    net[ME].repair.hand_over()
    assert set(net[SECOND].store.refs()) == set(net[THIRD].store.refs()) == refs
    assert isinstance(net[ME].answer(WhichMissing(tuple(refs))), No)
    assert isinstance(net[ME].answer(CompareArc(bytes(20), bytes(20), b"")), No)


def test_who_is_alone_leaves_at_once(net):
    net[ME].put("a/input/0")
    net.views[ME] = (ME, (ME,))
    net[ME].repair.hand_over()
    assert net.asked == []


def test_where_all_are_leaving_nobody_waits(net):
    for member in MEMBERS:
        net[member].put("a/input/0")
        net[member].repair._keeper.leaving = True
    net[ME].repair.hand_over()
    assert net.count(WhichMissing) <= 4
    assert net.count(PutPiece) == 0


def test_handing_over_ends_in_time(net):
    for number in range(100):
        net[ME].put(f"a/input/{number}")
    net.delay_s = 0.5
    net[ME].repair.hand_over()
    assert net.clock.seconds <= PACE.handover_s_max + 2 * net.delay_s


def test_a_peer_with_nonsense_for_an_answer_harms_nobody(net):
    ref = net[ME].put("a/input/0")
    net.replies[CompareArc] = Busy()
    net.replies[WhichMissing] = MissingBlocks((-1, 7), (), (), ())
    net.look()
    net[ME].repair.hand_over()
    assert net[ME].store.refs() == (ref,)


class StoppedEvent(threading.Event):
    """Notes how long it is waited for, and does not wait."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def wait(self, timeout=None):
        self.clock.seconds += timeout or 0.0
        return self.is_set()


def test_the_pace_bounds_bytes_per_second():
    clock = Clock()
    pace, stop = Pace(1000, clock), StoppedEvent(clock)
    for _ in range(11):
        pace.wait(500, stop)
    assert clock.seconds == pytest.approx(5.0)
    clock.seconds += 100  # time that was not used is not saved up
    for _ in range(3):
        pace.wait(1000, stop)
    assert clock.seconds == pytest.approx(107.0)
    stop.set()
    with pytest.raises(Unreachable, match="stops"):
        pace.wait(1, stop)


def test_a_look_keeps_the_pace(net, monkeypatch):
    waited = []
    monkeypatch.setattr(Pace, "wait", lambda self, size_bytes, stop: waited.append(size_bytes))
    net[ME].put("a/input/0", b"12345")
    net[SECOND].put("b/input/0", b"123")
    for member in MEMBERS:
        net.look(member)
    assert sorted(waited) == [3, 3, 5, 5]


def test_a_step_that_is_stopped_ends_without_a_word(net, caplog):
    for number in range(5):
        net[ME].put(f"a/input/{number}")
    net[ME].answer(DamagedBlock(block("a/input/0")))
    net[ME].repair.stop()
    net.look()
    assert net.count(PutPiece) == 0
    assert not caplog.records


class Remembered:
    """EndedJobs of two lives."""

    def __init__(self):
        self.added = []

    def known(self):
        return (EndedJob("old", True), 60.0), (EndedJob("ancient", True), 25 * 3600.0)

    def add(self, job):
        self.added.append(job)
        raise OSError("no space left on device")


def test_ended_jobs_are_remembered_and_written_down_once(net):
    remembered = Remembered()
    repair = Repair(
        peers=Peers(net, timeout_s=1, me=ME, handler=lambda request: None),
        view=lambda: net.views[ME],
        store=net[ME].store,
        clock=net.clock,
        replicas=5,
        pace=PACE,
        end_job=net[ME].end_job,
        ended_jobs=remembered,
    )
    assert repair.refuses(block("old/spec")) is not None
    assert repair.refuses(block("ancient/spec")) is None
    for blocks in (False, False, True, True):
        repair.ended(EndedJob("new", blocks))
    assert remembered.added == [EndedJob("new", False), EndedJob("new", True)]
    assert len(net[ME].ended) == 4, "that it cannot be written down stops nothing"


@pytest.mark.parametrize("puts", [1, 3, 1000])
def test_what_comes_during_the_hand_over_is_handed_over_or_refused(net, puts):
    for member in MEMBERS:
        net[member].put("a/input/first")
    original, kept, numbers = net.call, [], iter(range(puts))

    def call(peer, request, timeout_s):
        number = next(numbers, None)
        if number is not None:
            ref = block(f"a/input/{number}")
            if isinstance(net[ME].answer(PutPiece(ref, 0, b"hello")), PieceStored):
                kept.append(ref)
        return original(peer, request, timeout_s)

    net.call = call
    net[ME].repair.hand_over()
    assert isinstance(net[ME].answer(PutPiece(block("a/input/last"), 0, b"hello")), No)
    assert kept
    if puts < 1000:  # else there is no end of it, and time or patience is over at last
        assert set(kept) <= set(net[SECOND].store.refs()) & set(net[THIRD].store.refs())
