"""The worker process: runs attempts one after another until its node ends it.

Two threads. The main one runs user code, so that user code finds itself where it would be in a
script. The watcher reads the socket from the node and, while an attempt runs, reports how far
it is. When the node is gone the kernel closes its end of the socket; the watcher then kills the
process group, user code and all. User code that never lets go of the interpreter lock (a long
regular expression) would keep the watcher from running, so where the kernel can do it, it is
asked to kill the group by itself (see :func:`die_with`).

The process never ends by itself: the node kills it. Exit handlers of user code do not run.

This module is imported at every start of a process, so it imports little.
"""

from __future__ import annotations

import fcntl
import gc
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, NoReturn

import msgspec

from map_reduce.core.messages import Failed, MapOutput, Outcome, ReduceOutput
from map_reduce.errors import ProtocolError
from map_reduce.execution.attempt import Tracker, run_attempt
from map_reduce.execution.failures import sendable
from map_reduce.execution.gauge import MemoryGauge, bound_of
from map_reduce.execution.watch import LOOK_INTERVAL_S, Watch
from map_reduce.workers.confinement import Limits, confine
from map_reduce.workers.descriptors import identity_of
from map_reduce.workers.exits import EXIT_CONNECTION_CLOSED
from map_reduce.workers.failures import escaped
from map_reduce.workers.leftovers import Surroundings
from map_reduce.workers.loaded import LoadedByJob
from map_reduce.workers.memory import bounded, lower_of
from map_reduce.workers.notes import Note, Noted
from map_reduce.workers.protocol import (
    Ended,
    Forget,
    FromWorker,
    Ready,
    Recall,
    Recalled,
    Report,
    Run,
    ToWorker,
    framed,
    worker_side,
)

REPORT_INTERVAL_S = 0.2
OOM_SCORE = "500"
"""Added to the kernel's badness (0 … 1000): out of memory, it ends a worker, not the node."""


class Connection:
    """The worker's end of the socket, which user code may close or fork away."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._number = sock.fileno()
        self._identity = identity_of(self._number)
        self._lock = threading.Lock()
        # A child that user code forks must not keep the connection open past our death.
        os.register_at_fork(after_in_child=sock.close)

    def check(self) -> None:
        """End the process where user code has closed our descriptor.

        That is so, too, in a forked child of user code that comes back out of it.
        """
        if identity_of(self._number) != self._identity:
            os._exit(EXIT_CONNECTION_CLOSED)

    def send(self, message: FromWorker) -> None:
        self.check()
        with self._lock:
            try:
                self.socket.sendall(framed(message))
            except OSError:
                end_group()  # the node is gone


class WorkerProcess:
    """What one worker process does, once it has its connection."""

    def __init__(self, connection: Connection, node: str, limits: Limits) -> None:
        self._connection = connection
        self._node = node
        self._limits = limits
        self._functions = LoadedByJob()
        self._inbox: SimpleQueue[list[Run] | Forget] = SimpleQueue()
        # Those that came and have not begun, each in a list of its own. Who takes it out of that,
        # to begin it or to give it back, has it: list.pop decides. One that was given back may come
        # once more, in another list: it is not to begin in its former place.
        self._waiting: dict[int, list[Run]] = {}
        self._running: Run | None = None
        self._tracker = Tracker()
        self._watch = Watch(0.0)
        self._main = threading.get_ident()
        self._watcher = threading.Thread(target=self._keep_watch, name="watcher", daemon=True)

    def serve(self) -> NoReturn:
        """Run what comes. Does not return."""
        self._watcher.start()
        surroundings = Surroundings()
        self._connection.send(Ready())
        while True:
            message = self._inbox.get()
            if isinstance(message, Forget):
                self._functions.forget(message.job_id)
                continue
            if (run := _taken(message)) is None:
                continue
            # So that nothing is reported of it that was said of the one before.
            self._tracker, self._watch = Tracker(), Watch(time.monotonic())
            self._running = run  # before it waits no more: the watcher is to see one of the two
            del self._waiting[run.number]
            if self._run(run, surroundings):
                break
        while True:  # what came after this attempt is not to begin here: the node will end us
            self._inbox.get()

    # -------------------------------------------------------------- the main thread

    def _run(self, run: Run, surroundings: Surroundings) -> str:
        """Why this process must not be used again; empty where it may."""
        cpu_s, began_s = time.process_time(), time.monotonic()
        tracker, watch = self._tracker, self._watch
        note: Note | None = None
        small = bytearray()
        try:
            if run.order.careful:
                note = Note(run.note_path())
                tracker.note = _writing(note)
            local = run.local_input()
            mb_max = lower_of(run.order.memory_mb_max, self._limits.memory_mb_max)
            order = msgspec.structs.replace(run.order, memory_mb_max=mb_max)
            with bounded(mb_max):
                functions = self._functions.get(order, local.functions)
                gauge = MemoryGauge(bound_of(mb_max, self._limits.slots))
                given = order, local, run.output_path(), tracker, functions, self._node, gauge
                outcome, path = run_attempt(*given, small)
        except BaseException as error:  # noqa: BLE001  user code may raise SystemExit and worse
            outcome, path = escaped(error, run.order.attempt, self._node), None
        self._running = None
        if note is not None:
            note.close()
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - began_s
        outcome = _with_times(outcome, cpu_s, wall_s, watch)
        recycle = _flush() or surroundings.restore() or _mistrusted(outcome)
        try:
            made = bytes(small) if isinstance(outcome, MapOutput) and path is None else None
            self._connection.send(Ended(run.number, outcome, path is not None, recycle, made))
        except ProtocolError as error:
            failed = escaped(error, run.order.attempt, self._node)
            self._connection.send(Ended(run.number, failed, False, recycle))
        return recycle

    # -------------------------------------------------------------- the watcher

    def _keep_watch(self) -> None:
        try:
            self._listen()
        finally:
            end_group()

    def _listen(self) -> None:
        """Read until the node's end is closed."""
        reader = worker_side()
        poller = select.poll()
        poller.register(self._connection.socket, select.POLLIN)
        report_s = time.monotonic()  # of the last report, or of the last thing heard
        while True:
            busy = self._waiting or self._running
            events = poller.poll(LOOK_INTERVAL_S * 1000 if busy else None)
            self._connection.check()
            now_s = time.monotonic()
            if self._running is not None:
                self._watch.look(sys._current_frames().get(self._main), now_s)
            if events:
                report_s = now_s
                if not reader.receive(self._connection.socket):
                    return
                for message in reader.messages():
                    self._hear(message)
            elif (run := self._running) and now_s - report_s >= REPORT_INTERVAL_S:
                report_s = now_s
                self._connection.send(_report(run, self._tracker))

    def _hear(self, message: ToWorker) -> None:
        if isinstance(message, Recall):
            given_back = _taken(self._waiting.get(message.number, [])) is not None
            if given_back:
                del self._waiting[message.number]
            self._connection.send(Recalled(message.number, given_back))
        elif isinstance(message, Run):
            self._waiting[message.number] = waiting = [message]
            self._inbox.put(waiting)
        else:
            self._inbox.put(message)


def _taken(waiting: list[Run]) -> Run | None:
    """The attempt, if nobody has taken it yet."""
    try:
        return waiting.pop()
    except IndexError:
        return None


def _report(run: Run, tracker: Tracker) -> Report:
    try:
        current = sendable(tracker.current)
    except Exception:  # noqa: BLE001  the text of a key is made by user code
        current = ""
    return Report(run.number, tracker.records, tracker.bytes_in, current)


def _writing(note: Note) -> Callable[[str, int, str, str], None]:
    def write(phase: str, position: int, where: str, record: str) -> None:
        noted = Noted(phase, position, time.monotonic(), where, record)
        note.write(noted.text() if phase else "")

    return write


def _with_times(outcome: Outcome, cpu_s: float, wall_s: float, watch: Watch) -> Outcome:
    """The outcome with the time it took, where it has counts."""
    if isinstance(outcome, MapOutput | ReduceOutput):
        counts = msgspec.structs.replace(
            outcome.counts,
            user_s=cpu_s,
            wall_s=wall_s,
            watched_s=watch.watched_s,
            in_user_code_s=watch.in_user_code_s,
        )
        return msgspec.structs.replace(outcome, counts=counts)
    return outcome


def _mistrusted(outcome: Outcome) -> str:
    """Why the process must be replaced after this: the next attempt is to be made in another."""
    if isinstance(outcome, Failed) and outcome.retry:
        return f"an attempt failed in it ({outcome.failure.kind}) that is to be made again"
    return ""


def _flush() -> str:
    """Bring out what user code printed, since the process may be killed at any time."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError) as error:
            return f"its output cannot be written: {error}"
    return ""


def end_group() -> None:
    """Kill this process and every one that it started and that stayed in its group."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


def die_with(lifeline: int) -> None:
    """Have the kernel kill our process group when the last writer of this pipe is gone.

    Linux can send a signal of choice when a descriptor becomes ready, to a whole group; and a
    pipe becomes ready when its writer, the node, is gone. Nothing is ever written.
    """
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)


def _volunteer() -> None:
    """Be the one that the kernel ends when memory runs out."""
    try:
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    except OSError:
        return  # not Linux, or not allowed: the kernel then chooses for itself


class Orders(NamedTuple):
    """What a pool's worker processes are told on their command line, by ``workers/launch.py``."""

    node: str
    errors: int  # the descriptor that user code's standard error goes to
    niceness: int
    limits: Limits

    @classmethod
    def read(cls, arguments: Sequence[str]) -> Orders:
        node, errors, niceness, *limits = arguments
        return cls(node, int(errors), int(niceness), Limits(*map(int, limits)))


def work(connection: int, lifeline: int, orders: Orders) -> NoReturn:
    """Be a worker process, for the node at the other end of these two."""
    del sys.argv[1:]
    die_with(lifeline)
    _volunteer()
    os.nice(orders.niceness)
    confine(orders.limits)
    sock = socket.socket(fileno=connection)
    for descriptor in (connection, lifeline):
        os.set_inheritable(descriptor, False)
    worker = WorkerProcess(Connection(sock), orders.node, orders.limits)
    # Until here, errors went to a file that the node reads if we do not get this far.
    os.dup2(orders.errors, 2)
    os.close(orders.errors)
    gc.freeze()  # what was imported is there for good, and shared with other workers
    gc.enable()
    worker.serve()


def main() -> None:
    """Entry point of an interpreter of its own."""
    connection, lifeline, *orders = sys.argv[1:]
    work(int(connection), int(lifeline), Orders.read(orders))
