"""A pool whose attempts run in threads of this very process: for debuggers and for tests.

Breakpoints work and nothing needs to start. What only a process can do is missing: an attempt
that runs cannot be ended, so deadlines do not hold, stopping merely drops its outcome, and
user code that ends its process ends this one.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from map_reduce.core.messages import Outcome, Running, StartAttempt
from map_reduce.errors import Refused
from map_reduce.execution.attempt import Tracker, run_attempt
from map_reduce.ports import LocalInput, Made
from map_reduce.workers.failures import escaped
from map_reduce.workers.loaded import LoadedByJob
from map_reduce.workers.tasks import Task, matches

JOIN_WAIT_S = 10.0

_log = logging.getLogger(__name__)


class InlineWorkerPool:
    """Runs attempts in ``slots`` threads (the ``WorkerPool`` port, as far as threads can).

    Args:
        slots: threads.
        scratch: an existing folder for the attempts' files.
        node: this node's address, for messages.
    """

    def __init__(self, slots: int, *, scratch: Path, node: str) -> None:
        self.slots = slots
        self._scratch = scratch
        self._node = node
        self._functions = LoadedByJob()
        self._loading = threading.Lock()  # for _functions
        self._changed = threading.Condition()  # for all below
        self._queue: deque[Task] = deque()
        self._running: dict[Task, Tracker] = {}
        self._numbers = itertools.count()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"map-reduce-inline-{index}", daemon=True)
            for index in range(slots)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        order: StartAttempt,
        local: LocalInput,
        ended: Callable[[Outcome, Made], None],
    ) -> None:
        """As :class:`map_reduce.ports.WorkerPool`.

        Raises:
            Refused: the pool is closed.
        """
        with self._changed:
            if self._closed:
                raise Refused("the node is stopping and takes no more work")
            self._queue.append(Task(next(self._numbers), order, local, ended))
            self._changed.notify()

    def stop(
        self, job_id: str, phase: str = "", task: int = -1, number: int = -1, epoch: int = -1
    ) -> None:
        """Drop matching attempts; those that run go on to their end, unreported."""
        with self._changed:
            for candidate in [*self._queue, *self._running]:
                if matches(candidate.order.attempt, job_id, phase, task, number, epoch):
                    candidate.stopped = True
            waiting = [candidate for candidate in self._queue if not candidate.stopped]
            self._queue.clear()
            self._queue.extend(waiting)
        if not phase:
            with self._loading:
                self._functions.forget(job_id)

    def running(self) -> tuple[Running, ...]:
        with self._changed:
            return tuple(
                Running(task.order.attempt, tracker.records, tracker.bytes_in)
                for task, tracker in self._running.items()
                if not task.stopped
            )

    def busy(self) -> int:
        with self._changed:
            return len(self._queue) + sum(not task.stopped for task in self._running)

    def close(self) -> None:
        """Drop what waits, and return when what runs has ended, unreported.

        Raises:
            RuntimeError: an attempt still runs after ten seconds.
        """
        with self._changed:
            self._closed = True
            self._queue.clear()
            for task in self._running:
                task.stopped = True
            self._changed.notify_all()
        deadline_s = time.monotonic() + JOIN_WAIT_S
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
            if thread.is_alive():
                raise RuntimeError("an attempt does not end, and a thread cannot be killed")

    # -------------------------------------------------------------- the threads

    def _work(self) -> None:
        while (task := self._take()) is not None:
            outcome, path = self._attempt(task)
            with self._changed:
                del self._running[task]
            if not task.stopped:
                _report(task, outcome, path)
            elif path is not None:
                path.unlink()

    def _take(self) -> Task | None:
        """The next attempt, once there is one. None: the pool closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if self._closed:
                return None
            task = self._queue.popleft()
            self._running[task] = Tracker()
            return task

    def _attempt(self, task: Task) -> tuple[Outcome, Path | None]:
        folder = task.folder(self._scratch)
        output = folder / "output"
        try:
            folder.mkdir()
            with self._changed:
                tracker = self._running[task]
            with self._loading:
                functions = self._functions.get(task.order, task.local.functions)
            outcome, path = run_attempt(
                task.order, task.local, output, tracker, functions, self._node
            )
            if path is None:
                return outcome, None
            return outcome, path.replace(task.delivery(self._scratch))
        except BaseException as error:  # noqa: BLE001  user code may raise SystemExit and worse
            return escaped(error, task.order.attempt, self._node), None
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _report(task: Task, outcome: Outcome, path: Path | None) -> None:
    try:
        task.ended(outcome, path)
    except Exception:  # noqa: BLE001  the thread is needed for the next attempt
        _log.exception("the callback of %s failed", task.order.attempt)
