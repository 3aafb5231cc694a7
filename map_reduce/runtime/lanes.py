"""Calls in threads, a bounded number of each lane's at a time: a lane is a peer that is asked.

A lane whose calls take long holds up its own calls alone, as long as there are more threads than
it may have. Where there are none left, lanes take turns; within a lane, calls run in the order
in which they came. A call may ask to be called again: then it goes to the end of its lane, so those
who have much to do and those who have little take turns as well.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from map_reduce.core.identifiers import Address
from map_reduce.runtime.threads import Threads, run_guarded

Call = Callable[[], bool]
"""Whether it is to be called again, after those that wait in its lane."""


class Lanes:
    """Safe to use from many threads.

    Args:
        name: of the threads, which are started as they are needed.
        per_lane_max: calls of one lane that run at a time. It is asked whenever one is to begin,
            and at once; where it has risen, that shows when the next call of any lane ends.
    """

    def __init__(
        self, name: str, *, threads_max: int, per_lane_max: Callable[[Address], int]
    ) -> None:
        self._name = name
        self._threads = Threads(name, threads_max=threads_max)
        self._threads_max = threads_max
        self._per_lane_max = per_lane_max
        self._lock = threading.Lock()
        self._running: dict[Address, int] = {}
        self._running_in_all = 0
        self._waiting: dict[Address, deque[Call]] = {}  # in the order of the lanes' turns
        self._closed = False

    def run(self, lane: Address, call: Call) -> None:
        """Run ``call`` soon. After :meth:`close` it is dropped."""
        with self._lock:
            if not self._has_room(lane):
                self._waiting.setdefault(lane, deque()).append(call)
                return
            self._begin(lane)
        self._threads.run(partial(self._work, lane, call))

    def waiting(self, lane: Address) -> int:
        """Calls of the lane whose turn has not come."""
        with self._lock:
            return len(self._waiting.get(lane, ()))

    def close(self) -> None:
        """Drop what waits, and return when what runs has ended."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
        self._threads.close()

    def _work(self, lane: Address, call: Call) -> None:
        """In a thread: this call, and then whichever is next, until there is none."""
        following: tuple[Address, Call] | None = (lane, call)
        while following is not None:
            lane, call = following
            again = self._run(call)
            with self._lock:
                self._end(lane)
                if again and not self._closed:
                    self._waiting.setdefault(lane, deque()).append(call)
                following = self._take()
                further = self._take() if following else None  # where a lane has more room
            if further is not None:
                self._threads.run(partial(self._work, *further))

    def _run(self, call: Call) -> bool:
        answers: list[bool] = []  # none, where it raises
        run_guarded(lambda: answers.append(call()), self._name)
        return answers == [True]

    # ------------------------------------------------------------------ under the lock

    def _take(self) -> tuple[Address, Call] | None:
        lane = next(filter(self._has_room, self._waiting), None)
        if lane is None:
            return None
        calls = self._waiting.pop(lane)
        call = calls.popleft()
        if calls:
            self._waiting[lane] = calls  # behind the others
        self._begin(lane)
        return lane, call

    def _has_room(self, lane: Address) -> bool:
        return self._running_in_all < self._threads_max and self._running.get(
            lane, 0
        ) < self._per_lane_max(lane)

    def _begin(self, lane: Address) -> None:
        self._running[lane] = self._running.get(lane, 0) + 1
        self._running_in_all += 1

    def _end(self, lane: Address) -> None:
        self._running_in_all -= 1
        self._running[lane] -= 1
        if not self._running[lane]:
            del self._running[lane]
