"""What worker processes are there for: surviving what user code does, and leaving nothing."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from worker_orders import (
    NODE,
    WAIT_S,
    Gate,
    files_in,
    forever,
    kill_idle,
    order,
    process_of,
    process_pool,
    result_of,
    run,
    start,
    telling,
    the_list,
    wait_for,
    wait_until_gone,
    waiting_for_a_child,
    without_the_lock,
    workers_of,
)

from map_reduce.core.messages import Failed, MapOutput, Outcome, ReduceOutput
from map_reduce.ports import LocalInput, Made
from map_reduce.workers import slot
from map_reduce.workers.pool import ProcessWorkerPool
from map_reduce.workers.tasks import Task

# ------------------------------------------------------------------ how it is started


def test_it_imports_nothing_that_user_code_does_not_need(pool: ProcessWorkerPool) -> None:
    def loaded(index: int, item: Any) -> Any:
        return [("modules", list(sys.modules))]

    [modules] = run(pool, loaded, [0])["modules"]
    unneeded = ("Pyro4", "psutil", "multiprocessing", "worker_orders", "hashlib", "_hashlib")
    unneeded += ("tempfile", "shutil", "bz2", "lzma", "gzip", "fractions", "random")
    layers = tuple(f"map_reduce.{name}" for name in ("transport", "server", "client", "runtime"))
    assert [name for name in modules if name.startswith(unneeded + layers)] == []


def test_strings_hash_alike_in_every_process(scratch: Path) -> None:
    def hashed(index: int, item: Any) -> Any:
        return [(os.environ["PYTHONHASHSEED"], hash("a text"))]

    found = []
    for _ in range(2):
        with process_pool(scratch, hash_seed=77) as pool:
            found.append(run(pool, hashed, [0]))
    assert found[0] == found[1]
    assert list(found[0]) == ["77"]


def test_it_finds_modules_where_this_process_does(
    pool: ProcessWorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module_of_the_test.py").write_text("ANSWER = 42")
    monkeypatch.syspath_prepend(str(tmp_path))

    def ask(index: int, item: Any) -> Any:
        import module_of_the_test

        return [("answer", module_of_the_test.ANSWER)]

    kill_idle(pool)  # the next one starts with the path as it is now
    assert run(pool, ask, [0]) == {"answer": [42]}


def test_a_file_in_the_current_folder_takes_no_modules_place(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("socket", "threading", "map_reduce"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    with process_pool(scratch) as pool:
        assert run(pool, lambda index, item: [(item, os.getcwd())], [0]) == {0: [str(tmp_path)]}


def test_what_user_code_prints_is_seen(
    capfd: pytest.CaptureFixture[str], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)

    def say(index: int, item: Any) -> Any:
        print("x" * 3_000_000)
        print("to standard error", file=sys.stderr)
        return []

    with process_pool(scratch) as pool:
        assert run(pool, say, [0]) == {}
    printed = capfd.readouterr()
    assert printed.out.count("x") == 3_000_000
    assert "to standard error" in printed.err


def test_an_order_larger_than_a_socket_takes_at_once(pool: ProcessWorkerPool) -> None:
    text = "y" * 5_000_000
    assert run(pool, lambda index, item: [(index, len(item))], [text]) == {0: [5_000_000]}


def test_it_gives_way_to_daemons_in_time_and_in_memory(pool: ProcessWorkerPool) -> None:
    def ranks(index: int, item: Any) -> Any:
        with open("/proc/self/oom_score_adj") as file:
            return [("nice", os.nice(0)), ("badness", int(file.read()))]

    assert run(pool, ranks, [0]) == {"nice": [min(19, os.nice(0) + 5)], "badness": [500]}


def test_processor_time_is_counted(pool: ProcessWorkerPool) -> None:
    def work(index: int, item: Any) -> Any:
        return [("sum", sum(range(1_000_000)))]

    outcome = start(pool, order(work, [0])).outcome()
    assert isinstance(outcome, ReduceOutput)
    assert 0 < outcome.counts.user_s < 10


# ------------------------------------------------------------------ how it ends


@pytest.mark.parametrize("then", [forever, without_the_lock, waiting_for_a_child])
def test_what_runs_too_long_is_ended(
    pool: ProcessWorkerPool, gate: Gate, then: Callable[[], Any]
) -> None:
    ends = start(pool, order(telling(gate, then), [0], timeout_s=0.3))
    pid = int(gate.wait())
    failed = ends.failed()
    assert (failed.failure.kind, failed.retry) == ("TaskTimeoutError", True)
    for part in ("whole task 0, attempt 1", NODE, "0.3 s", "MR_MAX_TASK_TIMEOUT"):
        assert part in failed.failure.message
    wait_until_gone(pid)
    assert process_of(pool) != pid


def test_a_timeout_tells_about_where_it_was(pool: ProcessWorkerPool) -> None:
    def slow_third(index: int, item: Any) -> Any:
        if index == 2:
            forever()
        return []

    failed = start(pool, order(slow_third, ["a", "b", "c"], timeout_s=1.0)).failed()
    assert re.search(r"(near|after about) .*2", failed.failure.message)


def _exit() -> None:
    os._exit(3)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _crash() -> None:
    import ctypes

    ctypes.string_at(0)


def _close_descriptors() -> None:
    os.closerange(3, 1000)


def _write_into_the_connection() -> None:
    import socket

    for number in range(3, 100):
        try:
            socket.socket(fileno=os.dup(number)).send(b"\0\0\0\5hello")
        except OSError:
            continue


@pytest.mark.parametrize(
    ("die", "how"),
    [
        (_exit, "exited with status 3"),
        (_kill, "killed by SIGKILL, which is what the kernel does when memory runs out"),
        (_crash, "crashed with SIGSEGV"),
        (_close_descriptors, "closed file descriptors that it had not opened"),
        (_write_into_the_connection, "sent what is no message"),
    ],
)
def test_a_death_is_an_outcome_in_words(
    pool: ProcessWorkerPool, die: Callable[[], None], how: str
) -> None:
    before = process_of(pool)
    failed = start(pool, order(lambda index, item: die(), [0], number=1)).failed()
    assert (failed.failure.kind, failed.retry) == ("WorkerDiedError", True)
    for part in ("whole task 0, attempt 2", NODE, how):
        assert part in failed.failure.message
    assert process_of(pool) != before


@pytest.mark.parametrize("last", [0, 40])
def test_a_careful_attempt_names_the_very_record_it_died_at(
    pool: ProcessWorkerPool, last: int
) -> None:
    def die_at(index: int, item: Any) -> Any:
        if index == last:
            os._exit(1)
        return []

    failed = start(pool, order(die_at, list(range(50)), careful=True)).failed()
    assert re.search(rf"^  at .*\b{last}\b", failed.failure.message, re.MULTILINE)


@pytest.mark.parametrize(
    ("end", "cause", "sure"),
    [
        (_exit, "WorkerDiedError", True),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "WorkerDiedError", True),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "WorkerDiedError", False),
        (forever, "TaskTimeoutError", True),
    ],
    ids=["exit", "crash", "kill", "forever"],
)
def test_a_careful_attempt_tells_the_record_that_it_ended_at(
    pool: ProcessWorkerPool, end: Callable[[], Any], cause: str, sure: bool
) -> None:
    def ends_at(index: int, item: Any) -> Any:
        if index == 7:
            end()
        return []

    items = [f"item no {number}" for number in range(20)]
    timeout_s = 2.0 if end is forever else 60.0
    suspect = start(pool, order(ends_at, items, careful=True, timeout_s=timeout_s)).failed().suspect
    assert suspect is not None
    assert (suspect.phase, suspect.position, suspect.cause) == ("map", 7, cause)
    assert (suspect.bad.where, suspect.bad.record) == ("item 7", "'item no 7'")
    assert suspect.sure == sure


def test_a_record_that_was_merely_the_last_before_the_time_was_up_is_not_blamed(
    pool: ProcessWorkerPool,
) -> None:
    def busy(index: int, item: Any) -> Any:
        while item > 0:
            item -= 1
        return []

    failed = start(pool, order(busy, [10_000] * 500_000, careful=True, timeout_s=1.0)).failed()
    assert failed.failure.kind == "TaskTimeoutError"
    assert failed.suspect is None
    assert re.search(r"at item \d+", failed.failure.message)


def test_no_record_is_blamed_for_a_death_between_records(pool: ProcessWorkerPool) -> None:
    class Deadly:
        def __reduce__(self) -> Any:
            os._exit(3)

    def gives(index: int, item: Any) -> Any:
        return [(index, Deadly())]

    failed = start(pool, order(gives, ["a"], careful=True)).failed()
    assert failed.failure.kind == "WorkerDiedError"
    assert failed.suspect is None


def test_a_death_is_seen_though_a_forked_child_lives_on(
    pool: ProcessWorkerPool, gate: Gate
) -> None:
    path = gate.path

    def fork_and_die(index: int, item: Any) -> Any:
        if os.fork() == 0:
            os.setsid()  # out of reach of whoever ends the group
            with open(path, "w") as file:
                file.write(str(os.getpid()))
            signal.pause()
        signal.pause()

    ends = start(pool, order(fork_and_die, [0]))
    forked = int(gate.wait())
    try:
        os.kill(psutil.Process(forked).ppid(), signal.SIGTERM)
        assert "killed by SIGTERM" in ends.failed().failure.message
    finally:
        os.kill(forked, signal.SIGKILL)


def test_what_is_stopped_before_its_report_is_not_reported(
    pool: ProcessWorkerPool, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, ended = pool._finished, threading.Event()

    def finished(task: Task, outcome: Outcome | None, made: Made) -> None:
        if task.order.attempt.phase == "map":  # it has ended, and nobody has heard of it
            pool.stop("job", "map")
            ended.set()
        plain(task, outcome, made)

    for each in pool._slots:
        monkeypatch.setattr(each, "_finished", finished)
    late = start(pool, order(lambda index, item: [], [], phase="map"))
    assert ended.wait(WAIT_S)
    process_of(pool)
    assert late.is_empty
    assert files_in(scratch) == []


def test_a_callback_that_fails_costs_its_slot_nothing(pool: ProcessWorkerPool) -> None:
    def fault(outcome: Outcome, made: Made) -> None:
        raise ZeroDivisionError

    for _ in range(pool.slots):
        pool.submit(order(the_list, []), LocalInput(), fault)
    for _ in range(pool.slots):
        assert run(pool, lambda index, item: [(index, item)], [1]) == {0: [1]}


def test_stopping_kills_the_process_and_its_children(pool: ProcessWorkerPool, gate: Gate) -> None:
    ends = start(pool, order(telling(gate, waiting_for_a_child), [0]))
    pid = int(gate.wait())
    worker = psutil.Process(pid)
    wait_for(lambda: bool(worker.children()))
    children = [child.pid for child in worker.children()]
    pool.stop("job", "whole", 0, 0)
    wait_until_gone(pid, *children)
    assert process_of(pool) != pid
    assert ends.is_empty


@pytest.mark.parametrize("then", [forever, without_the_lock, waiting_for_a_child])
def test_closing_kills_what_runs(scratch: Path, gate: Gate, then: Callable[[], Any]) -> None:
    with process_pool(scratch) as pool:
        ends = start(pool, order(telling(gate, then), [0]))
        gate.wait()
    assert ends.is_empty


def test_closing_kills_a_process_that_is_suspended(scratch: Path) -> None:
    with process_pool(scratch) as pool:
        os.kill(process_of(pool), signal.SIGSTOP)
        start(pool, order(the_list, ["z" * 5_000_000]))


def test_closing_at_once_is_fine(scratch: Path) -> None:
    with process_pool(scratch, slots=3, warm=3):
        pass


def test_processes_start_when_there_is_work_for_them(scratch: Path, gate: Gate) -> None:
    with process_pool(scratch, slots=3) as pool:
        process_of(pool)
        assert len(workers_of()) == 1
        start(pool, order(telling(gate, forever), [0]))
        gate.wait()
        process_of(pool)
        assert len(workers_of()) == 2


def test_a_process_that_is_warm_goes_first(scratch: Path) -> None:
    with process_pool(scratch, slots=3) as pool:
        assert len({process_of(pool) for _ in range(10)}) == 1


def test_where_work_is_expected_all_processes_start(scratch: Path) -> None:
    with process_pool(scratch, slots=3) as pool:
        pool.expect()
        wait_for(lambda: len(workers_of()) == 3)
        pids = {worker.pid for worker in workers_of()}
        pool.expect()
        assert process_of(pool) in pids
        assert {worker.pid for worker in workers_of()} == pids


def test_a_process_that_dies_while_idle_is_reaped_and_replaced(pool: ProcessWorkerPool) -> None:
    pid = kill_idle(pool)
    wait_until_gone(pid)
    assert process_of(pool) != pid


# ------------------------------------------------------------------ when it does not start


def _python_that(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Have worker processes be this shell script; it may count its calls in the file given."""
    program, calls = folder / "python", folder / "calls"
    program.write_text(f"#!/bin/sh\necho call >> {calls}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return calls


def test_processes_that_do_not_start_are_told_of_and_not_tried_for_ever(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _python_that(tmp_path, monkeypatch, "echo no memory for that >&2; exit 9")
    with process_pool(scratch, warm=0) as pool:
        failed = start(pool, order(the_list, [])).failed()
    for part in ("do not start", "no memory for that", "status 9", NODE):
        assert part in failed.failure.message
    assert (failed.failure.kind, failed.retry) == ("JobError", True)
    calls_max = slot.START_TRIES + 1  # a template, perhaps
    assert slot.START_TRIES <= len(calls.read_text().split()) <= calls_max


def test_a_process_that_does_not_get_ready_is_ended(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _python_that(tmp_path, monkeypatch, "exec sleep 1000")
    monkeypatch.setattr(slot, "START_WAIT_S", 0.05)
    with process_pool(scratch, warm=0) as pool:
        failed = start(pool, order(the_list, [])).failed()
    assert "not ready within 0.05 s" in failed.failure.message


def test_a_missing_interpreter_is_named(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    with process_pool(scratch, warm=1) as pool:
        failed = start(pool, order(the_list, [])).failed()
    assert str(tmp_path / "nowhere") in failed.failure.message


def test_an_attempt_that_waits_for_a_process_can_be_stopped(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _python_that(tmp_path, monkeypatch, "exec sleep 1000")
    with process_pool(scratch) as pool:
        ends = start(pool, order(the_list, []))
        pool.stop("job")
        assert pool.busy() == 0
    assert ends.is_empty


def test_a_process_is_replaced_after_so_many_tasks(scratch: Path) -> None:
    with process_pool(scratch, tasks_per_worker_max=3) as pool:
        pids = [process_of(pool) for _ in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


def test_attempts_share_the_folder_of_their_process_and_leave_no_files_there(
    pool: ProcessWorkerPool, scratch: Path
) -> None:
    def failing(index: int, item: Any) -> Any:
        raise SystemExit(3)

    def large(index: int, item: Any) -> Any:
        return [(item, "x" * (1 << 20))]

    ends = [start(pool, order(large, [1], phase="map", careful=True)) for _ in range(2)]
    made = [ended.next() for ended in ends]
    start(pool, order(failing, [1], phase="map", careful=True)).failed()
    outputs = [path for _, path in made if isinstance(path, Path)]
    assert all(isinstance(outcome, MapOutput) for outcome, _ in made)
    assert sorted(files_in(scratch)) == sorted(outputs)
    assert len(set(outputs)) == 2
    [folder] = [path for path in scratch.iterdir() if path.is_dir()]
    os.kill(process_of(pool), signal.SIGKILL)
    wait_for(lambda: not folder.exists())
    for path in outputs:
        path.unlink()


def test_the_files_of_an_attempt_that_dies_are_deleted(
    pool: ProcessWorkerPool, scratch: Path
) -> None:
    folder = str(scratch)

    def litter(index: int, item: Any) -> Any:
        [own] = [name for name in os.listdir(folder) if name.startswith("attempt-")]
        with open(f"{folder}/{own}/spill", "w") as file:
            file.write("half of it")
        os._exit(1)

    failed = start(pool, order(litter, [0], phase="map", careful=True)).outcome()
    assert isinstance(failed, Failed)
    assert list(scratch.iterdir()) == []


def test_many_tasks_of_which_some_die_all_get_an_answer(scratch: Path) -> None:
    def now_and_then(index: int, item: int) -> Any:
        if item % 10 == 3:
            os._exit(item)
        return [(item, os.getpid())]

    with process_pool(scratch, slots=3, tasks_per_worker_max=7) as pool:
        ends = [start(pool, order(now_and_then, [n], task=n)) for n in range(60)]
        outcomes = [end.outcome() for end in ends]
        assert all(end.is_empty for end in ends)
    for number, outcome in enumerate(outcomes):
        if number % 10 == 3:
            assert isinstance(outcome, Failed)
            assert f"task {number}," in outcome.failure.message
            assert f"status {number}," in outcome.failure.message
        else:
            assert list(result_of(outcome)) == [number]
