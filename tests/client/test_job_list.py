"""The jobs of a cluster, from what its nodes say."""

import threading

import pytest

from map_reduce import Options
from map_reduce.client.job_list import JobInfo, best_of
from map_reduce.client.server_interface import ServerInterface
from map_reduce.core.identifiers import Address
from map_reduce.core.messages import JobLine, Progress
from map_reduce.errors import JobLostError

GONE = Address("gone", 9)


def line(phase="map", epoch=1, waiting_for=()):
    return JobLine("job", "words", Progress(phase), epoch=epoch, waiting_for=waiting_for)


def test_the_latest_master_is_believed():
    lines = [("old:1", line("map", 1)), ("new:1", line("reduce", 2)), ("w:1", line("watched", 2))]
    for order in (lines, lines[::-1]):
        assert best_of(order) == [JobInfo("job", "words", "reduce", "new:1", 2)]


def test_without_a_master_those_who_watch_say_for_whom_the_job_waits():
    lines = [("old:1", line("map", 1)), ("w:1", line("watched", 2, (GONE,)))]
    assert best_of(lines) == [JobInfo("job", "words", "watched", "", 2, ("gone:9",))]


def test_jobs_are_listed_and_attached_to():
    with ServerInterface(quiet=True, slots=1) as server:
        assert server.jobs() == []
        job = server.startup(["a b"], lambda n, line: [(w, 1) for w in line.split()], count)
        (info,) = server.jobs()
        assert info.id == job.id
        assert server.attach(info.id).result(30) == {"a": 1, "b": 1}


def test_results_that_nobody_fetches_are_deleted_when_the_jobs_time_is_over():
    with ServerInterface(quiet=True, slots=1) as server:
        options = Options(result_ttl_s=1)
        kept = server.startup(["a"], lambda n, line: [(line, 1)], count)
        job = server.startup(["a"], lambda n, line: [(line, 1)], count, options=options)
        pause = threading.Event()
        while job.id in {info.id for info in server.jobs()}:
            pause.wait(0.05)
        with pytest.raises(JobLostError):
            server.attach(job.id)
        assert [info.id for info in server.jobs()] == [kept.id]


def count(key, values):
    return sum(values)
