"""One slot: a thread, and the process it feeds. The theory is in ``workers/pool.py``."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from map_reduce.core.messages import Failed, Outcome
from map_reduce.errors import ProtocolError
from map_reduce.ports import Made
from map_reduce.workers import failures
from map_reduce.workers.births import Births
from map_reduce.workers.child import Child
from map_reduce.workers.doorbell import Doorbell
from map_reduce.workers.fair_queue import FairQueue
from map_reduce.workers.notes import Noted, read_note
from map_reduce.workers.protocol import (
    Ended,
    Forget,
    FromWorker,
    Recall,
    Recalled,
    Report,
    run_of,
)
from map_reduce.workers.tasks import Task

START_TRIES = 3
START_WAIT_S = 60.0

BRISK_S = 0.02
"""An attempt that takes less: another may wait behind the next one."""

LONG_S = 0.05
"""After so much of an attempt, none is to wait behind it."""

_log = logging.getLogger(__name__)


Finished = Callable[[Task, Outcome | None, Made], None]
"""Called by a slot's thread when an attempt is over; the outcome is None where it was stopped."""


class Slot:
    """Runs the attempts it is given, one at a time.

    While they are short and many wait, the process is told of the next one *ahead* of the end of
    the present one, so that it needs not wait for this thread. An attempt that was told of and has
    not begun when the process ends, however that ends, has not been made: it is given to the next
    process. Where the present one takes long after all, the process is asked to give back the one
    behind it, which then waits in the queue again, or goes to a slot that is free. The question may
    cross the end of the present one; until it is answered, nobody knows whether the next one has
    begun, and so nothing further is told. A process whose code holds the interpreter's lock answers
    when that lets go: so long, the next one waits behind it.

    The public attributes belong to the pool's lock, all else to the slot's thread.

    Args:
        plenty: so many attempts must wait that one of them may be told ahead.
        again: called, with the lock held, with a task that is to wait once more.
    """

    def __init__(
        self,
        index: int,
        births: Births,
        *,
        lock: threading.Lock,
        queue: FairQueue,
        finished: Finished,
        again: Callable[[Task], None],
        attempts_max: int,
        plenty: int,
        warm: bool,
    ) -> None:
        self.task: Task | None = None
        self.ahead: Task | None = None  # the one after it, where the process knows of it already
        self.forget: list[str] = []
        self.expected = False  # there will be work for it soon
        self.closing = False
        self.warmth = 0  # 0 without a process, 1 with one that starts, 2 with one that is ready
        self._launch = births.launch
        self._births = births
        self._lock = lock
        self._queue = queue
        self._finished = finished
        self._again = again
        self._attempts_max = attempts_max
        self._plenty = plenty
        self._brisk = False  # the last attempt was
        self._told: Task | None = None  # what the process was told of ahead
        self._recalling = False  # the process was asked to give it back, and has not answered
        self._mail: deque[FromWorker] = deque()
        self._doorbell = Doorbell()
        self._child: Child | None = None
        self._folder: Path | None = None  # of the process's attempts
        self._start_soon = warm
        self._polled: tuple[Child | None, bool] = (None, False)  # and whether it is written to
        self._poller = self._poller_for(None)
        self._thread = threading.Thread(
            target=self._run, name=f"map-reduce-slot-{index}", daemon=True
        )

    # -------------------------------------------------------------- for the pool

    def start(self) -> None:
        self._thread.start()

    def ring(self) -> None:
        """Have the thread look at what has been left for it. With the lock held."""
        self._doorbell.ring()

    def join(self, within_s: float) -> bool:
        """Wait for the thread to end after ``closing``; False where it has not in this time."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def disown(self) -> None:
        """In a forked copy of this process, which has no such thread: let go of the process."""
        if self._child is not None:
            self._child.disown()
            self._child = None

    # -------------------------------------------------------------- the thread

    def _run(self) -> None:
        try:
            while self._step():
                pass
        finally:
            self._end_child()
            self._clear_away()
            with self._lock:
                self.closing = True
                self._doorbell.close()

    def _step(self) -> bool:
        """Do what there is to do, else wait for it. False: the pool closes."""
        with self._lock:
            if self.closing:
                return False
            task = self.task
            forget, self.forget = self.forget, []
            expected, self.expected = self.expected, False
        if self._child is not None:
            for job_id in forget:
                self._child.send(Forget(job_id))
        if task is not None:
            outcome, made = self._attempt(task)
            with self._lock:
                self._queue.end(task)
                self.task, self.ahead = self.ahead, None
                if self.task is None:
                    self.task = self._queue.take()
                else:
                    self._queue.begin(self.task)
            self._finished(task, outcome, made)
            return True
        if self._child is None and (self._start_soon or expected):
            self._start_soon = False
            with contextlib.suppress(OSError):  # told when an attempt cannot start one either
                self._start_child()
        said = [*self._mail, *self._wait(None)]
        self._mail.clear()  # all that may matter is an answer that came after the last end
        if any(isinstance(message, Recalled) for message in said):
            self._recalling = False
        if self._child is not None and self._child.closed:
            pid = self._child.pid
            _log.warning("worker process %d is gone while idle: %s", pid, self._end_child())
            self._clear_away()
        return True

    def _attempt(self, task: Task) -> tuple[Outcome | None, Made]:
        """What became of it; no outcome where it was stopped or the pool closes."""
        try:
            if task is self._told:
                self._told = None
                if self._is_unwanted(task):  # the bell that said so may have been heard before
                    self._replace_child()
                    return None, None
            else:
                failed = self._make_ready(task)
                if failed is not None or self._is_unwanted(task):
                    return failed, None
                self._tell(task)
            return self._supervise(task)
        except Exception as error:  # noqa: BLE001  whatever it is, the attempt must be answered
            self._end_child()
            return failures.escaped(error, task.order.attempt, self._launch.node), None
        finally:
            if self._child is None:
                self._clear_away()

    def _make_folder(self, task: Task) -> Path:
        """The process's own folder, named by its first attempt. To make one for each attempt
        would take longer than all else that is done here for a small one."""
        folder = task.folder(self._launch.scratch)
        folder.mkdir()
        self._folder = folder
        if self._launch.user is not None:
            self._launch.user.give(folder)
        return folder

    def _clear_away(self) -> None:
        """The process is gone: delete whatever its attempts have left."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _tell(self, task: Task) -> None:
        """Have the process, which is ready, begin it, or begin it next."""
        assert self._child is not None
        folder = self._folder or self._make_folder(task)
        self._child.send(run_of(task.number, task.order, task.local, *_files_of(task, folder)))

    def _look_ahead(self) -> None:
        """Tell the process of the next attempt, if that is for the best."""
        child = self._child
        if child is None or not self._brisk or child.attempts >= self._attempts_max:
            return
        with self._lock:
            if self.closing or len(self._queue) < self._plenty:
                return
            self.ahead = ahead = self._queue.take_ahead()
        if ahead is None:
            return
        try:
            self._tell(ahead)
        except ProtocolError:  # it will hear of that when it is its turn
            with self._lock:
                self.ahead = None
                self._again(ahead)
        else:
            self._told = ahead

    def _recall(self, is_long: bool) -> None:
        """Ask the process to give back the next attempt, if it has to wait or is not wanted."""
        if self._told is None or self._recalling or self._child is None:
            return
        if is_long or self._is_unwanted(self._told):
            self._recalling = True
            self._child.send(Recall(self._told.number))

    def _hear_answer(self, answer: Recalled, task: Task) -> bool:
        """Of a recall. Whether the present attempt was given back, and so has not begun: the
        question has crossed the end of the one before."""
        self._recalling = False
        if (ahead := self._told) is None:
            return answer.given_back and answer.number == task.number
        if answer.given_back:
            self._told = None
            with self._lock:
                self.ahead = None
                self._again(ahead)
        return False

    def _supervise(self, task: Task) -> tuple[Outcome | None, Made]:
        """See it through in the process, which was told of it."""
        child = self._child
        assert child is not None
        assert self._folder is not None
        output, note = _files_of(task, self._folder)
        child.attempts += 1
        began_s = time.monotonic()
        deadline_s = began_s + task.order.timeout_s
        if not self._recalling:
            self._look_ahead()
        while True:
            until_s = deadline_s
            if self._told is not None and not self._recalling:
                until_s = min(deadline_s, began_s + LONG_S)
            message = self._next_message(until_s - time.monotonic())
            if isinstance(message, Report):
                self._note_progress(task, message)
            elif isinstance(message, Recalled):
                is_late = self._told is None
                if self._hear_answer(message, task):
                    if self._is_unwanted(task):
                        return None, None
                    self._tell(task)
                    began_s = time.monotonic()
                    deadline_s = began_s + task.order.timeout_s
                if is_late and time.monotonic() - began_s < LONG_S:
                    self._look_ahead()
            elif isinstance(message, Ended):
                if message.number != task.number:
                    raise ProtocolError(
                        f"the worker process answered for attempt {message.number}, "
                        f"while it was to run {task.number}"
                    )
                self._brisk = time.monotonic() - began_s < BRISK_S
                made = self._deliver(task, message, output)
                if task.order.careful:
                    Path(note).unlink(missing_ok=True)
                self._recycle_after(message)
                return message.outcome, made
            if self._mail:
                continue
            self._recall(is_long=time.monotonic() - began_s >= LONG_S)
            if self._is_unwanted(task):
                self._replace_child()
                return None, None
            if child.closed:
                how = self._replace_child()
                place = _place(task, note)
                return failures.died(task.order, self._launch.node, how, child.killed, place), None
            if time.monotonic() >= deadline_s:
                self._replace_child()
                now_s = time.monotonic()
                place = _place(task, note)
                return failures.timed_out(task.order, self._launch.node, place, now_s), None

    def _deliver(self, task: Task, ended: Ended, output: str) -> Made:
        """Take the output, which is complete, out of the process's reach."""
        if ended.small is not None:
            return ended.small
        if not ended.output:
            if isinstance(ended.outcome, Failed):
                Path(output).unlink(missing_ok=True)
            return None
        path = task.delivery(self._launch.scratch)
        os.replace(output, path)
        if self._launch.user is not None:
            self._launch.user.take_back(path)
        return path

    def _note_progress(self, task: Task, report: Report) -> None:
        if report.number == task.number:
            with self._lock:
                task.records, task.bytes_in = report.records, report.bytes_in
                task.current = report.current

    def _is_unwanted(self, task: Task) -> bool:
        with self._lock:
            return task.stopped or self.closing

    def _next_message(self, timeout_s: float) -> FromWorker | None:
        """What the process says; None where something else has happened, or nothing in time."""
        if not self._mail:
            self._mail.extend(self._wait(timeout_s))
        return self._mail.popleft() if self._mail else None

    def _wait(self, timeout_s: float | None) -> list[FromWorker]:
        """Until the doorbell rings, the process says something or ends, or the time is over."""
        child = self._child
        heard = child if child is not None and not child.closed else None
        wanted = heard, heard is not None and heard.sending
        if wanted != self._polled:
            self._polled, self._poller = wanted, self._poller_for(heard)
        ready = self._poller.poll(None if timeout_s is None else _milliseconds(timeout_s))
        rung = self._doorbell.fileno()
        if any(number == rung for number, _ in ready):
            self._doorbell.clear()
        if child is None or all(number == rung for number, _ in ready):
            return []
        was_ready = child.ready
        messages = child.pump()
        if child.ready != was_ready:
            self._show_warmth()
        return messages

    def _poller_for(self, child: Child | None) -> select.poll:
        poller = select.poll()
        poller.register(self._doorbell, select.POLLIN)
        if child is not None:
            writing = select.POLLOUT if child.sending else 0
            poller.register(child.socket, select.POLLIN | writing)
        return poller

    # -------------------------------------------------------------- its process

    def _make_ready(self, task: Task) -> Failed | None:
        """Have a process that can take the attempt, unless it becomes unwanted meanwhile."""
        why = ""
        for _ in range(START_TRIES):
            try:
                child = self._child or self._start_child()
            except OSError as error:
                why = str(error)
                continue
            deadline_s = time.monotonic() + START_WAIT_S
            while not (child.ready or child.closed or time.monotonic() >= deadline_s):
                if self._is_unwanted(task):
                    return None
                self._wait(deadline_s - time.monotonic())
            if child.ready and not child.closed:
                return None
            late = "" if child.closed else f"it was not ready within {START_WAIT_S:g} s; "
            why = late + child.first_words()
            why += f" ({self._end_child()})"
        return failures.not_started(task.order, self._launch.node, START_TRIES, why)

    def _start_child(self) -> Child:
        self._child = Child(self._births)
        self._show_warmth()
        return self._child

    def _end_child(self) -> str:
        """Kill and reap the process, if there is one; how it has ended, for people."""
        if self._child is None:
            return ""
        child, self._child = self._child, None
        self._told, self._brisk, self._recalling = None, False, False
        self._mail.clear()
        self._show_warmth()
        return child.end()

    def _replace_child(self) -> str:
        """End the process, and start another while the slot has nothing else to do."""
        self._start_soon = True
        return self._end_child()

    def _recycle_after(self, last: Ended) -> None:
        """Replace the process if the attempt that ended must be its last."""
        assert self._child is not None
        if last.recycle:
            _log.info("worker process %d is replaced: %s", self._child.pid, last.recycle)
        if last.recycle or self._child.attempts >= self._attempts_max:
            self._replace_child()

    def _show_warmth(self) -> None:
        with self._lock:
            self.warmth = 0 if self._child is None else 1 + self._child.ready


def _milliseconds(timeout_s: float) -> int:
    """For poll: rounded up, and cut to a day, since poll cannot wait for long."""
    return math.ceil(1000 * min(max(timeout_s, 0.0), 86400.0))


def _files_of(task: Task, folder: Path) -> tuple[str, str]:
    """Where its output and its note go."""
    return f"{folder}/output-{task.number}", f"{folder}/note-{task.number}"


def _place(task: Task, note: str) -> failures.Place:
    return failures.Place(Noted.parse(read_note(Path(note))), task.current, task.records)
