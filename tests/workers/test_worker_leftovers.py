"""What a task leaves behind in its process does not reach the next task."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from worker_orders import process_of, run, wait_until_gone

from map_reduce.workers.pool import ProcessWorkerPool


def _change_folder() -> None:
    os.chdir("/")


def _change_environment() -> None:
    os.environ["LEFT_BY_A_TASK"] = "1"
    del os.environ["PATH"]


def _change_import_path() -> None:
    sys.path.clear()


def _change_umask() -> None:
    os.umask(0o777)


def _set_an_alarm() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.3)


def _leave_a_daemon_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def _leave_a_dead_child() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


def _surroundings(index: int, item: Any) -> Any:
    umask = os.umask(0)
    os.umask(umask)
    seen = (os.getcwd(), dict(os.environ), list(sys.path), umask)
    return [("surroundings", seen), ("alarm", signal.getitimer(signal.ITIMER_REAL))]


@pytest.mark.parametrize(
    "leave",
    [
        _change_folder,
        _change_environment,
        _change_import_path,
        _change_umask,
        _set_an_alarm,
        _leave_a_daemon_thread,
        _leave_a_dead_child,
    ],
)
def test_what_can_be_put_back_is(pool: ProcessWorkerPool, leave: Callable[[], None]) -> None:
    before, pid = run(pool, _surroundings, [0]), process_of(pool)
    assert run(pool, lambda index, item: [(1, leave())], [0]) == {1: [None]}
    assert run(pool, _surroundings, [0]) == before
    assert process_of(pool) == pid


def _leave_a_thread() -> None:
    threading.Thread(target=threading.Event().wait).start()


def _leave_a_child() -> None:
    subprocess.Popen(["sleep", "1000"])


def _leave_a_forked_child() -> None:
    if os.fork() == 0:
        signal.pause()


def _close_standard_output() -> None:
    sys.stdout.close()


def _close_descriptor_1() -> None:
    os.close(1)


def _leave_files_open() -> None:
    for _ in range(150):
        os.open(os.devnull, os.O_RDONLY)


@pytest.mark.parametrize(
    "leave",
    [
        _leave_a_thread,
        _leave_a_child,
        _leave_a_forked_child,
        _close_standard_output,
        _close_descriptor_1,
        _leave_files_open,
    ],
)
def test_a_process_is_replaced_where_it_cannot_be_put_back(
    pool: ProcessWorkerPool, leave: Callable[[], None]
) -> None:
    pid = process_of(pool)
    group = [*psutil.Process(pid).children(), psutil.Process(pid)]
    assert run(pool, lambda index, item: [(1, leave())], [0]) == {1: [None]}
    assert process_of(pool) != pid
    wait_until_gone(*(process.pid for process in group))


def test_a_forked_child_that_comes_back_reports_nothing(pool: ProcessWorkerPool) -> None:
    def fork(index: int, item: Any) -> Any:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        return [("children", bool(child))]

    assert run(pool, fork, [0]) == {"children": [True]}
    assert run(pool, lambda index, item: [(item, 1)], [5]) == {5: [1]}
