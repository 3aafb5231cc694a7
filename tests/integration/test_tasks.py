"""The policies of tasks, end to end: counters."""

from __future__ import annotations

import os

import pytest
from sequential import run_sequentially

from map_reduce import Job, JobHandle, counter
from map_reduce.client.submission import submit
from map_reduce.counters import counting
from map_reduce.errors import CounterError

WAIT_S = 60
LINES = ["to be or not to be", "", "that is the question"] * 60


def words(number, line):
    counter("lines").add()
    if not line:
        counter("empty lines").add()
    for word in line.split():
        yield word, 1


def total(word, counts):
    counter("words").add(len(counts))
    counter("keys").add()
    return sum(counts)


def expected(records, map, reduce):
    with counting() as counted:
        results = run_sequentially(records, map, reduce)
    return results, counted


@pytest.mark.parametrize("size", [1, 3])
def test_counters_are_those_of_the_sequential_run(ring_of, size):
    access = ring_of(size)
    for lines in (LINES[:3], LINES):  # one task, and several
        job = Job(words, total)
        handle = JobHandle(access, submit(access, job, lines, size), "", show_progress=False)
        results, counters = expected(enumerate(lines), words, total)
        assert handle.result(WAIT_S) == results
        assert handle.counters == counters


def test_what_a_dead_worker_had_counted_is_not_counted_twice(server, tmp_path):
    marker = tmp_path / "died"

    def deadly(number, line):
        counter("lines").add()
        if number == 100 and not marker.exists():
            marker.write_text("once")
            os._exit(3)
        yield from words(number, line)

    handle = server.startup(LINES, deadly, total)
    results = handle.result(WAIT_S)
    marker.write_text("no more")
    assert (results, handle.counters) == expected(enumerate(LINES), deadly, total)


def test_counters_of_a_job_that_failed_are_of_the_tasks_that_were_done(server):
    def refuse(word, counts):
        raise LookupError(word)

    handle = server.startup(LINES, words, refuse)
    with pytest.raises(LookupError):
        handle.result(WAIT_S)
    assert handle.counters["lines"] == len(LINES)
    assert "keys" not in handle.counters


def test_a_wrong_use_of_counters_names_the_line_of_code(server):
    def wrong(number, line):
        counter("x").add(0.5)

    with pytest.raises(CounterError, match=r"0\.5; counters count in whole numbers") as caught:
        server.startup(["a"], wrong, total).result(WAIT_S)
    assert "in wrong" in str(caught.value)
