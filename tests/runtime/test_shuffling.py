"""Map outputs on their way: what is under way at a time, what is lost, and who waits no longer."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from contextlib import ExitStack

import pytest

from map_reduce.core.fetching.pace import (
    BYTES_MIN,
    SLOW_S,
    TIMEOUT_LARGE_S,
    TIMEOUT_S,
    UNDER_WAY_MAX,
)
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import (
    AttemptId,
    BlockRef,
    Functions,
    GetRanges,
    NoBlock,
    Ranges,
    ReduceWork,
    Request,
    Source,
    StartAttempt,
)
from map_reduce.errors import (
    NotListening,
    ProtocolError,
    Refused,
    Unreachable,
)
from map_reduce.runtime.links import THREADS_MAX, Links
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.shuffling import (
    LostSource,
    Shuffling,
    ranges_of,
)
from map_reduce.storage.memory import MemoryBlockStore
from map_reduce.transport.memory import MemoryNetwork, MemoryTransport

ME = Member(Address("me", 1), 1)
WAIT_S = 30
JOB = "job"
LARGE = 4 * BYTES_MIN


def content(name, length):
    return random.Random(name).randbytes(length)


class Peer:
    """A node that has map outputs. It answers each request at once, or, with ``held``, when the
    test lets it; ``twist`` may say otherwise."""

    def __init__(self, network, name, *, held=False, twist=None):
        self.store = MemoryBlockStore()
        self.transport = MemoryTransport(network)
        self.address = self.transport.listen(Address(name, 0))
        self.asked = []
        self.arrived = threading.Semaphore(0)
        self.may_answer = threading.Semaphore(0)
        self.under_way = self.under_way_max = 0
        self._lock = threading.Lock()
        self._held = held
        self._twist = twist
        self.transport.serve(self._answer)

    def keep(self, name, length):
        data = content(name, length)
        self.store.adopt_bytes(BlockRef(name, length, b""), data)
        return Source(self.address, name, 0, length)

    def _answer(self, request: Request):
        with self._lock:
            self.asked.append(request.body)
            self.under_way += 1
            self.under_way_max = max(self.under_way_max, self.under_way)
        self.arrived.release()
        if self._held:
            self.may_answer.acquire(timeout=WAIT_S)
        with self._lock:
            self.under_way -= 1
        reply = ranges_of(self.store, request.body)
        return reply if self._twist is None else self._twist(request.body, reply)

    def await_requests(self, count):
        for _ in range(count):
            assert self.arrived.acquire(timeout=WAIT_S)

    def answer(self, count):
        for _ in range(count):
            self.may_answer.release()


class World:
    """A node that fetches, and its peers."""

    def __init__(self, closing, folder):
        self.network = MemoryNetwork()
        self.store = MemoryBlockStore()
        self._closing = closing
        self.folder = folder
        self.transport = MemoryTransport(self.network)
        self.links = Links()
        closing.callback(self.links.close)  # after the transport
        closing.callback(self.transport.close)
        self.unwanted = set()
        self.seconds = 0.0  # however busy the machine is, answers are as quick as the test says
        self.shuffling = self.shuffling_over(self.transport)
        closing.callback(self.shuffling.close)

    def shuffling_over(self, transport):
        peers = Peers(transport, timeout_s=1, me=ME)
        return Shuffling(peers, self.store, self.links, self._wants, now_s=lambda: self.seconds)

    def _wants(self, order):
        return order.attempt not in self.unwanted

    def peer(self, name, **how):
        """It is known to be quick, so several requests to it may be under way."""
        made = Peer(self.network, name, **how)
        self.links.took(made.address, BYTES_MIN // 2, 0.0001)
        self._closing.callback(made.transport.close)
        self._closing.callback(made.answer, 1000)
        return made

    def fetch(self, sources, task=0, shuffling=None):
        """What the reducer reads, source by source."""
        order = order_of(sources, task)
        found = (shuffling or self.shuffling).fetch(order, order.work, lambda: self._made(task))
        return [p.read_bytes()[offset : offset + length] for p, offset, length in found]

    def _made(self, task):
        folder = self.folder / str(task)
        folder.mkdir(exist_ok=True)
        return folder

    def await_waiting(self, address, calls):
        """Until so many calls wait in the peer's lane for others to end."""
        pause = threading.Event()
        while self.links.waiting(address) < calls:
            assert not pause.wait(0.001)

    def begin(self, sources, task=0):
        return Fetch(self, sources, task)


class Fetch:
    """A fetch in a thread of its own."""

    def __init__(self, world, sources, task):
        self._world, self._sources, self._task = world, sources, task
        self._came = self._error = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        try:
            self._came = self._world.fetch(self._sources, self._task)
        except Exception as error:  # noqa: BLE001  # the test's to look at
            self._error = error

    def end(self):
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        return self._came


class Scripted:
    """A Transport whose answers are the test's."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.asked = []  # how many bytes, and with what deadline

    def call(self, peer, request, timeout_s):
        wanted = sum(row[2] for row in request.body.rows)
        self.asked.append((wanted, timeout_s))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(request.body)


class Silence:
    """A Transport of which nobody hears until the test says that the time is over."""

    def __init__(self):
        self.asked = []
        self.arrived = threading.Semaphore(0)
        self.over = defaultdict(lambda: threading.Semaphore(0))

    def call(self, peer, request, timeout_s):
        self.asked.append(peer)
        over = self.over[peer]
        self.arrived.release()
        over.acquire(timeout=WAIT_S)
        raise Unreachable("no reply")


def order_of(sources, task=0):
    return StartAttempt(
        attempt=AttemptId(JOB, "reduce", task, 0),
        epoch=1,
        master=ME.address,
        functions=Functions(b"", None, b""),
        work=ReduceWork.of(0, 1, 1, sources),
        timeout_s=60.0,
        careful=False,
    )


@pytest.fixture
def world(tmp_path):
    with ExitStack() as closing:
        yield World(closing, tmp_path)


# ---------------------------------------------------------------------- what comes


def test_sources_of_many_nodes_come_in_the_order_of_the_work(world):
    peers = [world.peer(name) for name in "abc"]
    lengths = (5, 0, LARGE, 3 * LARGE + 7, 1, 70_000)
    sources = []
    for number, length in enumerate(lengths):
        for peer in peers:
            sources.append(peer.keep(f"{JOB}/map/{number}.{peer.address.host}", length))
        name = f"{JOB}/map/{number}.here"
        world.store.adopt_bytes(BlockRef(name, length, b""), content(name, length))
        sources.append(Source(ME.address, name, 0, length))
    came = world.fetch(sources)
    assert came == [content(source.name, source.length_bytes) for source in sources]


def test_a_thousand_small_sources_take_one_request_of_each_node(world):
    peers = [world.peer(name) for name in "ab"]
    sources = [peers[n % 2].keep(f"{JOB}/map/{n}", 10) for n in range(1000)]
    assert len(b"".join(world.fetch(sources))) == 10_000
    assert [len(peer.asked) for peer in peers] == [1, 1]


def test_what_is_all_here_is_asked_of_nobody_and_needs_no_file(world, tmp_path):
    assert world.fetch([]) == []
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- what is under way


def test_requests_of_all_nodes_are_under_way_side_by_side_up_to_the_bound_of_each(world):
    peers = [world.peer(name, held=True) for name in "ab"]
    large = 10 * BYTES_MIN
    fetches = [
        world.begin(
            [peer.keep(f"{JOB}/map/{task}.{peer.address.host}", large) for peer in peers], task
        )
        for task in range(2)
    ]
    for peer in peers:
        peer.await_requests(UNDER_WAY_MAX)
        assert not peer.arrived.acquire(blocking=False)  # whoever wants more
    for peer in peers:
        peer.answer(1000)
    for fetch in fetches:
        assert [len(data) for data in fetch.end()] == [large, large]
    assert [peer.under_way_max for peer in peers] == [UNDER_WAY_MAX, UNDER_WAY_MAX]


def test_there_are_no_more_requests_under_way_than_threads(world):
    peers = [world.peer(f"p{n}", held=True) for n in range(2 * THREADS_MAX // UNDER_WAY_MAX)]
    fetch = world.begin([p.keep(f"{JOB}/map/{p.address.host}", 5 * BYTES_MIN) for p in peers])
    for _ in range(THREADS_MAX):
        assert any(peer.arrived.acquire(timeout=0.01) for _ in range(1000) for peer in peers)
    assert sum(peer.under_way for peer in peers) == THREADS_MAX
    assert not any(peer.arrived.acquire(blocking=False) for peer in peers)
    for peer in peers:
        peer.answer(1000)
    fetch.end()


def test_an_attempt_that_wants_little_does_not_wait_for_one_that_wants_much(world):
    peer = world.peer("a", held=True)
    much = world.begin([peer.keep(f"{JOB}/map/0", 40 * BYTES_MIN)], 0)
    peer.await_requests(UNDER_WAY_MAX)
    little = world.begin([peer.keep(f"{JOB}/map/1", 10)], 1)
    world.await_waiting(peer.address, 1)
    peer.answer(1)
    peer.await_requests(1)
    assert peer.asked[UNDER_WAY_MAX].rows[0][0] == "1"
    peer.answer(1000)
    assert len(little.end()[0]) == 10
    assert len(much.end()[0]) == 40 * BYTES_MIN


# ---------------------------------------------------------------------- what is lost


def test_exactly_the_source_that_is_not_there_is_lost(world):
    peer, other = world.peer("a"), world.peer("b")
    sources = [peer.keep(f"{JOB}/map/{n}", 10) for n in range(9)] + [other.keep(f"{JOB}/map/9", 10)]
    peer.store.discard(f"{JOB}/map/5")
    with pytest.raises(LostSource, match="does not have block job/map/5") as caught:
        world.fetch(sources)
    assert caught.value.source == sources[5]


def test_a_source_that_ends_too_early_is_lost(world):
    source = world.peer("a").keep(f"{JOB}/map/0", 10)
    longer = Source(source.node, source.name, 4, 7)
    with pytest.raises(LostSource) as caught:
        world.fetch([longer])
    assert caught.value.source == longer


def test_what_this_node_should_have_itself_and_has_not_is_lost(world):
    world.store.adopt_bytes(BlockRef(f"{JOB}/map/0", 3, b""), b"abc")
    for source in (Source(ME.address, f"{JOB}/map/0", 1, 3), Source(ME.address, "gone", 0, 1)):
        with pytest.raises(LostSource) as caught:
            world.fetch([source])
        assert caught.value.source == source


@pytest.mark.parametrize(
    "twist",
    [
        lambda request, reply: Ranges(reply.data[:-1]),
        lambda request, reply: Ranges(reply.data + b"x"),
        lambda request, reply: Ranges(b""),
        lambda request, reply: NoBlock("job/map/another"),
    ],
)
def test_a_node_that_sends_other_than_it_was_asked_for_is_named(world, twist):
    source = world.peer("a", twist=twist).keep(f"{JOB}/map/0", 10)
    with pytest.raises(LostSource, match=r"a:\d") as caught:
        world.fetch([source])
    assert caught.value.source == source
    assert isinstance(caught.value.__cause__, ProtocolError)


def test_a_peer_that_dies_in_the_middle_loses_its_sources_alone(world):
    dying, living = world.peer("a", held=True), world.peer("b")
    sources = [
        peer.keep(f"{JOB}/map/{peer.address.host}", 8 * BYTES_MIN) for peer in (dying, living)
    ]
    fetch = world.begin(sources)
    dying.await_requests(UNDER_WAY_MAX)
    dying.answer(1)
    dying.await_requests(1)
    closer = threading.Thread(target=dying.transport.close)
    closer.start()
    with pytest.raises(LostSource) as caught:
        fetch.end()
    dying.answer(1000)
    closer.join(WAIT_S)
    assert caught.value.source == sources[0]


def test_a_request_without_an_answer_is_repeated_smaller_and_then_given_up(world):
    silent = Scripted(Unreachable("no reply"))
    source = Source(Address("a", 1), f"{JOB}/map/0", 0, LARGE)
    world.links.took(source.node, LARGE // 2, 0.0001)
    with pytest.raises(LostSource) as caught:
        world.fetch([source], shuffling=world.shuffling_over(silent))
    assert caught.value.source == source
    assert silent.asked == [(LARGE, TIMEOUT_LARGE_S), (BYTES_MIN, TIMEOUT_S)]


def test_a_silent_node_is_waited_for_once_by_all_that_wait_for_it(world):
    silence = Silence()
    world.shuffling = world.shuffling_over(silence)
    gone, other = Address("gone", 1), Address("other", 1)
    sources = [Source(gone, f"{JOB}/map/{task}", 0, 10) for task in range(4)]
    fetches = [world.begin([sources[0]])]
    assert silence.arrived.acquire(timeout=WAIT_S)
    fetches += [world.begin([sources[task]], task) for task in (1, 2)]
    world.await_waiting(gone, 2)
    elsewhere = world.begin([Source(other, f"{JOB}/map/9", 0, 10)], 9)
    assert silence.arrived.acquire(timeout=WAIT_S)
    world.seconds = 1.0
    later = world.begin([sources[3]], 3)
    world.await_waiting(gone, 3)
    silence.over[gone].release()
    for fetch, source in zip(fetches, sources, strict=False):
        with pytest.raises(LostSource, match="no reply") as lost:
            fetch.end()
        assert lost.value.source == source
    assert silence.arrived.acquire(timeout=WAIT_S)  # who came later waits as long
    assert silence.asked == [gone, other, gone]
    for node, fetch in ((gone, later), (other, elsewhere)):
        silence.over[node].release()
        with pytest.raises(LostSource):
            fetch.end()


def test_a_link_that_is_too_slow_for_large_requests_carries_small_ones(world):
    def answer(request):
        wanted = sum(row[2] for row in request.rows)
        if wanted > BYTES_MIN:
            raise Unreachable("no reply in time")
        return Ranges(bytes(wanted))

    slow = Scripted(answer)
    source = Source(Address("a", 1), f"{JOB}/map/0", 0, LARGE)
    world.links.took(source.node, LARGE // 2, 0.0001)
    [came] = world.fetch([source], shuffling=world.shuffling_over(slow))
    assert came == bytes(LARGE)
    assert [wanted for wanted, _ in slow.asked][:2] == [LARGE, BYTES_MIN]


def test_after_a_slow_answer_less_is_asked_for_by_one_request(world):
    peer = world.peer("a", held=True)
    fetch = world.begin([peer.keep(f"{JOB}/map/0", 40 * BYTES_MIN)])
    peer.await_requests(UNDER_WAY_MAX)
    world.seconds += SLOW_S + 1
    peer.answer(UNDER_WAY_MAX)
    peer.await_requests(1)
    world.await_waiting(peer.address, UNDER_WAY_MAX - 1)
    assert peer.asked[UNDER_WAY_MAX].rows[0][2] == BYTES_MIN
    peer.answer(1000)
    fetch.end()


def test_a_node_of_which_nothing_is_known_is_asked_for_little_by_one_request(world):
    peer = Peer(world.network, "unknown", held=True)
    fetch = world.begin([peer.keep(f"{JOB}/map/0", 40 * BYTES_MIN)])
    peer.await_requests(1)
    world.await_waiting(peer.address, UNDER_WAY_MAX - 1)
    assert peer.asked[0].rows[0][2] == BYTES_MIN
    peer.answer(1)
    peer.await_requests(2)  # and then by more, for more
    assert peer.asked[1].rows[0][2] == 2 * BYTES_MIN
    peer.answer(1000)
    fetch.end()
    peer.transport.close()


@pytest.mark.parametrize("error", [NotListening("gone"), Refused("no"), ProtocolError("what?")])
def test_an_answer_that_says_all_is_not_asked_for_again(world, error):
    peer = Scripted(error)
    source = Source(Address("a", 1), f"{JOB}/map/0", 0, LARGE)
    with pytest.raises(LostSource) as caught:
        world.fetch([source], shuffling=world.shuffling_over(peer))
    assert caught.value.__cause__ is error
    assert len(peer.asked) == 1


def test_a_file_that_cannot_be_written_is_an_error_at_once(world, tmp_path):
    peer = world.peer("a", held=True)
    fetch = world.begin([peer.keep(f"{JOB}/map/0", 10)])
    peer.await_requests(1)
    (tmp_path / "0" / "sources").unlink()
    peer.answer(1)
    with pytest.raises(FileNotFoundError):
        fetch.end()


# ---------------------------------------------------------------------- who waits no longer


def test_one_lost_source_ends_the_wait_for_all_others_and_nothing_more_is_asked(world):
    silent, other = world.peer("a", held=True), world.peer("b")
    lost = Source(other.address, f"{JOB}/map/1", 0, 5)
    fetch = world.begin([silent.keep(f"{JOB}/map/0", 20 * BYTES_MIN), lost])
    with pytest.raises(LostSource) as caught:
        fetch.end()  # though three requests are under way
    assert caught.value.source == lost
    silent.answer(1000)
    world.links.close()
    assert len(silent.asked) <= UNDER_WAY_MAX  # those that were on their way already


def test_an_attempt_that_is_stopped_asks_for_nothing_more_and_others_go_on(world):
    peer = world.peer("a", held=True)
    stopped = world.begin([peer.keep(f"{JOB}/map/0", 20 * BYTES_MIN)], 0)
    peer.await_requests(UNDER_WAY_MAX)
    going_on = world.begin([peer.keep(f"{JOB}/map/1", 10)], 1)
    world.await_waiting(peer.address, 1)
    world.shuffling.stop(lambda attempt: attempt.task == 0)
    with pytest.raises(Refused, match="nobody wants"):
        stopped.end()
    peer.answer(1000)
    assert going_on.end() == [content(f"{JOB}/map/1", 10)]
    assert len(peer.asked) == UNDER_WAY_MAX + 1


def test_an_attempt_that_nobody_wants_any_more_asks_for_nothing(world):
    peer = world.peer("a")
    world.unwanted.add(order_of([]).attempt)
    with pytest.raises(Refused, match="nobody wants"):
        world.fetch([peer.keep(f"{JOB}/map/0", 10)])
    assert peer.asked == []


def test_a_node_that_closes_in_the_middle_waits_for_nothing(world):
    peer = world.peer("a", held=True)
    fetches = [
        world.begin([peer.keep(f"{JOB}/map/{task}", 20 * BYTES_MIN)], task) for task in range(3)
    ]
    peer.await_requests(UNDER_WAY_MAX)
    world.shuffling.close()
    for fetch in fetches:
        with pytest.raises(Refused):
            fetch.end()
    world.transport.close()
    world.links.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("map-reduce-links")]
    with pytest.raises(Refused):
        world.fetch([peer.keep(f"{JOB}/map/9", 10)])
    assert len(peer.asked) == UNDER_WAY_MAX


# ---------------------------------------------------------------------- the side that has them


def test_ranges_are_answered_one_after_another():
    store = MemoryBlockStore()
    for name in ("job/map/0", "job/map/1"):
        store.adopt_bytes(BlockRef(name, 100, b""), content(name, 100))
    rows = (("1", 90, 10), ("0", 0, 0), ("0", 5, 20))
    zero, one = content("job/map/0", 100), content("job/map/1", 100)
    assert ranges_of(store, GetRanges("job/map/", rows)) == Ranges(one[90:] + zero[5:25])
    assert ranges_of(store, GetRanges("job/map/", ())) == Ranges(b"")
    missing = GetRanges("job/map/", (("0", 0, 1), ("2", 0, 1)))
    assert ranges_of(store, missing) == NoBlock("job/map/2")
    assert ranges_of(store, GetRanges("", (("job/map/0", 91, 10),))) == NoBlock("job/map/0")
