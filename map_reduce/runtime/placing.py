"""Where a node stores the results of its workers.

It goes by the nodes that it knows, and by what it has stored on each of them itself. What others
store meanwhile it does not ask: each evens out its own, and so all together do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from map_reduce.core.chord.placement import Placement
from map_reduce.core.identifiers import Member


class Placing:
    """A Placement that follows the ring. Used by many threads.

    Args:
        members: of the ring, as far as this node knows.
    """

    def __init__(self, members: Callable[[], Sequence[Member]]) -> None:
        self._members = members
        self._lock = threading.Lock()
        self._seen: tuple[Member, ...] = ()
        self._placement = Placement(())

    def choose(self, names: Sequence[str], size_bytes: int) -> str:
        """The one of ``names`` to store so many bytes under."""
        members = tuple(self._members())
        with self._lock:
            if members != self._seen:
                self._seen = members
                self._placement = Placement(members, self._placement.loads)
            return self._placement.choose(names, size_bytes)
