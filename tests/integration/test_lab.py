"""The questions that MIT 6.5840 asks of a MapReduce in its first lab, asked of this one.

Whether things happen at the same time is seen by user code that waits for another task to begin,
not by the clock: were they one after another, it would wait in vain and say so.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid

import pytest
from sequential import comparable, run_sequentially

from map_reduce import Files, Options, ServerInterface, counter

WAIT_S = 60
MEET_S_MAX = 30
LINES = [f"the quick w{n % 17} fox {n % 5} jumps x{n}" for n in range(960)]
NO_BACKUPS = Options(backups=False)


@pytest.fixture
def ring(local_cluster):
    with ServerInterface(str(local_cluster.nodes[0].address), quiet=True) as server:
        yield server


@pytest.fixture
def books(tmp_path):
    """The lines as four files."""
    paths = [tmp_path / f"pg-{number}.txt" for number in range(4)]
    for number, path in enumerate(paths):
        path.write_text("\n".join(LINES[number * 240 : (number + 1) * 240]) + "\n")
    return paths


def words(number, line):
    return [(word, 1) for word in line.split()]


def total(word, counts):
    return sum(counts)


def places(number, line):
    return [(word, number) for word in set(line.split())]


def sorted_places(word, numbers):
    return sorted(set(numbers))


def records_of(paths):
    for path in paths:
        yield from enumerate(path.read_text().splitlines())


@pytest.mark.parametrize(("map", "reduce"), [(words, total), (places, sorted_places)])
def test_word_count_and_index_are_those_of_a_sequential_run(ring, books, map, reduce):
    results = ring.startup(Files(*books), map, reduce).result(WAIT_S)
    expected = run_sequentially(records_of(books), map, reduce)
    assert comparable(results) == comparable(expected)


def meet(folder, name, others):
    """Say that we are here, and wait until so many are.

    Where names are those of processes, that many of these are in user code at the same time. Of
    which of them the results are is another matter: a task that waited behind another for long is
    begun elsewhere, too.
    """
    (folder / name).touch()
    deadline_s = time.monotonic() + MEET_S_MAX
    while len(list(folder.iterdir())) < others:
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"{name} was alone for {MEET_S_MAX} s")
        threading.Event().wait(0.01)


def test_maps_run_in_parallel(ring, tmp_path):
    def map(number, item):
        if number % 16 == 0:  # the first of each task
            meet(tmp_path, f"map-{os.getpid()}", 3)
        return [(number % 16, 1)]

    results = ring.startup([0] * 48, map, total, options=NO_BACKUPS).result(WAIT_S)
    assert results == dict.fromkeys(range(16), 3)


def test_reduces_run_in_parallel(ring, tmp_path):
    def map(number, item):
        return [(number, "x" * (1 << 20))]  # large enough for reduce tasks of their own

    def reduce(key, values):
        meet(tmp_path, f"reduce-{os.getpid()}", 3)
        return len(values)

    results = ring.startup([0] * 48, map, reduce, options=NO_BACKUPS).result(WAIT_S)
    assert results == dict.fromkeys(range(48), 1)


def test_each_map_task_runs_exactly_once_when_nothing_fails(ring, tmp_path):
    def map(number, item):
        (tmp_path / f"{number}-{uuid.uuid4()}").touch()
        counter("mapped").add()
        return [(number % 7, 1)]

    handle = ring.startup([0] * 200, map, total, options=NO_BACKUPS)
    assert sum(handle.result(WAIT_S).values()) == 200
    calls = [path.name.split("-")[0] for path in tmp_path.iterdir()]
    assert sorted(calls, key=int) == [str(number) for number in range(200)]
    assert handle.counters == {"mapped": 200}


def test_the_output_is_complete_when_the_job_says_that_it_is_done(ring, tmp_path):
    def map(number, item):
        return [(number, "x" * (1 << 18))]

    def reduce(key, values):
        threading.Event().wait(0.002)
        (tmp_path / str(key)).touch()
        return len(values[0])

    handle = ring.startup([0] * 64, map, reduce)
    while handle.state not in ("done", "failed"):
        threading.Event().wait(0.01)
    assert len(list(tmp_path.iterdir())) == 64
    assert handle.result(WAIT_S) == dict.fromkeys(range(64), 1 << 18)


def test_workers_that_crash_do_not_change_the_answer(ring, books, tmp_path):
    marks = tmp_path / "crashed"
    marks.mkdir()

    def crash_once(name):
        try:
            (marks / name).touch(exist_ok=False)
        except FileExistsError:
            return
        os._exit(1)

    def map(number, line):
        if number == 100:
            crash_once(line.split()[-1])  # once in each book
        counter("lines").add()
        return words(number, line)

    def reduce(word, counts):
        if word == "fox":
            crash_once(word)
        counter("words").add(sum(counts))
        return sum(counts)

    handle = ring.startup(Files(*books), map, reduce)
    results = handle.result(WAIT_S)
    assert len(list(marks.iterdir())) == 5
    assert results == run_sequentially(records_of(books), words, total)
    assert handle.counters == {"lines": len(LINES), "words": sum(results.values())}


def test_workers_that_stall_do_not_change_the_answer(ring, books, tmp_path):
    """One is frozen in the middle of a map task. The job does not wait for it, since a backup
    attempt is made on another node."""
    marks = tmp_path / "stalled"
    marks.mkdir()

    def stall_once(name):
        try:
            (marks / name).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGSTOP)

    def map(number, line):
        if line.split()[-1] == "x500":
            stall_once("map")
        counter("lines").add()
        return words(number, line)

    handle = ring.startup(Files(*books), map, total)
    results = handle.result(WAIT_S)
    assert len(list(marks.iterdir())) == 1
    assert results == run_sequentially(records_of(books), words, total)
    assert handle.counters == {"lines": len(LINES)}
