"""Calls in lanes: how many at a time, whose turn it is, and what is left when they are closed."""

from __future__ import annotations

import logging
import threading

import pytest

from map_reduce.core.identifiers import Address
from map_reduce.runtime.lanes import Lanes

A, B, C = (Address(name, 1) for name in "abc")
WAIT_S = 30


class Calls:
    """Calls that end when the test says so, in whatever order."""

    def __init__(self, lanes):
        self._lanes = lanes
        self._lock = threading.Lock()
        self.begun = []
        self.begins = threading.Semaphore(0)
        self.ends = {}

    def run(self, lane, name, answers=(False,)):
        self.ends[name] = threading.Semaphore(0)
        left = list(answers)

        def call():
            with self._lock:
                self.begun.append(name)
            self.begins.release()
            assert self.ends[name].acquire(timeout=WAIT_S)
            return left.pop(0)

        self._lanes.run(lane, call)

    def await_begun(self, *names):
        """Exactly these have begun since the last time, in some order."""
        for _ in names:
            assert self.begins.acquire(timeout=WAIT_S)
        with self._lock:
            assert sorted(self.begun) == sorted(names)
            self.begun.clear()
        assert not self.begins.acquire(blocking=False)

    def end(self, name):
        self.ends[name].release()


@pytest.fixture
def lanes_of():
    made = []

    def make(threads_max, per_lane_max):
        lanes = Lanes(
            "map-reduce-test-lanes",
            threads_max=threads_max,
            per_lane_max=per_lane_max if callable(per_lane_max) else lambda lane: per_lane_max,
        )
        made.append(lanes)
        return lanes, Calls(lanes)

    yield make
    for lanes in made:
        lanes.close()


def test_a_lane_has_its_bound_and_leaves_the_others_alone(lanes_of):
    _, calls = lanes_of(8, 2)
    for name in ("a1", "a2", "a3", "a4"):
        calls.run(A, name)
    calls.await_begun("a1", "a2")
    calls.run(B, "b1")
    calls.await_begun("b1")
    calls.end("a2")
    calls.await_begun("a3")  # in their order
    for name in ("b1", "a1", "a3"):
        calls.end(name)
    calls.await_begun("a4")
    calls.end("a4")


def test_lanes_take_turns_where_threads_are_few(lanes_of):
    _, calls = lanes_of(2, 2)
    for name in ("a1", "a2", "a3", "a4"):
        calls.run(A, name)
    calls.await_begun("a1", "a2")
    calls.run(B, "b1")
    calls.run(B, "b2")
    calls.run(C, "c1")
    order = []
    for name in ("a1", "a3", "b1", "c1", "a4", "b2"):
        calls.end(name)
        order.append(name)
        if len(order) == 1:
            calls.await_begun("a3")
        elif len(order) < 5:
            calls.await_begun({2: "b1", 3: "c1", 4: "a4"}[len(order)])
        elif len(order) == 5:
            calls.await_begun("b2")
    calls.end("a2")


def test_who_has_much_to_do_goes_to_the_end_each_time(lanes_of):
    _, calls = lanes_of(4, 1)
    calls.run(A, "much", answers=(True, True, False))
    calls.await_begun("much")
    calls.run(A, "little")
    calls.run(A, "less")
    for now, following in [
        ("much", "little"),
        ("little", "less"),
        ("less", "much"),
        ("much", "much"),
    ]:
        calls.end(now)
        calls.await_begun(following)
    calls.end("much")


def test_a_bound_may_rise_and_fall_while_calls_wait(lanes_of):
    most = {A: 1, B: 1}
    _, calls = lanes_of(8, most.__getitem__)
    for name in ("a1", "a2", "a3", "a4", "a5", "a6"):
        calls.run(A, name)
    calls.run(B, "b1")
    calls.await_begun("a1", "b1")
    most[A] = 3
    calls.end("a1")
    calls.await_begun("a2", "a3")
    calls.end("b1")
    calls.await_begun("a4")
    most[A] = 1
    for name in ("a2", "a4"):
        calls.end(name)
    calls.end("a3")
    calls.await_begun("a5")
    calls.end("a5")
    calls.await_begun("a6")
    calls.end("a6")


def test_a_call_that_raises_is_logged_and_its_place_is_free_again(lanes_of, caplog):
    lanes, calls = lanes_of(1, 1)
    with caplog.at_level(logging.ERROR):
        lanes.run(A, lambda: 1 // 0)
        calls.run(A, "next")
        calls.await_begun("next")
    assert "ZeroDivisionError" in caplog.text
    calls.end("next")


def test_no_place_is_lost_however_many_calls_there_were(lanes_of):
    lanes, calls = lanes_of(3, 2)
    done = threading.Semaphore(0)
    for lane in (A, B, C) * 50:
        lanes.run(lane, lambda: bool(done.release()))
    for _ in range(150):
        assert done.acquire(timeout=WAIT_S)
    for name in ("a1", "a2"):
        calls.run(A, name)
    calls.run(B, "b1")
    calls.await_begun("a1", "a2", "b1")
    for name in ("a1", "a2", "b1"):
        calls.end(name)


def test_when_closed_nothing_more_begins_and_no_thread_is_left(lanes_of):
    lanes, calls = lanes_of(2, 1)
    calls.run(A, "a1", answers=(True,))
    calls.run(A, "a2")
    calls.await_begun("a1")
    closer = threading.Thread(target=lanes.close)
    closer.start()
    pause = threading.Event()
    while not lanes._closed:
        assert not pause.wait(0.001)
    calls.end("a1")
    closer.join(WAIT_S)
    lanes.run(A, pytest.fail)
    assert not calls.begins.acquire(blocking=False)
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("map-reduce-test-lanes")]
