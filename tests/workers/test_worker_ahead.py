"""A process that is told of its next attempt before the present one has ended."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from worker_orders import (
    Ends,
    Gate,
    order,
    process_of,
    process_pool,
    result_of,
    run,
    start,
    wait_for,
    wait_until_gone,
)

from map_reduce.core.messages import Failed, Outcome
from map_reduce.workers import slot
from map_reduce.workers.pool import ProcessWorkerPool

AGES_S = 1e6


@pytest.fixture(autouse=True)
def _whatever_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No attempt is too long to have another wait behind it, so that no test depends on time."""
    monkeypatch.setattr(slot, "BRISK_S", AGES_S)
    monkeypatch.setattr(slot, "LONG_S", AGES_S)


@pytest.fixture
def way_on(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "way on")


def held(gate: Gate, way_on: Gate, then: Callable[[], Any] = list) -> Callable[[int, Any], Any]:
    """A map that tells its process at the gate, and goes on when it is let on."""
    here, on = gate.path, way_on.path

    def hold(index: int, item: Any) -> Any:
        with open(here, "w") as file:
            file.write(str(os.getpid()))
        with open(on) as file:
            file.read()
        then()
        return [("pid", os.getpid())]

    return hold


def let_on(way_on: Gate) -> None:
    Path(way_on.path).write_text("go on")


def where(index: int, item: Any) -> Any:
    return [("pid", os.getpid())]


def pid_of(outcome: Outcome) -> int:
    [pid] = result_of(outcome)["pid"]
    assert isinstance(pid, int)
    return pid


def line_up(
    pool: ProcessWorkerPool,
    gate: Gate,
    way_on: Gate,
    then: Callable[[], Any] = list,
    behind: int = 4,
    **more: Any,
) -> tuple[int, Ends, list[Ends]]:
    """The process, its present attempt, which is held and then does ``then``, and those behind it,
    of the first of which the process has been told. That one is ordered with ``more``."""
    start(pool, order(held(gate, way_on), [0], task=100))
    gate.wait()  # or else what follows would be over before there are many
    present = start(pool, order(held(gate, way_on, then), [0], task=101))
    ends = [start(pool, order(where, [0], task=0, **more))]
    ends += [start(pool, order(where, [0], task=number)) for number in range(1, behind)]
    let_on(way_on)
    pid = int(gate.wait())
    wait_for(lambda: pool._slots[0].ahead is not None)
    assert pool.busy() == 1 + behind
    assert [running.attempt.task for running in pool.running()] == [101]
    return pid, present, ends


def test_what_a_process_was_told_of_runs_there_in_turn(
    pool: ProcessWorkerPool, gate: Gate, way_on: Gate
) -> None:
    pid, present, ends = line_up(pool, gate, way_on)
    let_on(way_on)
    assert [pid_of(ended.outcome()) for ended in (present, *ends)] == [pid] * 5
    assert pool.busy() == 0
    assert pool._slots[0].ahead is None


def test_who_dies_is_blamed_and_the_next_one_is_given_to_another_process(
    pool: ProcessWorkerPool, gate: Gate, way_on: Gate
) -> None:
    pid, present, ends = line_up(pool, gate, way_on, lambda: os._exit(7))
    let_on(way_on)
    assert "status 7" in present.failed().failure.message
    others = {pid_of(ended.outcome()) for ended in ends}
    assert len(others) == 1
    assert pid not in others


def test_a_next_one_that_dies_is_blamed_itself(
    pool: ProcessWorkerPool, gate: Gate, way_on: Gate
) -> None:
    start(pool, order(held(gate, way_on), [0], task=100))
    gate.wait()
    present = start(pool, order(where, [0], task=101))
    dying = start(pool, order(lambda index, item: os._exit(9), [0], task=102))
    behind = [start(pool, order(where, [0], task=number)) for number in range(4)]
    let_on(way_on)
    pid = pid_of(present.outcome())
    failed = dying.failed()
    assert "task 102," in failed.failure.message
    assert "status 9" in failed.failure.message
    assert pid not in [pid_of(ended.outcome()) for ended in behind]


def test_a_process_that_must_not_go_on_does_not_begin_the_next_one(
    pool: ProcessWorkerPool, gate: Gate, way_on: Gate
) -> None:
    def leave_a_thread() -> None:
        threading.Thread(target=threading.Event().wait).start()

    pid, present, ends = line_up(pool, gate, way_on, leave_a_thread)
    let_on(way_on)
    assert pid_of(present.outcome()) == pid
    assert pid not in [pid_of(ended.outcome()) for ended in ends]


def test_the_next_one_is_stopped_and_the_present_one_goes_on(
    pool: ProcessWorkerPool, gate: Gate, way_on: Gate
) -> None:
    pid, present, ends = line_up(pool, gate, way_on)
    pool.stop("job", "whole", 0)
    wait_for(lambda: pool._slots[0].ahead is None)
    assert pool.busy() == 1 + 3
    let_on(way_on)
    assert [pid_of(ended.outcome()) for ended in (present, *ends[1:])] == [pid] * 4
    assert ends[0].is_empty


def test_the_present_one_is_stopped_and_the_next_one_is_made(
    pool: ProcessWorkerPool, gate: Gate, way_on: Gate
) -> None:
    pid, present, ends = line_up(pool, gate, way_on)
    pool.stop("job", "whole", 101)
    assert pid not in [pid_of(ended.outcome()) for ended in ends]
    assert present.is_empty
    wait_until_gone(pid)


def test_a_job_is_stopped_with_all_that_its_processes_were_told_of(
    pool: ProcessWorkerPool, gate: Gate, way_on: Gate
) -> None:
    pid, present, ends = line_up(pool, gate, way_on)
    pool.stop("job")
    assert pool.busy() == 0
    assert process_of(pool) != pid
    assert all(ended.is_empty for ended in (present, *ends))


def test_a_next_one_that_is_stopped_just_as_it_begins_is_ended(
    pool: ProcessWorkerPool,
    gate: Gate,
    way_on: Gate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The slot's thread comes late: it finds the bell rung and the end of the one before at once.
    Nothing wakes it again, as what has begun never lets go of the interpreter."""
    begun = Gate(tmp_path / "begun")
    here = begun.path

    def hold_the_lock(index: int, item: Any) -> Any:
        with open(here, "w") as file:
            file.write(str(os.getpid()))
        re.match("(a+)+$", "a" * 60 + "b")
        return []

    pids = []
    wait = slot.Slot._wait

    def wait_late(self: slot.Slot, timeout_s: float | None) -> Any:
        if self._told is not None and not pids:
            gate.wait()
            let_on(way_on)
            pids.append(int(begun.wait()))
            pool.stop("job", "whole", 0)
        return wait(self, timeout_s)

    start(pool, order(held(gate, way_on), [0], task=100))
    gate.wait()
    present = start(pool, order(held(gate, way_on), [0], task=101))
    stopped = start(pool, order(hold_the_lock, [0], task=0))
    ends = [start(pool, order(where, [0], task=number)) for number in (1, 2)]
    monkeypatch.setattr(slot.Slot, "_wait", wait_late)
    let_on(way_on)
    assert [pid_of(present.outcome())] == pids
    assert pids[0] not in {pid_of(ended.outcome()) for ended in ends}
    assert stopped.is_empty


@pytest.mark.slow
def test_a_pool_that_closes_reports_neither(scratch: Path, gate: Gate, way_on: Gate) -> None:
    with process_pool(scratch) as pool:
        _, present, ends = line_up(pool, gate, way_on)
    assert all(ended.is_empty for ended in (present, *ends))


@pytest.mark.slow
def test_the_deadline_of_the_next_one_is_counted_from_its_own_beginning(
    pool: ProcessWorkerPool, gate: Gate, way_on: Gate
) -> None:
    def take_longer_than_that() -> None:
        threading.Event().wait(3.1)

    _, present, ends = line_up(pool, gate, way_on, take_longer_than_that, timeout_s=3.0)
    let_on(way_on)
    pid_of(present.outcome())
    pid_of(ends[0].outcome())


def test_the_present_one_runs_out_of_time_alone(
    pool: ProcessWorkerPool, gate: Gate, way_on: Gate
) -> None:
    start(pool, order(held(gate, way_on), [0], task=100))
    gate.wait()
    present = start(pool, order(held(gate, way_on), [0], task=101, timeout_s=0.2))
    ends = [start(pool, order(where, [0], task=number)) for number in range(4)]
    let_on(way_on)
    gate.wait()
    assert "task 101," in present.failed().failure.message
    assert len({pid_of(ended.outcome()) for ended in ends}) == 1


def test_none_waits_behind_a_long_one(
    scratch: Path, gate: Gate, way_on: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "LONG_S", 0.02)
    other_gate, other_way = Gate(tmp_path / "other gate"), Gate(tmp_path / "other way")
    with process_pool(scratch, slots=2, warm=2) as pool:
        first = start(pool, order(held(gate, way_on), [0], task=100))
        gate.wait()
        second = start(pool, order(held(other_gate, other_way), [0], task=101))
        other = int(other_gate.wait())
        long = start(pool, order(held(gate, way_on), [0], task=102))
        ends = [start(pool, order(where, [0], task=number)) for number in range(10)]
        let_on(way_on)
        pid_of(first.outcome())
        pid = int(gate.wait())  # in the long one, behind which the next one has been put
        wait_for(lambda: all(slot.ahead is None for slot in pool._slots))
        assert pool.busy() == 2 + 10
        let_on(other_way)
        assert {pid_of(ended.outcome()) for ended in (second, *ends)} == {other}
        let_on(way_on)
        assert pid_of(long.outcome()) == pid


@pytest.mark.slow
def test_processes_are_replaced_after_as_many_attempts_as_ever(
    scratch: Path, gate: Gate, way_on: Gate
) -> None:
    with process_pool(scratch, tasks_per_worker_max=3) as pool:
        first = start(pool, order(held(gate, way_on), [0], task=100))
        gate.wait()
        ends = [start(pool, order(where, [0], task=number)) for number in range(6)]
        let_on(way_on)
        pids = [pid_of(ended.outcome()) for ended in (first, *ends)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


@pytest.mark.parametrize("long_s", [0.0, pytest.param(AGES_S, marks=pytest.mark.slow)])
def test_every_attempt_is_answered_once_whatever_crosses(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, long_s: float
) -> None:
    """With 0 s all that a process was told of is asked for at once, as it begins perhaps."""
    monkeypatch.setattr(slot, "LONG_S", long_s)

    def now_and_then(index: int, item: int) -> Any:
        if item % 50 == 33:
            os._exit(3)
        sys.setswitchinterval(1e-5)
        return [(item, 1)]

    with process_pool(scratch, slots=2, tasks_per_worker_max=40) as pool:
        ends = [start(pool, order(now_and_then, [n], task=n)) for n in range(200)]
        outcomes = [ended.outcome() for ended in ends]
        assert all(ended.is_empty for ended in ends)
        assert pool.busy() == 0
        assert run(pool, where, [0])
    for number, outcome in enumerate(outcomes):
        if number % 50 == 33:
            assert isinstance(outcome, Failed)
            assert f"task {number}," in outcome.failure.message
        else:
            assert list(result_of(outcome)) == [number]
