"""Workers that are forked from a template are as good as fresh interpreters, and end as they do."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from worker_orders import (
    Gate,
    forever,
    is_there,
    kill_idle,
    order,
    process_of,
    process_pool,
    result_of,
    run,
    start,
    telling,
    template_of,
    the_list,
    wait_for,
    wait_until_gone,
    workers_of,
)

from map_reduce.workers import births, child, slot, template
from map_reduce.workers.pool import ProcessWorkerPool
from map_reduce.workers.template_process import _Worker

pytestmark = pytest.mark.skipif(not template.HAS_TEMPLATES, reason="none on this system")


@contextmanager
def two_workers(scratch: Path) -> Iterator[ProcessWorkerPool]:
    """A pool with two, both ready. Not a fixture: while those are made, pytest has another
    environment than later, and so there would be two templates."""
    with process_pool(scratch, slots=2, warm=2) as pool:
        wait_for(lambda: all(slot.warmth == 2 for slot in pool._slots))
        yield pool


def _about(index: int, item: Any) -> Any:
    with open(item, "w") as file:  # the other end opens it when both have come this far
        file.write("\n")
    yield "parent", os.getppid()
    yield "own", os.getpid() == os.getpgrp() == os.getsid(0)
    yield "random", random.random()
    yield "SIGCHLD", signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    yield "wakeup", signal.set_wakeup_fd(-1)
    yield "threads", threading.active_count()
    for number in os.listdir("/proc/self/fd"):
        if os.path.exists(f"/proc/self/fd/{number}") and int(number) > 2:
            yield "open", os.readlink(f"/proc/self/fd/{number}").partition(":")[0]


def test_they_are_forks_of_one_process_and_share_nothing(scratch: Path, tmp_path: Path) -> None:
    gates = [Gate(tmp_path / str(number)) for number in range(2)]
    with two_workers(scratch) as pool:
        ends = [start(pool, order(_about, [gate.path])) for gate in gates]
        for gate in gates:
            gate.wait()
        one, other = (result_of(end.outcome()) for end in ends)
    assert one["parent"] == other["parent"] != [os.getpid()]
    assert one["random"] != other["random"]
    for about in one, other:
        assert about["own"] == about["SIGCHLD"] == [True]
        assert (about["wakeup"], about["threads"]) == ([-1], [2])
        assert sorted(about["open"]) == ["pipe", "socket"]  # its lifeline and its connection


def test_what_an_interpreter_takes_over_at_its_start_is_up_to_date(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def around(index: int, item: Any) -> Any:
        os.umask(umask := os.umask(0o77))
        yield "here", (os.environ.get("OF_THE_TEST"), os.getcwd(), umask)

    with two_workers(scratch) as pool:
        former = template_of(process_of(pool))
        kill_idle(pool)
        assert template_of(process_of(pool)) == former
        monkeypatch.setenv("OF_THE_TEST", "here")
        monkeypatch.chdir(tmp_path)
        kill_idle(pool)
        assert is_there(former)  # as long as it has a worker
        kill_idle(pool)
        os.umask(restored := os.umask(0o27))
        assert run(pool, around, [0]) == {"here": [("here", str(tmp_path), restored)]}
        kill_idle(pool)
        os.umask(0o27)
        try:
            assert run(pool, around, [0]) == {"here": [("here", str(tmp_path), 0o27)]}
        finally:
            os.umask(restored)
        wait_until_gone(former)


def test_a_node_whose_program_has_blocked_sigchld_hears_of_ends(scratch: Path) -> None:
    def leave(index: int, item: Any) -> Any:
        os._exit(3)

    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        with process_pool(scratch) as pool:
            assert "status 3" in start(pool, order(leave, [0])).failed().failure.message
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def test_where_the_template_is_killed_its_workers_work_on_and_others_come_from_another(
    scratch: Path, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    with two_workers(scratch) as pool:
        worker = process_of(pool)
        former = template_of(worker)
        os.kill(former, signal.SIGKILL)
        wait_for(lambda: template_of(worker) != former)
        assert process_of(pool) == worker
        ends = start(pool, order(telling(gate, forever), [0]))
        os.kill(int(gate.wait()), signal.SIGKILL)
        assert "how is not known" in ends.failed().failure.message
        wait_for(lambda: len(workers_of()) == 1)  # that which took its place
    assert "template process killed by SIGKILL" in caplog.text


def test_a_worker_without_its_template_ends_with_the_pool(scratch: Path, gate: Gate) -> None:
    with process_pool(scratch) as pool:
        start(pool, order(telling(gate, forever), [0]))
        worker = int(gate.wait())
        os.kill(template_of(worker), signal.SIGKILL)
        wait_for(lambda: workers_of() == [])
        assert is_there(worker)
    wait_until_gone(worker)


def test_a_template_that_is_suspended_is_replaced(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with process_pool(scratch) as pool:
        former = template_of(process_of(pool))
        os.kill(former, signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr(slot, "START_WAIT_S", 0.1)
            patch.setattr(slot, "START_TRIES", 1)
            patch.setattr(template, "BIRTH_WAIT_S", 0.0)
            patch.setattr(child, "REAP_WAIT_S", 0.1)
            kill_idle(pool)
            assert "not ready within" in start(pool, order(the_list, [])).failed().failure.message
        assert template_of(process_of(pool)) != former
        wait_until_gone(former)


@pytest.mark.parametrize(
    ("custom", "says"),
    [
        ("import threading; threading.Thread(target=threading.Event().wait).start()", "threads"),
        ("import os, sys; 'template' in ' '.join(sys.orig_argv) and os._exit(7)", "status 7"),
    ],
)
def test_without_a_template_each_worker_is_an_interpreter(
    scratch: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    custom: str,
    says: str,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(custom)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with process_pool(scratch) as pool:
        assert template_of(process_of(pool)) == os.getpid()
        kill_idle(pool)
        assert template_of(process_of(pool)) == os.getpid()
    assert "each worker process is started by itself" in caplog.text
    assert says in caplog.text


def test_interpreters_end_as_forks_do(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(births, "HAS_TEMPLATES", False)
    with process_pool(scratch) as pool:
        for die, how in (
            (lambda: os._exit(3), "exited with status 3"),
            (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL"),
        ):
            worker = process_of(pool)
            assert template_of(worker) == os.getpid()
            failed = start(pool, order(lambda index, item, die=die: die(), [0])).failed()
            assert how in failed.failure.message
            wait_until_gone(worker)
        start(pool, order(lambda index, item: forever(), [0]))


def test_what_has_no_group_of_its_own_yet_is_killed_too() -> None:
    """A worker that is to be killed as it is forked, before it leaves its parent's group."""
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    assert os.getpgid(process.pid) == os.getpgrp()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        _Worker(process.pid, ours).kill()
    assert process.wait(60) == -signal.SIGKILL
