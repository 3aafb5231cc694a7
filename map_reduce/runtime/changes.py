"""That something has happened to a job, for threads of the same process that wait for it.

A client elsewhere asks again and again. One whose node is in its own process can be woken: it
listens, asks, and if the answer was "not yet", it waits for the next change. What happens between
asking and waiting is not missed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Changes:
    """Who waits for changes of what, by name. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[threading.Event]] = {}

    def note(self, name: str) -> None:
        """There is one. Never waits."""
        with self._lock:
            for event in self._waiting.get(name, ()):
                event.set()

    @contextmanager
    def hearing(self, name: str) -> Iterator[threading.Event]:
        """An event that each change of ``name`` sets, meanwhile."""
        event = threading.Event()
        with self._lock:
            self._waiting.setdefault(name, []).append(event)
        try:
            yield event
        finally:
            with self._lock:
                self._waiting[name].remove(event)
                if not self._waiting[name]:
                    del self._waiting[name]
