"""Counting in user code, apart from tasks: names, amounts, threads."""

from __future__ import annotations

import doctest
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from map_reduce import counter, counters
from map_reduce.core.messages import COUNT_MAX, COUNTERS_MAX
from map_reduce.counters import NAME_CHARACTERS_MAX, counting
from map_reduce.errors import CounterError


def test_the_examples() -> None:
    failed, attempted = doctest.testmod(counters)
    assert attempted
    assert not failed


def test_outside_a_task_counting_does_nothing() -> None:
    counter("x").add(3)
    with counting() as counted:
        pass
    assert counted == {}


def test_only_what_is_counted_inside_is_collected() -> None:
    kept = counter("kept")
    with counting() as outer:
        kept.add()
        with counting() as inner:
            kept.add(5)
            kept.add(-7)
        kept.add(True)
    kept.add(100)
    assert (outer, inner) == ({"kept": 2}, {"kept": -2})


def test_a_counter_travels() -> None:
    copy = pickle.loads(pickle.dumps(counter("x")))
    with counting() as counted:
        copy.add()
    assert (repr(copy), counted) == ("counter('x')", {"x": 1})


@pytest.mark.parametrize("name", ["", "x" * (NAME_CHARACTERS_MAX + 1), 3, None, b"x", "a\nb"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(CounterError, match="counter's name"):
        counter(name)


@pytest.mark.parametrize("amount", [1.0, "1", None])
def test_amounts_that_are_no_whole_numbers(amount: int) -> None:
    with pytest.raises(CounterError, match=r"counter\('x'\) was given .* whole numbers"):
        counter("x").add(amount)


def test_a_count_stays_within_what_a_message_holds() -> None:
    with counting() as counted:
        counter("x").add(COUNT_MAX)
        with pytest.raises(CounterError, match="62 bits"):
            counter("x").add()
        counter("y").add(-COUNT_MAX)
    assert counted == {"x": COUNT_MAX, "y": -COUNT_MAX}


def test_too_many_names_are_refused_and_the_old_ones_go_on() -> None:
    with counting() as counted:
        for number in range(COUNTERS_MAX):
            counter(f"c{number}").add()
        with pytest.raises(CounterError, match="one too many: a job has at most 100"):
            counter("more").add()
        counter("c7").add()
    assert len(counted) == COUNTERS_MAX
    assert counted["c7"] == 2


def test_threads_of_user_code_count_exactly() -> None:
    def count(_: int) -> None:
        for _ in range(200):
            counter("x").add()

    with counting() as counted, ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(40)))
    assert counted == {"x": 8000}


def test_a_thread_is_told_when_it_cannot_be_known_for_whom_it_counts() -> None:
    errors: list[CounterError] = []

    def stray() -> None:
        try:
            counter("x").add()
        except CounterError as error:
            errors.append(error)

    def other() -> None:
        with counting():
            thread = threading.Thread(target=stray)
            thread.start()
            thread.join()

    with counting() as counted:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "cannot be known for which" in str(errors[0])
    assert counted == {}
