"""The worker processes of one node: a queue, and a thread for each slot.

Who does what::

    submit ──▶ queue ──▶ slot thread ◀── socket ──▶ worker process
                             │
                             └──▶ ended(outcome, path)

A slot's thread alone owns its process: it starts, feeds, times out, kills and reaps it, and
nobody else touches it. Others leave word under the pool's lock and ring the slot's doorbell (a
pipe that its thread polls together with the process's socket). So there are no races about
process numbers, and whatever a slot waits for, a process's words or end, a deadline, a new
attempt, a stop, the end of the pool, it waits for in one place.

While attempts are short and many wait, a process is told of the next one before the present one
ends (``workers/slot.py``). Only one, and it can be had back: none waits behind a long one.

Callbacks run in the thread of the slot, which attends to nothing else meanwhile, so they are to
hand over to others what takes its time. To hand over everything would cost a short task more than
its callback does.

A process starts when its slot first gets work (some at once, so that the first job needn't
wait), and is replaced at once after an attempt that killed it, ran out of time, was stopped, or
left it in a state that cannot be cleared; also after a number of attempts. One that dies while
idle is replaced when next needed, so nothing can start processes over and over.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from map_reduce.core.messages import Outcome, Running, StartAttempt
from map_reduce.errors import Refused
from map_reduce.ports import LocalInput, Made
from map_reduce.workers.births import Births
from map_reduce.workers.fair_queue import FairQueue
from map_reduce.workers.slot import Slot
from map_reduce.workers.tasks import Task, matches

JOIN_WAIT_S = 10.0

_log = logging.getLogger(__name__)


class ProcessWorkerPool:
    """Runs attempts in ``slots`` processes of their own (the ``WorkerPool`` port).

    Args:
        slots: processes at most.
        births: where the processes come from; the pool closes it. Attempts' files are made in the
            scratch folder of its launch, and gone after close, but for those that were handed over.
        tasks_per_worker_max: attempts after which a process is replaced.
        warm: processes to start now; the others start when there is work for them.
    """

    def __init__(
        self,
        slots: int,
        births: Births,
        *,
        tasks_per_worker_max: int,
        warm: int = 1,
    ) -> None:
        self.slots = slots
        self._lock = threading.Lock()
        self._queue = FairQueue(time.monotonic)
        self._unreported: set[Task] = set()
        self._numbers = itertools.count()
        self._closed = False
        self._births = births
        self._slots = [
            Slot(
                index,
                births,
                lock=self._lock,
                queue=self._queue,
                finished=self._finished,
                again=self._again,
                attempts_max=tasks_per_worker_max,
                plenty=slots,
                warm=index < warm,
            )
            for index in range(slots)
        ]
        os.register_at_fork(after_in_child=_forgetful(self))
        for slot in self._slots:
            slot.start()

    # -------------------------------------------------------------- the port

    def submit(
        self,
        order: StartAttempt,
        local: LocalInput,
        ended: Callable[[Outcome, Made], None],
    ) -> None:
        """Run it when a slot is free; see :class:`map_reduce.ports.WorkerPool`.

        Raises:
            Refused: the pool is closed.
        """
        with self._lock:
            if self._closed:
                raise Refused("the node is stopping and takes no more work")
            task = Task(next(self._numbers), order, local, ended)
            self._unreported.add(task)
            if not self._give(task):
                self._queue.put(task)

    def _give(self, task: Task) -> bool:
        """To a slot that is free, if there is one. With the lock held."""
        idle = [slot for slot in self._slots if slot.task is None]
        if not idle:
            return False
        slot = max(idle, key=lambda slot: slot.warmth)
        self._queue.begin(task)
        slot.task = task
        slot.ring()
        return True

    def _again(self, task: Task) -> None:
        """A slot has the task no more, which it was to run next. With the lock held."""
        if task.stopped or self._closed:
            self._queue.forget(task)
        elif not self._give(task):
            self._queue.put_back(task)

    def expect(self) -> None:
        """There will be work for every slot soon: start the processes that are not there yet."""
        with self._lock:
            if self._closed:
                return
            for slot in self._slots:
                slot.expected = True
                slot.ring()

    def stop(
        self, job_id: str, phase: str = "", task: int = -1, number: int = -1, epoch: int = -1
    ) -> None:
        """End matching attempts; a callback that is being made right now is not waited for.

        Given the job alone, it also unloads the job's functions.
        """
        with self._lock:
            for candidate in self._unreported:
                if matches(candidate.order.attempt, job_id, phase, task, number, epoch):
                    candidate.stopped = True
            self._queue.drop(lambda candidate: candidate.stopped)
            self._unreported = {task for task in self._unreported if not task.stopped}
            if not self._closed:
                for slot in self._slots:
                    slot.forget += [] if phase else [job_id]
                    slot.ring()

    def running(self) -> tuple[Running, ...]:
        """The attempts in slots now, and how far they were when they last said so."""
        with self._lock:
            return tuple(
                Running(slot.task.order.attempt, slot.task.records, slot.task.bytes_in)
                for slot in self._slots
                if slot.task is not None and not slot.task.stopped
            )

    def busy(self) -> int:
        """Attempts running or queued."""
        with self._lock:
            taken = [task for slot in self._slots for task in (slot.task, slot.ahead)]
            running = sum(task is not None and not task.stopped for task in taken)
            return running + len(self._queue)

    def close(self) -> None:
        """Kill all worker processes and return when they and the pool's threads have ended.

        What was not reported yet never is, and its files are deleted. Closing twice is
        harmless. Not to be called from within ``ended``.

        Raises:
            RuntimeError: an ``ended`` callback, or the kernel, has held a thread for 10 s.
        """
        with self._lock:
            first, self._closed = not self._closed, True
            if first:
                self._queue.drop(lambda candidate: True)
                self._unreported.clear()
                for slot in self._slots:
                    slot.closing = True
                    slot.ring()
        deadline_s = time.monotonic() + JOIN_WAIT_S
        ended = [slot.join(max(0.0, deadline_s - time.monotonic())) for slot in self._slots]
        self._births.close()
        if not all(ended):
            raise RuntimeError("a worker process could not be ended: the kernel holds it")

    def disown(self) -> None:
        """In a forked copy of this process: let go of the worker processes."""
        self._closed = True
        for slot in self._slots:
            slot.disown()
        self._births.disown()

    # -------------------------------------------------------------- reports

    def _finished(self, task: Task, outcome: Outcome | None, made: Made) -> None:
        """From a slot's thread, without its lock."""
        if outcome is None:
            return
        with self._lock:
            wanted = task in self._unreported
            self._unreported.discard(task)
        if not wanted:
            if isinstance(made, Path):
                made.unlink(missing_ok=True)
            return
        try:
            task.ended(outcome, made)
        except Exception:  # noqa: BLE001  the slot must go on
            _log.exception("the callback of %s failed", task.order.attempt)


def _forgetful(pool: ProcessWorkerPool) -> Callable[[], None]:
    """What a fork of this process (multiprocessing does that) does before anything else.

    It closes its copies of what ties us to our worker processes: these are to see our end when
    we end, not when the last of our forks does.
    """
    weak = weakref.ref(pool)

    def forget() -> None:
        forked = weak()
        if forked is not None:
            forked.disown()

    return forget
