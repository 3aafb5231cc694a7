"""When a member looks after its blocks.

neighbours changed   once they have been the same for ``settle_s``
something was done   after ``settle_s`` again, for there may be more
somebody was silent  after ``settle_s``, twice that, four times …
nothing              after ``interval_s``, and no later in any case
"""

from __future__ import annotations

from map_reduce.core.identifiers import Member

UNSETTLED_MAX = 10
"""Times ``settle_s`` after which neighbours that go on changing are not waited for."""

Place = tuple[Member | None, tuple[Member, ...]]
"""A member's predecessor and successors."""


class LookTimes:
    """The time of the next look.

    Args:
        settle_s: how long the neighbours must have been the same.
        interval_s: between two looks while nothing happens.
        place: what the member knows of its place now.
    """

    def __init__(self, settle_s: float, interval_s: float, place: Place, now_s: float) -> None:
        self._settle_s = settle_s
        self._interval_s = interval_s
        self._seen = place
        self._changed_s = now_s
        self._restless_since_s = now_s  # the first of the changes that go on, or the last look
        self._next_s = now_s + settle_s
        self._failures = 0

    def soon(self, now_s: float) -> None:
        """There is reason to look as soon as what is going on has settled."""
        self._next_s = min(self._next_s, now_s + self._settle_s)

    def due(self, place: Place, now_s: float) -> bool:
        """Whether to look now; the next look is after the interval then, unless more is said."""
        if place != self._seen:
            if now_s - self._changed_s > self._settle_s:
                self._restless_since_s = now_s
            self._changed_s = now_s
            self._seen = place
            latest_s = self._restless_since_s + UNSETTLED_MAX * self._settle_s
            self._next_s = min(now_s + self._settle_s, max(now_s, latest_s))
        if now_s < self._next_s:
            return False
        self._next_s = now_s + self._interval_s
        self._restless_since_s = now_s
        return True

    def ended(self, *, busy: bool, failed: bool, now_s: float) -> None:
        """A look has ended: whether there was something to do, and whether it was not all."""
        self._failures = self._failures + 1 if failed else 0
        if failed:
            wait_s = self._settle_s * 2.0 ** min(self._failures, 20)
        else:
            wait_s = self._settle_s if busy else self._interval_s
        self._next_s = min(self._next_s, now_s + min(wait_s, self._interval_s))
