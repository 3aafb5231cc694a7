"""What is to be said to peers, in batches that form by themselves.

Theory of operation
===================

To each peer at most one batch is *under way*: sent, and not answered. What comes up for the peer
meanwhile waits, and goes together in the next one::

    put ──▶ waits ──▶ under way ──▶ answered
              ▲            │
              │            └─ done(peer): the next batch may go
              └─ withdrawn, as if it had never been put

So a message to an idle peer goes at once and alone: nothing waits for company, and there is no
timer. The longer an answer takes, the more go together: a busy peer is asked less often. (Databases
know this as group commit.)

- **Order.** What is put for a peer is taken in that order. So what was put later arrives later,
  unless what was put first went unanswered and is on its way still.
- **Bounds.** A batch has at most ``items_max`` items of ``bytes_max`` together; a larger item goes
  alone. At most ``senders_max`` batches are under way in all.
- **Nobody waits for another's peer.** Peers take turns, each one batch; one that does not answer
  keeps one sender busy, whatever waits for it.
- **Keys.** An item has a key, by which it can be withdrawn as long as it waits. To put an item
  whose key waits puts it in the place of the former.

Who sends is up to the owner: a *sender* takes a batch, sends it, says ``done``, and takes the next,
until there is none. :meth:`Outbox.wants_sender` says when to begin one. Not thread-safe: its owner
holds one lock around each call, and none while something is sent.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

import msgspec

P = TypeVar("P", bound=Hashable)
T = TypeVar("T")


class _Put(msgspec.Struct, Generic[T], frozen=True):
    item: T
    size_bytes: int


class Batch(msgspec.Struct, Generic[P, T], frozen=True):
    """Items that go to a peer together, in the order in which they were put."""

    peer: P
    items: tuple[T, ...]


class Outbox(Generic[P, T]):
    """See the module's text.

    Args:
        items_max: of a batch.
        bytes_max: of a batch of more than one item.
        senders_max: so many send at a time.
    """

    def __init__(self, *, items_max: int, bytes_max: int, senders_max: int) -> None:
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._senders_max = senders_max
        self._waiting: dict[P, dict[Hashable, _Put[T]]] = {}
        self._turns: dict[P, None] = {}  # peers for which something waits, and nothing is under way
        self._under_way: dict[P, frozenset[Hashable]] = {}
        self._taking = 0  # senders that are about to take a batch

    def put(self, peer: P, key: Hashable, item: T, size_bytes: int) -> None:
        """Have an item wait for its peer."""
        self._waiting.setdefault(peer, {})[key] = _Put(item, size_bytes)
        if peer not in self._under_way:
            self._turns[peer] = None

    def has(self, peer: P, key: Hashable) -> bool:
        """Whether an item of that key waits or is under way."""
        return key in self._waiting.get(peer, ()) or key in self._under_way.get(peer, ())

    def withdraw(self, peer: P, key: Hashable) -> bool:
        """Forget an item that waits. False where none does: it may be under way, or answered."""
        waiting = self._waiting.get(peer)
        if waiting is None or waiting.pop(key, None) is None:
            return False
        if not waiting:
            del self._waiting[peer]
            self._turns.pop(peer, None)
        return True

    def wants_sender(self) -> bool:
        """Whether to begin one more sender, which then is to take a batch. Ask until it is not."""
        wanted = len(self._turns) > self._taking
        if wanted and self._taking + len(self._under_way) < self._senders_max:
            self._taking += 1
            return True
        return False

    def take(self) -> Batch[P, T] | None:
        """A sender's next batch, to be followed by ``done``; None: there is none, and it ends."""
        self._taking -= 1
        peer = next(iter(self._turns), None)
        if peer is None:
            return None
        del self._turns[peer]
        waiting, room_bytes = self._waiting[peer], self._bytes_max
        keys: list[Hashable] = []
        for key, put in waiting.items():
            room_bytes -= put.size_bytes
            if len(keys) == self._items_max or (keys and room_bytes < 0):
                break
            keys.append(key)
        items = tuple(waiting.pop(key).item for key in keys)
        if not waiting:
            del self._waiting[peer]
        self._under_way[peer] = frozenset(keys)
        return Batch(peer, items)

    def done(self, peer: P) -> None:
        """The peer has answered, or will not; the sender is about to take the next batch."""
        del self._under_way[peer]
        self._taking += 1
        if peer in self._waiting:
            self._turns[peer] = None

    def clear(self) -> None:
        """Forget all that waits."""
        self._waiting.clear()
        self._turns.clear()
