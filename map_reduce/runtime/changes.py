"""That something has happened to a job, or a check, for those in the same process that wait for it.

Who waits listens, asks, and if the answer was "not yet", waits for the next change. What happens
between asking and waiting is not missed. A client whose node is in its own process is woken so; of
a client elsewhere, the node holds the request (``holds.py``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Changes:
    """Who is to be woken by changes of what, by name. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Callable[[], None]]] = {}

    def note(self, name: str) -> None:
        """There is one. Never waits."""
        with self._lock:
            for wake in self._waiting.get(name, ()):
                wake()

    def listen(self, name: str, wake: Callable[[], None]) -> None:
        """Have ``wake`` called at each change of ``name``. It must not wait."""
        with self._lock:
            self._waiting.setdefault(name, []).append(wake)

    def leave(self, name: str, wake: Callable[[], None]) -> None:
        """Undo :meth:`listen`; when this returns, ``wake`` is called no more."""
        with self._lock:
            self._waiting[name].remove(wake)
            if not self._waiting[name]:
                del self._waiting[name]

    @contextmanager
    def hearing(self, name: str) -> Iterator[threading.Event]:
        """An event that each change of ``name`` sets, meanwhile."""
        event = threading.Event()
        self.listen(name, event.set)
        try:
            yield event
        finally:
            self.leave(name, event.set)
