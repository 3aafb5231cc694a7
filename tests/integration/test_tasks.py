"""The policies of tasks, end to end: counters, bad records, bad tasks."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

import pytest
from sequential import run_sequentially

from map_reduce import Job, JobHandle, Options, Skip, counter
from map_reduce.client.inputs import read_inputs
from map_reduce.client.submission import submit
from map_reduce.counters import counting
from map_reduce.errors import BadRecordsError, CounterError, MapError, TaskTimeoutError
from map_reduce.testing import ChaosCluster

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
        handle = JobHandle(
            access, submit(access, job, read_inputs(lines), size), "", show_progress=False
        )
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


# ------------------------------------------------------------------ bad records


def deeds(number, item):
    """What some items do to the process that maps them."""
    if item == "raise":
        raise ValueError(item)
    if item == "exit":
        os._exit(3)
    if item == "crash":
        ctypes.string_at(0)
    if item == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "hang":
        threading.Event().wait()
    counter("mapped").add()
    return [(item, number)]


def test_records_that_end_their_process_are_left_out_one_after_another(server):
    items = ["a", "exit", "crash", "kill", "b", "raise", "exit"]
    handle = server.startup(items, deeds, sum_of, options=Options(on_bad_record="skip:10"))
    assert handle.result(WAIT_S) == {"a": 0, "b": 4}
    assert handle.counters == {"mapped": 2}
    assert handle.skipped_total == 5
    told = [(bad.where, bad.record, bad.error) for bad in handle.skipped]
    assert [where for where, _, _ in told] == [f"item {n}" for n in (1, 2, 3, 5, 6)]
    assert [record for _, record, _ in told] == [repr(items[n]) for n in (1, 2, 3, 5, 6)]
    for (_, _, error), says in zip(
        told, ("status 3", "SIGSEGV", "SIGKILL", "ValueError: raise", "status 3"), strict=True
    ):
        assert says in error


def sum_of(key, values):
    return sum(values)


def test_a_line_that_ends_its_process_is_left_out_of_one_of_many_files(server, tmp_path):
    paths = []
    for number in range(30):
        paths.append(tmp_path / f"{number:02}.txt")
        items = ["a", "b", "exit" if number == 13 else "raise" if number == 17 else "c", "d"]
        paths[-1].write_text("\n".join(items))
    handle = server.startup(paths, deeds, sum_of, options=Options(on_bad_record="skip:10"))
    assert handle.result(WAIT_S) == {"a": 0, "b": 30, "c": 56, "d": 90}
    assert handle.report.tasks < 30
    assert {bad.where for bad in handle.skipped} == {
        f"line 2 of {paths[13]}",
        f"line 2 of {paths[17]}",
    }
    paths[13].unlink()
    with pytest.raises(MapError, match=f"line 2 of {paths[17]}"):
        server.startup(f"{tmp_path}/*.txt", deeds, sum_of).result(WAIT_S)


def test_a_record_that_never_ends_is_left_out(server):
    options = Options(on_bad_record=Skip(up_to=1), timeout_s=1.0)
    handle = server.startup(["a", "hang", "b"], deeds, sum_of, options=options)
    assert handle.result(WAIT_S) == {"a": 0, "b": 2}
    [bad] = handle.skipped
    assert (bad.where, bad.record) == ("item 1", "'hang'")
    assert "still running after 1 s" in bad.error


def test_keys_whose_reduce_ends_the_process_are_left_out(server):
    def refuse(key, values):
        deeds(0, key)
        return len(values)

    def plain(number, item):
        return [(item, 1)]

    items = ["a", "exit", "b", "raise", "crash"] * 20
    handle = server.startup(items, plain, refuse, options=Options(on_bad_record="skip:60%"))
    assert handle.result(WAIT_S) == {"a": 20, "b": 20}
    assert sorted(bad.where for bad in handle.skipped) == [
        "key 'crash'",
        "key 'exit'",
        "key 'raise'",
    ]


def test_more_than_allowed_fails_and_names_the_first(server):
    items = ["a"] * 98 + ["raise"] * 2
    allowed = server.startup(items, deeds, sum_of, options=Options(on_bad_record="skip:2%"))
    assert allowed.result(WAIT_S) == {"a": sum(range(98))}
    for policy in ("skip:1", "skip:1.9%"):
        handle = server.startup(items, deeds, sum_of, options=Options(on_bad_record=policy))
        with pytest.raises(BadRecordsError, match="on_bad_record") as caught:
            handle.result(WAIT_S)
        assert "item 98: 'raise': ValueError: raise" in str(caught.value)


def test_lines_of_a_file_that_cannot_be_decoded(server, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\ntw\xf6\nthree\n")

    def numbered(number, line):
        return [(line, number)]

    handle = server.startup(path, numbered, sum_of, options=Options(on_bad_record="skip:1"))
    assert handle.result(WAIT_S) == {"one": 0, "three": 2}
    assert [(bad.where, bad.record) for bad in handle.skipped] == [
        (f"line 1 of {path}", r"b'tw\xf6'")
    ]


# ------------------------------------------------------------------ bad tasks


def test_what_passes_is_tried_again_and_what_does_not_fails_at_the_second_time(server, tmp_path):
    attempts = tmp_path / "attempts"

    def unlucky(number, item):
        with attempts.open("a") as file:
            file.write(f"{os.getpid()}\n")
        tried = len(attempts.read_text().splitlines())
        if tried < 3:
            raise ConnectionResetError("the server hung up")
        return [(item, tried)]

    assert server.startup(["a"], unlucky, sum_of).result(WAIT_S) == {"a": 3}
    processes = attempts.read_text().split()
    assert len(set(processes)) == 3  # each in a process of its own
    attempts.unlink()

    def broken(number, item):
        with attempts.open("a") as file:
            file.write(f"{os.getpid()}\n")
        raise KeyError(item)

    with pytest.raises(KeyError) as caught:
        server.startup(["a"], broken, sum_of).result(WAIT_S)
    assert "The same has happened in attempt 1" in str(caught.value)
    assert len(set(attempts.read_text().split())) == 2


def test_a_task_has_the_time_that_its_job_gives_it(server):
    with pytest.raises(TaskTimeoutError, match=r"still running after 0\.5 s") as caught:
        server.startup(["hang"], deeds, sum_of, options=Options(timeout_s=0.5)).result(WAIT_S)
    assert "Options(timeout_s=" in str(caught.value)
    assert "at item 0" in str(caught.value)  # the second attempt was careful
    assert server.startup(["a"], deeds, sum_of).result(WAIT_S) == {"a": 0}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no such bound elsewhere")
def test_memory_is_bounded_where_the_job_says_so(server):
    def greedy(number, size):
        return [(number, len(bytearray(size)))]

    options = Options(memory_mb_max=400)
    with pytest.raises(MapError) as caught:
        server.startup([1 << 30], greedy, sum_of, options=options).result(WAIT_S)
    assert isinstance(caught.value.original, MemoryError)
    assert "the worker process may use 400 MiB" in str(caught.value)
    assert "MR_WORKER_MEMORY_MB_MAX" in str(caught.value)
    assert server.startup([1 << 24], greedy, sum_of, options=options).result(WAIT_S) == {0: 1 << 24}
    handle = server.startup([1, 1 << 30], greedy, sum_of, options=Options("skip:1", None, 400))
    assert handle.result(WAIT_S) == {0: 1}
    assert "MemoryError" in handle.skipped[0].error


# ------------------------------------------------------------------ and the master dies


@pytest.mark.slow
def test_counters_and_bad_records_outlive_the_master():
    def map(number, item):
        threading.Event().wait(0.002)
        counter("lines").add()
        if number % 100 == 7:
            raise ValueError(number)
        return [(number % 5, 1)]

    def reduce(key, values):
        counter("keys").add()
        if key == 3:
            raise LookupError(key)
        return sum(values)

    options = Options(on_bad_record=Skip(up_to=17))
    with ChaosCluster(4, seed=1) as cluster, cluster.server() as server:
        handle = server.startup([0] * 1600, map, reduce, options=options)
        while handle.counters.get("lines", 0) < 300:
            threading.Event().wait(0.02)
        cluster.kill(cluster.node_at(handle.master))
        assert handle.result(WAIT_S) == {0: 320, 1: 320, 2: 304, 4: 320}
        assert handle.counters == {"lines": 1584, "keys": 4}
        assert handle.skipped_total == 17
        told = [(bad.where, bad.error) for bad in handle.skipped]
        bad = [(f"item {number}", f"ValueError: {number}") for number in range(7, 1600, 100)]
        assert told == [*bad, ("key 3", "LookupError: 3")]
