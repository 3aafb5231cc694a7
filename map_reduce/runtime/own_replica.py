"""A node's own replica: the acceptor, its lock and its disk.

Requests are handled one after the other, and what they change is appended to the store in the same
order. Whoever asked is answered once everything appended until then is durable, its own change and
those before it; many threads may wait for the disk at the same time, and no lock is held meanwhile.

When the disk refuses, the replica has ended: every further request is answered by No, also those
that are waiting. Nothing it says could be relied on, for its memory is ahead of its disk.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import Message, No
from map_reduce.core.messages.records import GetReplica, ListRecords, Replica, ReplicaIs
from map_reduce.core.registers.acceptor import Acceptor, Effect, Held, Persist
from map_reduce.core.registers.health import answer_list
from map_reduce.ports import RecordStore

log = logging.getLogger(__name__)


class OwnReplica:
    """See the module's text. Safe to use from many threads.

    Args:
        store: this replica's alone; whoever made it closes it.
    """

    def __init__(self, address: Address, store: RecordStore) -> None:
        self.me = Replica(address, store.identity)
        self.waits_for_disk = store.waits_for_disk
        self._store = store
        self._lock = threading.Lock()
        self._acceptor = Acceptor(self.me, store.held())
        self._place = 0  # of what was appended last
        self._failure: OSError | None = None
        self.leaving = False
        """Then it goes on answering, and tells whoever asks that it is not to be a member."""

    def handle(self, message: Message) -> Message | None:
        """The answer to a request about records, once it may be given; None to any other."""
        if isinstance(message, GetReplica):
            if self.leaving:
                return No(f"{self.me} is leaving the ring")
            return self._refusal() or ReplicaIs(self.me)
        if isinstance(message, ListRecords):
            return answer_list(self.me, self.all_held(), message)
        replies: list[Message] = []
        if not self._carry_out(lambda: self._acceptor.handle(message) or (), replies):
            return self._refusal()
        return replies[0] if replies else None

    def all_held(self) -> tuple[Held, ...]:
        """What is known of every record, durable or not."""
        with self._lock:
            return self._acceptor.all_held()

    def bury(self, name: str, now_s: int) -> None:
        """Remember of a record only that it was deleted; see ``Acceptor.bury``."""
        self._carry_out(lambda: self._acceptor.bury(name, now_s), [])

    def bury_all(self, which: Callable[[str], bool], now_s: int) -> None:
        """Bury all records whose names ``which`` picks out."""

        def buried() -> tuple[Effect, ...]:
            names = [
                held.name
                for held in self._acceptor.all_held()
                if which(held.name) and not held.buried_s
            ]
            return tuple(effect for name in names for effect in self._acceptor.bury(name, now_s))

        self._carry_out(buried, [])

    def forget(self, name: str) -> None:
        """Forget a record that was buried."""
        self._carry_out(lambda: self._acceptor.forget(name), [])

    def _carry_out(self, step: Callable[[], tuple[Effect, ...]], replies: list[Message]) -> bool:
        """A step of the acceptor. Replies may be given when this returns True, and never else."""
        try:
            with self._lock:
                if self._failure is not None:
                    return False
                for effect in step():
                    if isinstance(effect, Persist):
                        self._place = self._store.append(effect.held)
                    else:
                        replies.append(effect.message)
                place = self._place
            self._store.sync(place)
        except OSError as error:
            self._fail(error)
            return False
        return True

    def _fail(self, error: OSError) -> None:
        first, self._failure = self._failure is None, error
        if first and not self.leaving:  # else its store was closed before the last request
            log.error("%s keeps no records any more: %s; restart the node", self.me, error)

    def _refusal(self) -> No | None:
        if self._failure is None:
            return None
        return No(f"the replica of {self.me} has ended: {self._failure}")
