"""No worker process outlives its node, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from worker_orders import Gate, is_there, wait_for, wait_until_gone, workers_of

NODE_PROGRAM = Path(__file__).with_name("miniature_node.py")


@contextmanager
def node(work: str, gate: Gate, scratch: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A running node in a process group of its own, and the numbers of all that it started."""
    process = subprocess.Popen(
        [sys.executable, str(NODE_PROGRAM), work, gate.path, str(scratch)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            gate.wait()
            found = psutil.Process(process.pid)
            wait_for(lambda: len(workers_of(process.pid)) == 2)
            yield process, [child.pid for child in found.children(recursive=True)]
        finally:
            process.kill()


@pytest.mark.parametrize("work", ["forever", "without_the_lock", "waiting_for_a_child"])
def test_a_node_that_is_killed_takes_its_workers_along(
    work: str, gate: Gate, scratch: Path
) -> None:
    with node(work, gate, scratch) as (process, workers):
        process.kill()
        wait_until_gone(*workers)


def test_a_fork_of_the_node_keeps_no_workers_alive(gate: Gate, scratch: Path) -> None:
    with node("without_the_lock", gate, scratch) as (process, workers):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("fork\n")
        process.stdin.flush()
        fork = int(process.stdout.readline())
        try:
            process.kill()
            wait_until_gone(*workers)
            assert is_there(fork)
        finally:
            os.kill(fork, signal.SIGKILL)


def test_ctrl_c_does_not_reach_the_workers_and_close_ends_them(gate: Gate, scratch: Path) -> None:
    with node("forever", gate, scratch) as (process, workers):
        assert process.stdout is not None
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "closed\n"
        assert not any(psutil.pid_exists(pid) for pid in workers)
        assert process.wait() == 0
    assert list(scratch.iterdir()) == []
