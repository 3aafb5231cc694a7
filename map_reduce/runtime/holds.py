"""Requests of clients that a node holds until there is something new to tell.

A client that waits for a job's end, its beginning, or the verdict on its functions asks once and is
answered when there is news: that is the *long request*. Handlers never wait; what waits is the
transport, in the thread that serves that client's connection and no other. So a held request
costs a thread, a descriptor, and a sign of life each second. Therefore:

- At most ``holds_max`` are held at a time, beside all connections that the node serves otherwise.
  Beyond that a request is answered at once, and the client asks again after a pause.
- None is held for longer than ``HOLD_S_MAX``.
- A node that is closing answers all of them, and holds no more.

    listen for changes ──▶ is there news already? ── yes ─▶ answer
                                 │ no
                           wait: news, time over, closing, or the asker has gone
"""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable
from functools import partial

from map_reduce.core.messages import HOLD_S_MAX, GetCheck, GetJob, Request
from map_reduce.runtime.changes import Changes

HOLDS_MAX = 1000

DESCRIPTORS_EACH = 4
"""Of the files that the process may have open, there is one connection to wait for so many."""


def holds_max() -> int:
    """How many requests this process may hold at a time."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return HOLDS_MAX
    return min(HOLDS_MAX, descriptors // DESCRIPTORS_EACH)


class Holds:
    """What a node holds. Safe to use from many threads.

    Args:
        changes: notes the ends and beginnings of jobs here, and verdicts, once they are there.
        job_has_news, has_verdict: whether there is no need to wait, of a job and of a check.
    """

    def __init__(
        self,
        changes: Changes,
        job_has_news: Callable[[GetJob], bool],
        has_verdict: Callable[[str], bool],
        *,
        holds_max: int,
    ) -> None:
        self._changes = changes
        self._job_has_news = job_has_news
        self._has_verdict = has_verdict
        self._holds_max = holds_max
        self._lock = threading.Lock()
        self._open: set[RequestHold] = set()
        self._closed = False

    def to_hold(self, request: Request) -> RequestHold | None:
        """As the port ``ToHold`` says."""
        body = request.body
        if isinstance(body, GetJob):
            return self._hold(body.job_id, body.hold_s, partial(self._job_has_news, body))
        if isinstance(body, GetCheck):
            return self._hold(body.check_id, body.hold_s, partial(self._has_verdict, body.check_id))
        return None

    def _hold(self, name: str, hold_s: float, has_news: Callable[[], bool]) -> RequestHold | None:
        if hold_s <= 0:
            return None
        with self._lock:
            if self._closed or len(self._open) >= self._holds_max:
                return None
            held = RequestHold(self._changes, name, min(hold_s, HOLD_S_MAX), self._let_go)
            self._open.add(held)
        news = True
        try:
            news = has_news()
        finally:
            if news:
                held.end()
        return None if news else held

    def close(self) -> None:
        """Have all answered, and hold no more."""
        with self._lock:
            self._closed = True
            holds = list(self._open)
        for one in holds:
            one.note()

    def _let_go(self, hold: RequestHold) -> None:
        with self._lock:
            self._open.discard(hold)


class RequestHold:
    """The ``Hold`` port: each change of what is called ``name`` is news."""

    def __init__(
        self, changes: Changes, name: str, hold_s: float, ended: Callable[[RequestHold], None]
    ) -> None:
        self.hold_s = hold_s
        self._changes = changes
        self._name = name
        self._ended = ended
        self._lock = threading.Lock()
        self._news = False
        self._over = False
        self._wake: Callable[[], object] | None = None
        changes.listen(name, self.note)

    def note(self) -> None:
        """There is news."""
        with self._lock:
            if self._wake is not None and not self._news:
                self._wake()
            self._news = True

    def wake_by(self, wake: Callable[[], object]) -> None:
        """As the port says."""
        with self._lock:
            self._wake = wake
            if self._news:
                wake()

    def end(self) -> None:
        """As the port says."""
        with self._lock:
            self._wake = None
            over, self._over = self._over, True
        if not over:  # without the lock, which comes second to that of the changes
            self._changes.leave(self._name, self.note)
            self._ended(self)
