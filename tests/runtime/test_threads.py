"""Threads that somebody owns."""

from __future__ import annotations

import logging
import threading

from map_reduce.runtime.threads import Loop, Threads


def until(condition):
    """Wait for it, at most 10 seconds."""
    pause = threading.Event()
    for _ in range(10_000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it did not come about")


def test_calls_run_at_the_same_time_up_to_the_bound():
    threads = Threads("pool", threads_max=3)
    together = threading.Barrier(3, timeout=10)
    done = threading.Semaphore(0)
    for _ in range(6):  # two rounds of three: the barrier breaks unless three run at once
        threads.run(lambda: (together.wait(), done.release()))
    for _ in range(6):
        assert done.acquire(timeout=10)
    threads.close()


def test_a_call_that_raises_is_logged_and_the_next_one_runs(caplog):
    threads = Threads("pool", threads_max=1)
    done = threading.Event()
    with caplog.at_level(logging.ERROR):
        threads.run(lambda: 1 // 0)
        threads.run(done.set)
        assert done.wait(10)
    assert "ZeroDivisionError" in caplog.text
    threads.close()


def test_after_close_nothing_runs_and_no_thread_is_left():
    threads = Threads("pool-x", threads_max=2)
    started, go = threading.Event(), threading.Event()
    ran = []
    threads.run(lambda: (started.set(), go.wait(10)))
    assert started.wait(10)
    closer = threading.Thread(target=threads.close)
    closer.start()
    go.set()
    closer.join(10)
    threads.run(lambda: ran.append(1))
    assert not ran
    assert not [t for t in threading.enumerate() if t.name.startswith("pool-x")]


def test_idle_threads_are_used_before_new_ones_are_started():
    threads = Threads("pool-y", threads_max=8)
    for _ in range(20):
        done = threading.Event()
        threads.run(done.set)
        assert done.wait(10)
        until(lambda: threads._outstanding == 0)  # it is idle a moment after the call has ended
    assert len([t for t in threading.enumerate() if t.name.startswith("pool-y")]) == 1
    threads.close()


def test_a_call_never_waits_behind_a_blocked_one_while_threads_are_to_be_had():
    threads = Threads("pool-w", threads_max=2)
    for _ in range(50):
        go, ran = threading.Event(), threading.Event()
        threads.run(lambda go=go: go.wait(10))
        threads.run(ran.set)
        assert ran.wait(10)
        go.set()
        until(lambda: threads._outstanding == 0)
    threads.close()


def test_a_loop_goes_on_after_an_error_and_ends_when_closed():
    steps = threading.Semaphore(0)

    def step() -> None:
        steps.release()
        raise ValueError("once more")

    loop = Loop("loop-z", step, lambda: 0.001)
    loop.start()
    for _ in range(3):
        assert steps.acquire(timeout=10)
    loop.close()
    assert not [t for t in threading.enumerate() if t.name == "loop-z"]


def test_a_loop_can_be_closed_before_it_is_started():
    Loop("never", lambda: None, lambda: 1.0).close()
