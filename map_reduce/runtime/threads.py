"""Threads that somebody owns: a small pool, and a loop with a pace.

Both are daemon threads, so that a script which forgot to close its node can still exit, and
both are joined by ``close``. ``concurrent.futures`` is not used because its threads are joined
by the interpreter before ``atexit`` functions run, which is when an embedded node is closed.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable

from map_reduce.errors import MapReduceError

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0
JITTER = 0.2


class Threads:
    """Runs calls in at most ``threads_max`` threads, started as they are needed."""

    def __init__(self, name: str, *, threads_max: int) -> None:
        self._name = name
        self._threads_max = threads_max
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._outstanding = 0  # calls that wait or run
        self._closed = False

    def run(self, call: Callable[[], None]) -> None:
        """Run ``call`` soon. After :meth:`close` it is dropped."""
        with self._lock:
            if self._closed:
                return
            self._calls.put(call)
            self._outstanding += 1
            if len(self._threads) >= min(self._outstanding, self._threads_max):
                return
            thread = threading.Thread(
                target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True
            )
            self._threads.append(thread)
            thread.start()  # under the lock: close() joins only threads that have started

    def close(self) -> None:
        """Drop what waits, and return when what runs has ended."""
        with self._lock:
            self._closed = True
            threads = list(self._threads)
            for _ in threads:
                self._calls.put(None)
        for thread in threads:
            _join(thread)

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            if call is None:
                return
            if not self._closed:
                run_guarded(call, self._name)
            with self._lock:
                self._outstanding -= 1


class Loop:
    """Calls ``step`` again and again in a thread of its own, ``pause_s()`` seconds between.

    The pause varies by ``JITTER``, so that the nodes of a cluster don't move in step.
    """

    def __init__(self, name: str, step: Callable[[], None], pause_s: Callable[[], float]) -> None:
        self._step = step
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._random = random.Random()  # its own: users and tests seed the shared one
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Return when the step that runs has ended. From the loop's own thread: don't wait."""
        self._stop.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            _join(self._thread)

    def _work(self) -> None:
        while not self._stop.is_set():
            run_guarded(self._step, self._thread.name)
            self._stop.wait(self._pause_s() * self._random.uniform(1 - JITTER, 1 + JITTER))


def run_guarded(call: Callable[[], None], name: str) -> None:
    """Call it; log what it raises. For the outermost frame of a thread that must go on."""
    try:
        call()
    except MapReduceError as error:
        log.warning("%s: %s", name, error)
    except Exception:  # the thread serves others too and must outlive a defect in one call
        log.exception("%s: unexpected error", name)


def _join(thread: threading.Thread) -> None:
    if thread is threading.current_thread():
        return
    thread.join(CLOSE_TIMEOUT_S)
    if thread.is_alive():
        log.error("thread %s did not end within %g s", thread.name, CLOSE_TIMEOUT_S)


class MonotonicClock:
    """The Clock of real life."""

    def now_s(self) -> float:
        return time.monotonic()
