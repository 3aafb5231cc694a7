"""A node's links to others, as far as map outputs go over them: who asks when, and for how much.

Each link is a lane (``lanes.py``) and has a pace, which its requests teach it
(``core/fetching/pace.py``). Both are the node's, whichever attempts it fetches for.
"""

from __future__ import annotations

import threading

from map_reduce.core.fetching.pace import Pace
from map_reduce.core.identifiers import Address
from map_reduce.runtime.lanes import Call, Lanes

THREADS_MAX = 12
"""So many requests are under way in all, each of which holds one reply."""

PACES_KEPT_MAX = 1024


class Links:
    """Safe to use from many threads. Its owner closes it after the transport, which ends what its
    threads wait for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paces: dict[Address, Pace] = {}
        self._lanes = Lanes(
            "map-reduce-links", threads_max=THREADS_MAX, per_lane_max=self._under_way_max
        )

    def run(self, node: Address, call: Call) -> None:
        """Run what asks the node once, in its turn. After :meth:`close` it is dropped."""
        self._lanes.run(node, call)

    def waiting(self, node: Address) -> int:
        """Calls whose turn has not come."""
        return self._lanes.waiting(node)

    def bytes_max(self, node: Address) -> int:
        """How much to ask of it at a time."""
        with self._lock:
            return self._pace(node).bytes_max

    def took(self, node: Address, length_bytes: int, seconds: float) -> None:
        """A request for so many bytes was answered after so long."""
        with self._lock:
            self._pace(node).took(length_bytes, seconds)

    def failed(self, node: Address, length_bytes: int) -> bool:
        """A request for so many bytes was not answered; whether it is to be repeated, smaller."""
        with self._lock:
            return self._pace(node).failed(length_bytes)

    def close(self) -> None:
        """Drop what waits, and return when what runs has ended."""
        self._lanes.close()

    def _under_way_max(self, node: Address) -> int:
        with self._lock:
            return self._pace(node).under_way_max

    def _pace(self, node: Address) -> Pace:
        pace = self._paces.get(node)
        if pace is None:
            if len(self._paces) >= PACES_KEPT_MAX:
                del self._paces[next(iter(self._paces))]
            pace = self._paces[node] = Pace()
        return pace
