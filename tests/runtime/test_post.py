"""Orders and reports that go in batches, and what comes of each."""

from __future__ import annotations

import queue
import threading
from types import SimpleNamespace

import pytest

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import (
    Answers,
    AttemptId,
    Busy,
    CheckWork,
    Done,
    Functions,
    No,
    OrderAttempts,
    StartAttempt,
    StopAttempt,
    TaskRules,
)
from map_reduce.core.scheduling import events
from map_reduce.core.scheduling.effects import Start, Stop
from map_reduce.errors import ClusterError, ProtocolError, Unreachable
from map_reduce.runtime.orders import Orders
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.post import ITEMS_MAX, SENDERS_MAX, Post, answer_each
from map_reduce.transport import wire

ME = Member(Address("me", 1), 1)
NODE, OTHER = Member(Address("node", 2), 1), Member(Address("other", 3), 1)
WAIT_S = 60


class Network:
    """A Transport. Peers carry out what they are told; a batch at ``gate`` waits until it opens."""

    def __init__(self):
        self.requests = []  # (peer, numbers of the tasks), as they were answered
        self.arrived = threading.Semaphore(0)
        self.gates = {}
        self.dead = set()
        self.unreadable = set()
        self.answers = {}
        self.lose = 0  # so many answers of the next batch

    def call(self, peer, request, timeout_s):
        body = wire.decode_request(wire.encode_request(request)).body
        tasks = [order.attempt.task for order in body.orders]
        self.arrived.release()
        if gate := self.gates.get(peer):
            assert gate.wait(WAIT_S)
        if peer in self.dead:
            raise Unreachable(f"{peer} is dead")
        self.requests.append((peer, tasks))
        if self.unreadable & set(tasks):
            return No("request not understood")
        answers = tuple(self.answers.get(task, Done()) for task in tasks)
        lost, self.lose = self.lose, 0
        return Answers(answers[: len(answers) - lost])


class Heard:
    """What came of items."""

    def __init__(self):
        self.of = {}
        self.threads = set()
        self._some = threading.Condition()

    def hear(self, task):
        def heard(answer):
            with self._some:
                assert task not in self.of, "an item is answered once"
                self.of[task] = answer
                self.threads.add(threading.get_ident())
                self._some.notify_all()

        return heard

    def await_all(self, count):
        with self._some:
            assert self._some.wait_for(lambda: len(self.of) >= count, WAIT_S), self.of
        return [self.of[task] for task in sorted(self.of)]


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def post(network):
    made = post_of(network)
    yield made
    made.close()


def post_of(network, handler=None):
    return Post(Peers(network, timeout_s=1, me=ME, handler=handler), OrderAttempts, "post")


def stop(task):
    return StopAttempt(AttemptId("job", "map", task, 0), 1)


def put(post, heard, *tasks, peer=NODE):
    for task in tasks:
        post.put(peer.address, task, stop(task), heard.hear(task))


def together(post, network, heard, *tasks):
    """Have these go in one batch, after task 0 alone."""
    gate = network.gates[NODE.address] = threading.Event()
    put(post, heard, 0)
    post.flush()
    assert network.arrived.acquire(timeout=WAIT_S)
    put(post, heard, *tasks)
    post.flush()
    gate.set()


def test_what_comes_up_while_a_peer_is_asked_goes_together_and_in_order(post, network, heard):
    together(post, network, heard, 1, 2, 3)
    assert heard.await_all(4) == [Done()] * 4
    assert network.requests == [(NODE.address, [0]), (NODE.address, [1, 2, 3])]


def test_a_batch_is_bounded_in_number(post, network, heard):
    together(post, network, heard, *range(1, 2 * ITEMS_MAX + 2))
    heard.await_all(2 * ITEMS_MAX + 2)
    assert [len(tasks) for _, tasks in network.requests] == [1, ITEMS_MAX, ITEMS_MAX, 1]


def test_each_has_an_answer_of_its_own(post, network, heard):
    network.answers = {1: Busy(), 3: No("no")}
    together(post, network, heard, 1, 2, 3)
    assert heard.await_all(4) == [Done(), Busy(), Done(), No("no")]


def test_one_that_cannot_be_read_does_no_harm_to_the_others(post, network, heard):
    network.unreadable = {2}
    together(post, network, heard, 1, 2, 3)
    answers = heard.await_all(4)
    assert [type(answer) for answer in answers[:2] + answers[3:]] == [Done] * 3
    assert "not understood" in str(answers[2])
    assert [tasks for _, tasks in network.requests] == [[0], [1, 2, 3], [1], [2], [3]]


def test_a_peer_that_dies_while_it_is_asked_one_by_one_is_waited_for_once(post, network, heard):
    plain, asked = network.call, []

    def call(peer, request, timeout_s):
        reply = plain(peer, request, timeout_s)
        asked.append(len(request.body.orders))
        if asked == [1, 3, 1]:
            network.dead.add(NODE.address)
        return reply

    network.call = call
    network.unreadable = {2}
    together(post, network, heard, 1, 2, 3)
    answers = heard.await_all(4)
    assert [type(answer) for answer in answers] == [Done, Done, Unreachable, Unreachable]
    for _ in range(3):
        assert network.arrived.acquire(timeout=WAIT_S)
    assert not network.arrived.acquire(blocking=False)


def test_a_batch_that_is_answered_in_part_is_asked_one_by_one(post, network, heard):
    network.lose = 1
    put(post, heard, 1, 2)
    post.flush()
    assert heard.await_all(2) == [Done(), Done()]


def test_one_that_cannot_be_encoded_does_no_harm_to_the_others(post, heard):
    post.put(NODE.address, 1, StopAttempt(AttemptId("job", "map", 1 << 70, 0), 1), heard.hear(1))
    put(post, heard, 2)
    post.flush()
    answers = heard.await_all(2)
    assert isinstance(answers[0], ProtocolError)
    assert answers[1] == Done()


def test_all_of_a_batch_whose_peer_dies_hear_of_it_and_what_comes_later_is_tried(
    post, network, heard
):
    gate = network.gates[NODE.address] = threading.Event()
    put(post, heard, 0, 1)
    post.flush()
    assert network.arrived.acquire(timeout=WAIT_S)
    put(post, heard, 2)
    post.flush()
    network.dead.add(NODE.address)
    gate.set()
    assert [type(answer) for answer in heard.await_all(3)] == [Unreachable] * 3
    network.dead.clear()
    put(post, heard, 3)
    post.flush()
    assert heard.await_all(4)[3] == Done()
    assert network.requests == [(NODE.address, [3])]


def test_peers_that_do_not_answer_delay_nobody_else(post, network, heard):
    gate = threading.Event()
    for number in range(SENDERS_MAX - 1):
        silent = Member(Address("silent", number), 1)
        network.gates[silent.address] = gate
        for task in range(10 * number, 10 * number + 3):
            put(post, heard, 1000 + task, peer=silent)
            post.flush()
    put(post, heard, 1, 2, peer=OTHER)
    post.flush()
    assert heard.await_all(2) == [Done(), Done()]
    gate.set()
    heard.await_all(2 + 3 * (SENDERS_MAX - 1))


def test_a_fault_where_one_is_heard_does_no_harm_to_the_others(post, network, heard):
    def fault(answer):
        raise ZeroDivisionError

    post.put(NODE.address, 0, stop(0), fault)
    put(post, heard, 1)
    post.flush()
    put(post, heard, 2)
    post.flush()
    assert heard.await_all(2) == [Done(), Done()]


def test_what_this_node_tells_itself_takes_no_thread(network, heard):
    def handler(request):
        return answer_each(request.body.orders, lambda order: Done())

    post = post_of(network, handler)
    put(post, heard, 1, peer=ME)
    assert heard.of == {1: Done()}
    assert heard.threads == {threading.get_ident()}
    assert network.requests == []
    post.close()


def test_a_fault_of_the_handler_in_one_is_that_ones_alone():
    def answer(task):
        return Done() if 1 // task else Busy()

    first, fault, last = answer_each((1, 0, 2), answer).answers
    assert (first, last) == (Done(), Busy())
    assert "ZeroDivisionError" in fault.reason


def test_closing_awaits_what_is_under_way_and_drops_what_waits(network, heard):
    post = post_of(network)
    gate = network.gates[NODE.address] = threading.Event()
    put(post, heard, 0)
    post.flush()
    assert network.arrived.acquire(timeout=WAIT_S)
    put(post, heard, 1)
    closing = threading.Thread(target=post.close)
    closing.start()
    while post.has(NODE.address, 1):
        pass  # until it has been dropped
    gate.set()
    closing.join(WAIT_S)
    assert heard.of == {0: Done()}
    put(post, heard, 2)
    post.flush()
    assert network.requests == [(NODE.address, [0])]


def test_the_defect_of_a_transport_is_heard_of(post, network, heard):
    def call(peer, request, timeout_s):
        raise ZeroDivisionError

    network.call = call
    put(post, heard, 1, 2)
    post.flush()
    assert [type(answer) for answer in heard.await_all(2)] == [ClusterError] * 2


# ------------------------------------------------------------------ a master's orders


SPEC = SimpleNamespace(functions=Functions(b"", None, b""), rules=TaskRules())


@pytest.fixture
def said():
    """What the scheduler hears."""
    return queue.SimpleQueue()


@pytest.fixture
def orders(post, said):
    return Orders(post, ME.address, SPEC, 1, 9.0, said.put)


def attempt(task):
    return AttemptId("job", "map", task, 0)


def start(task):
    return Start(NODE, attempt(task), CheckWork(), False)


def test_an_attempt_is_stopped_after_its_start_or_never_started(orders, network, said):
    told = []
    network.call = recording(network.call, told)
    gate = network.gates[NODE.address] = threading.Event()
    orders.start(start(0))
    orders.flush()
    assert network.arrived.acquire(timeout=WAIT_S)
    orders.start(start(1))
    orders.stop(Stop(NODE, attempt(0)))  # whose start is under way
    orders.stop(Stop(NODE, attempt(1)))  # whose start is not
    orders.start(start(2))
    orders.flush()
    gate.set()
    taken = [said.get(timeout=WAIT_S) for _ in range(2)]
    assert taken == [events.AttemptTaken(attempt(task), NODE) for task in (0, 2)]
    assert told == [(StartAttempt, 0), (StopAttempt, 0), (StartAttempt, 2)]


def recording(call, told):
    def record(peer, request, timeout_s):
        body = wire.decode_request(wire.encode_request(request)).body
        told.extend((type(order), order.attempt.task) for order in body.orders)
        return call(peer, request, timeout_s)

    return record


def test_a_scheduler_is_told_of_each_of_its_orders(orders, network, said):
    network.answers = {1: Busy(), 2: No("no such thing")}
    for task in range(3):
        orders.start(start(task))
    orders.flush()
    first, second, third = (said.get(timeout=WAIT_S) for _ in range(3))
    assert first == events.AttemptTaken(attempt(0), NODE)
    assert second == events.AttemptRefused(attempt(1), NODE, busy=True)
    assert (third.attempt, third.busy) == (attempt(2), False)
    assert "no such thing" in third.reason


def test_a_scheduler_is_told_of_each_order_that_its_node_did_not_answer(orders, network, said):
    network.dead.add(NODE.address)
    for task in range(3):
        orders.start(start(task))
    orders.flush()
    refused = [said.get(timeout=WAIT_S) for _ in range(3)]
    assert [one.attempt.task for one in refused] == [0, 1, 2]
    assert all("is dead" in one.reason and not one.busy for one in refused)
