"""Batches to peers that form by themselves."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from map_reduce.core.outbox import Batch, Outbox

PEERS = st.sampled_from("abc")
ITEMS_MAX, BYTES_MAX, SENDERS_MAX = 4, 100, 2


def outbox(items_max=ITEMS_MAX, bytes_max=BYTES_MAX, senders_max=SENDERS_MAX):
    return Outbox(items_max=items_max, bytes_max=bytes_max, senders_max=senders_max)


def test_to_an_idle_peer_an_item_goes_at_once_and_what_comes_up_meanwhile_goes_together():
    box = outbox()
    box.put("a", 1, "first", 1)
    assert box.wants_sender()
    assert box.take() == Batch("a", ("first",))
    box.put("a", 2, "second", 1)
    box.put("a", 3, "third", 1)
    assert not box.wants_sender()
    box.done("a")
    assert box.take() == Batch("a", ("second", "third"))
    box.done("a")
    assert box.take() is None


def test_an_item_that_is_too_large_goes_alone_and_in_its_turn():
    box = outbox()
    for number, size in enumerate((40, 60, BYTES_MAX + 1, 1, 99, 1)):
        box.put("a", number, number, size)
    assert box.wants_sender()
    batches = []
    while (batch := box.take()) is not None:
        batches.append(batch.items)
        box.done("a")
    assert batches == [(0, 1), (2,), (3, 4), (5,)]


def test_peers_take_turns():
    box = outbox(items_max=1, senders_max=1)
    for number in range(3):
        box.put("a", number, number, 1)
    box.put("b", 0, 0, 1)
    assert box.wants_sender()
    turns = []
    while (batch := box.take()) is not None:
        turns.append(batch.peer)
        box.done(batch.peer)
    assert turns == ["a", "b", "a", "a"]


def test_what_was_taken_cannot_be_withdrawn_and_what_waits_can():
    box = outbox()
    box.put("a", 1, "first", 1)
    assert box.wants_sender()
    assert box.take() == Batch("a", ("first",))
    box.put("a", 2, "second", 1)
    assert not box.withdraw("a", 1)
    assert box.has("a", 1)
    assert box.withdraw("a", 2)
    assert not box.withdraw("a", 2)
    box.done("a")
    assert not box.has("a", 1)
    assert box.take() is None


class AsAQueueForEachPeer(RuleBasedStateMachine):
    """Beside the outbox, what it should hold: a list for each peer."""

    def __init__(self):
        super().__init__()
        self.box = outbox()
        self.waiting = {peer: [] for peer in "abc"}  # of (key, item, size)
        self.under_way = {}  # a batch for each peer
        self.begun = 0  # senders that are to take a batch
        self.count = 0

    @rule(peer=PEERS, key=st.integers(0, 9), size=st.integers(1, 2 * BYTES_MAX))
    def put(self, peer, key, size):
        self.count += 1
        self.box.put(peer, key, self.count, size)
        queue, put = self.waiting[peer], (key, self.count, size)
        places = [place for place, (other, _, _) in enumerate(queue) if other == key]
        if places:
            queue[places[0]] = put
        else:
            queue.append(put)

    @rule(peer=PEERS, key=st.integers(0, 9))
    def withdraw(self, peer, key):
        rest = [put for put in self.waiting[peer] if put[0] != key]
        assert self.box.withdraw(peer, key) == (len(rest) < len(self.waiting[peer]))
        self.waiting[peer] = rest

    @rule()
    def begin(self):
        idle = [peer for peer in "abc" if self.waiting[peer] and peer not in self.under_way]
        wanted = len(idle) > self.begun and self.begun + len(self.under_way) < SENDERS_MAX
        assert self.box.wants_sender() == wanted
        self.begun += wanted

    @precondition(lambda self: self.begun)
    @rule()
    def take(self):
        batch = self.box.take()
        self.begun -= 1
        idle = [peer for peer in "abc" if self.waiting[peer] and peer not in self.under_way]
        assert (batch is None) == (not idle)
        if batch is None:
            return
        assert batch.peer in idle
        count = len(batch.items)
        taken, rest = self.waiting[batch.peer][:count], self.waiting[batch.peer][count:]
        assert batch.items == tuple(item for _, item, _ in taken)
        size = sum(size for _, _, size in taken)
        assert 1 <= count <= ITEMS_MAX
        assert count == 1 or size <= BYTES_MAX
        assert count == ITEMS_MAX or not rest or size + rest[0][2] > BYTES_MAX, "as many as fit"
        self.waiting[batch.peer] = rest
        self.under_way[batch.peer] = taken

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def answer(self, data):
        peer = data.draw(st.sampled_from(sorted(self.under_way)))
        self.box.done(peer)
        del self.under_way[peer]
        self.begun += 1

    @rule()
    def clear(self):
        self.box.clear()
        self.waiting = {peer: [] for peer in "abc"}

    @invariant()
    def has_what_waits_and_what_is_under_way(self):
        for peer in "abc":
            keys = {key for key, _, _ in self.waiting[peer] + self.under_way.get(peer, [])}
            assert {key for key in range(10) if self.box.has(peer, key)} == keys

    def teardown(self):
        """With senders that go on until there is nothing more, everything is sent."""
        for peer in list(self.under_way):
            self.box.done(peer)
            self.begun += 1
        while self.box.wants_sender():
            self.begun += 1
        for _ in range(self.begun):
            while (batch := self.box.take()) is not None:
                count = len(batch.items)
                items = tuple(item for _, item, _ in self.waiting[batch.peer][:count])
                assert batch.items == items
                del self.waiting[batch.peer][:count]
                self.box.done(batch.peer)
        assert not any(self.waiting.values())


TestAsAQueueForEachPeer = AsAQueueForEachPeer.TestCase
TestAsAQueueForEachPeer.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
