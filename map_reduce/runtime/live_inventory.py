"""The inventory of a store that changes meanwhile."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from map_reduce.core.repair.inventory import Inventory
from map_reduce.ports import BlockStore


class LiveInventory:
    """A lock that brings the inventory up to date whenever it is taken.

    The store only says which names have changed; what is under them now is looked up here, so
    the order in which that is said does not matter.

    Args:
        also: told every name, too: a store tells one only.
    """

    def __init__(self, store: BlockStore, also: Callable[[str], None]) -> None:
        def changed(name: str) -> None:
            self._changed.append(name)
            also(name)

        self._store = store
        self._lock = threading.Lock()
        self._changed: deque[str] = deque()
        store.watch(changed)
        self.value = Inventory(store.refs())
        """To be used with the lock held only."""

    def __enter__(self) -> Inventory:
        self._lock.acquire()
        while self._changed:
            name = self._changed.popleft()
            self.value.set(name, self._store.ref_of(name))
        return self.value

    def __exit__(self, *error: object) -> None:
        self._lock.release()
