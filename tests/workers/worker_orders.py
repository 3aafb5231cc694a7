"""Attempts to give to worker pools, and what to look at afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import cloudpickle
import psutil

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import (
    AttemptId,
    CheckWork,
    Failed,
    Functions,
    InlineItems,
    MapWork,
    Outcome,
    ReduceOutput,
    StartAttempt,
    WholeWork,
    Work,
)
from map_reduce.ports import LocalInput, Made, WorkerPool
from map_reduce.workers.births import Births
from map_reduce.workers.launch import Launch
from map_reduce.workers.pool import ProcessWorkerPool

NODE = "127.0.0.1:4711"
WAIT_S = 30.0


def total(key: Any, values: list[Any]) -> Any:
    return sum(values)


def the_list(key: Any, values: list[Any]) -> list[Any]:
    return values


def functions_of(
    map: Callable[[Any, Any], Any], reduce: Callable[[Any, list[Any]], Any] = the_list
) -> Functions:
    # By value, as a user's own modules travel; worker processes are not to import this one.
    here = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(here)
    try:
        pickled = cloudpickle.dumps((map, reduce, None))
    finally:
        cloudpickle.unregister_pickle_by_value(here)
    return Functions(pickled, None, hashlib.blake2b(pickled, digest_size=16).digest())


def order(
    map: Callable[[Any, Any], Any],
    items: list[Any],
    *,
    reduce: Callable[[Any, list[Any]], Any] = the_list,
    job_id: str = "job",
    phase: str = "whole",
    task: int = 0,
    number: int = 0,
    timeout_s: float = 100.0,
    careful: bool = False,
    functions: Functions | None = None,
) -> StartAttempt:
    """An attempt at mapping ``items``; with phase "map" its output is a file."""
    split = InlineItems(pickle.dumps(items), len(items), 0, False)
    work: Work = WholeWork(split)
    if phase == "map":
        work = MapWork(split, 1)
    elif phase == "check":
        work = CheckWork()
    return StartAttempt(
        attempt=AttemptId(job_id, phase, task, number),
        epoch=1,
        master=Address("127.0.0.1", 4711),
        functions=functions or functions_of(map, reduce),
        work=work,
        timeout_s=timeout_s,
        careful=careful,
    )


class Ends:
    """A callback for submit that keeps what it is called with."""

    def __init__(self) -> None:
        self._ends: SimpleQueue[tuple[Outcome, Made]] = SimpleQueue()

    def __call__(self, outcome: Outcome, made: Made) -> None:
        self._ends.put((outcome, made))

    def next(self) -> tuple[Outcome, Made]:
        return self._ends.get(timeout=WAIT_S)

    def outcome(self) -> Outcome:
        return self.next()[0]

    def failed(self) -> Failed:
        outcome = self.outcome()
        assert isinstance(outcome, Failed), outcome
        return outcome

    @property
    def is_empty(self) -> bool:
        return self._ends.empty()


def start(pool: WorkerPool, wanted: StartAttempt, local: LocalInput | None = None) -> Ends:
    ends = Ends()
    pool.submit(wanted, local or LocalInput(), ends)
    return ends


def run(pool: WorkerPool, map: Callable[[Any, Any], Any], items: list[Any], **more: Any) -> Any:
    """The dict that a whole task gives."""
    return result_of(start(pool, order(map, items, **more)).outcome())


def result_of(outcome: Outcome) -> dict[Any, Any]:
    assert isinstance(outcome, ReduceOutput), outcome
    keys, values = pickle.loads(outcome.part.inline)
    return dict(zip(keys, values, strict=True))


def process_of(pool: WorkerPool) -> int:
    """The process that an attempt runs in now."""

    def tell(index: int, item: Any) -> list[tuple[str, int]]:
        return [("pid", os.getpid())]

    pid: int = run(pool, tell, [0], job_id="tell")["pid"][0]
    return pid


def workers_of(node: int | None = None) -> list[psutil.Process]:
    """The worker processes of a node (this process by default), without their template."""
    found = []
    for child in psutil.Process(node).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # just ended, or not reaped yet
            is_template = any("template_process" in word for word in child.cmdline())
            found += child.children() if is_template else [child]
    return found


def template_of(worker: int) -> int:
    """The process that a worker was forked from."""
    return psutil.Process(worker).ppid()


def kill_idle(pool: ProcessWorkerPool) -> int:
    """Kill the process that would run the next attempt, and wait until its slot has seen that."""
    pid = process_of(pool)
    warm = sum(slot.warmth > 0 for slot in pool._slots)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: sum(slot.warmth > 0 for slot in pool._slots) < warm)
    return pid


def is_there(pid: int) -> bool:
    """Whether the process lives, or is a zombie of ours or of our template; others' zombies are
    init's to reap."""
    try:
        found = psutil.Process(pid)
        if found.status() != psutil.STATUS_ZOMBIE:
            return True
        parent = psutil.Process(found.ppid())
        return os.getpid() in (parent.pid, parent.ppid())
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(*pids: int) -> None:
    wait_for(lambda: not any(is_there(pid) for pid in pids))


def wait_for(what: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if what():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come to be within 10 s")


class Gate:
    """A named pipe by which a test and user code in another process wait for each other."""

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        if not os.path.exists(self.path):
            os.mkfifo(self.path)

    def wait(self) -> str:
        """What the user code wrote, once it has (with :func:`pass_gate`)."""
        return Path(self.path).read_text()


def telling(gate: Gate, then: Callable[[], Any]) -> Callable[[int, Any], Any]:
    """A map that tells its process at the gate, and goes on with ``then``."""
    path = gate.path

    def tell(index: int, item: Any) -> Any:
        with open(path, "w") as file:
            file.write(str(os.getpid()))
        return then()

    return tell


def forever() -> None:
    while True:
        pass


def without_the_lock() -> None:
    """Runs for as good as ever without letting go of the interpreter lock."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def waiting_for_a_child() -> None:
    subprocess.run(["sleep", "1000"], check=True)


def descriptors() -> set[str]:
    """The open files of this process."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own is closed by now
            found.add(f"{entry} {os.readlink(f'/proc/self/fd/{entry}')}")
    return found


def files_in(scratch: Path) -> list[Path]:
    """What is left there besides the folders of worker processes, which are theirs for life."""
    return [path for path in scratch.rglob("*") if not path.is_dir()]


@contextlib.contextmanager
def process_pool(scratch: Path, slots: int = 1, **more: Any) -> Iterator[ProcessWorkerPool]:
    """A pool; that it leaves nothing is checked at the end."""
    before = descriptors()
    of_pool = {name: more.pop(name) for name in ("tasks_per_worker_max", "warm") if name in more}
    births = Births(Launch(NODE, more.pop("hash_seed", 0), scratch, **more))
    pool = ProcessWorkerPool(slots, births, **{"tasks_per_worker_max": 1000, **of_pool})
    try:
        yield pool
    finally:
        pool.close()
    assert psutil.Process().children(recursive=True) == []
    left = descriptors() - before
    assert not left, left
    assert [thread for thread in threading.enumerate() if "map-reduce" in thread.name] == []
    assert list(scratch.iterdir()) == []
