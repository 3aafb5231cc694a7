"""A user's job on the simulated cluster: that it runs, and that what is wrong is told."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager

import pytest

from map_reduce import counter
from map_reduce.errors import FunctionError
from map_reduce.execution import pair_sides, reduce_side
from map_reduce.simulation.jobs.mutants import mutated
from map_reduce.simulation.jobs.plan import draw_plan
from map_reduce.testing import sequential, simulate

LINES = [f"a b{number % 3} c{number}" for number in range(40)]


def words(number, line):
    counter("lines").add()
    return [(word, 1) for word in line.split()]


def total(word, counts):
    counter("words").add()
    return sum(counts)


def test_the_answer_and_the_counters_are_those_of_one_loop():
    simulated = simulate(LINES, words, total, seeds=range(12))
    assert simulated.result == sequential(LINES, words, total)
    assert simulated.runs == 12
    assert simulated.faults > 12
    assert simulated.takeovers >= 1
    assert simulated.attempts > 40


def by_one_key(number, value):
    return [("a", value)]


def added(key, values):
    return sum(values)


def test_maps_that_run_once_more_for_the_digits_of_a_sum_are_no_fault():
    simulated = simulate([1e16, *[1] * 39], by_one_key, added, seeds=range(0, 30, 3))
    assert simulated.result == {"a": 1e16}
    assert simulated.takeovers >= 1


@pytest.mark.parametrize("data", [[], ["one line"], {"x": "a b", "y": "b"}, iter(["a", "b", "a"])])
def test_any_data_that_a_job_may_have(data):
    copy = data if isinstance(data, dict) else list(data)
    data = copy if isinstance(data, dict | list) else iter(copy)
    simulated = simulate(data, words, total, total, seeds=range(3))
    assert simulated.result == sequential(copy, words, total)


def test_a_job_that_sorts_does_so_whoever_dies():
    def spread(number, line):
        return [(f"{number * 7919 % 1009:04}{word}", number) for word in line.split()]

    def collect(key, values):
        return list(values)

    simulated = simulate(LINES, spread, collect, sort=True, seeds=range(12))
    assert list(simulated.result) == sorted(simulated.result)
    assert simulated.takeovers >= 1
    with pytest.raises(AssertionError, match="not in the order of keys"), unsorted():
        simulate(LINES, spread, collect, sort=True, seeds=range(3))


@contextmanager
def unsorted():
    """Reduce tasks that leave keys as they come."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reduce_side, "sorted_keys", list)
        patch.setattr(pair_sides, "_are_sorted", lambda pairs: True)
        yield


def test_results_too_large_for_a_message_come_back_whole():
    def long(word, counts):
        return word * 200_000

    simulated = simulate(LINES[:3], words, long, seeds=[1, 2])
    assert len(simulated.result["a"]) == 200_000


def test_a_function_that_remembers_what_it_did_is_found_out():
    def numbered(number, line, seen=[0]):  # noqa: B006  that is the mistake
        seen[0] += 1
        return [(line, seen[0])]

    def first(line, numbers):
        return numbers[0]

    with pytest.raises(AssertionError) as raised:
        simulate(LINES, numbered, first, seeds=range(5, 20))
    told = str(raised.value)
    assert re.match(r"seed \d+: the answer is not that of the sequential run: \d+ keys wrong", told)
    assert "where nothing happens to the nodes" in told
    seed = int(re.search(r"again: simulate\(..., seeds=\[(\d+)\]\)", told)[1])
    with pytest.raises(AssertionError, match=f"seed {seed}: the answer"):
        simulate(LINES, numbered, first, seeds=[seed])


def test_counters_that_differ_are_told():
    def uneven(number, line, seen=[]):  # noqa: B006
        counter("new").add(not seen)
        seen.append(number)
        return [(line, 1)]

    with pytest.raises(AssertionError, match=r"the counters are not .*1 keys wrong: 'new'"):
        simulate(LINES, uneven, total, seeds=range(9))


def test_faults_without_which_it_would_not_fail_are_told():
    plans = [plan for plan in map(draw_plan, range(0, 60, 3)) if plan.submitted and plan.acts]
    with mutated("nobody-takes-over"), pytest.raises(AssertionError) as raised:
        simulate(LINES, words, total, seeds=[plan.seed for plan in plans])
    told = str(raised.value)
    assert "the job has not ended" in told
    assert re.search(r"with no more faults than these .*:\n  +\d+\.\d\d s: \w+ the master", told)


def test_what_the_functions_raise_alone_is_raised():
    with pytest.raises(ZeroDivisionError):
        simulate([1, 0], lambda n, x: [(1 // x, 1)], total)


def test_a_function_that_raises_in_a_copy_fails_the_job():
    here = []

    def once(number, line):
        here.append(line)
        if len(here) > 1 and here[0] != LINES[0]:
            raise ValueError("a second record")
        return [(line, 1)]

    with pytest.raises(
        AssertionError, match=r"seed \d+: the job has failed: (?s:.*)a second record"
    ):
        simulate(LINES, once, total, seeds=range(9))


def test_what_does_not_travel_is_told():
    lock = threading.Lock()
    with pytest.raises(FunctionError, match="map does not travel"):
        simulate(["a"], lambda n, x: [(lock.locked(), 1)], total)


def test_an_attempt_that_is_run_twice_leaves_the_files_of_others_alone():
    simulated = simulate([1e16, *[1] * 39], by_one_key, added, seeds=[20920])
    assert simulated.result == {"a": 1e16}
