"""Asking several peers at the same time.

Requests run in threads of a pool, at most ``PER_PEER_MAX`` at a time to one peer: a peer that keeps
silent holds up the requests to itself, never those to others. A request whose asker no longer waits
is not sent, unless it is one that is to reach everybody; and no request is sent when its time is
over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Generic, TypeVar

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Message
from map_reduce.core.messages.records import Replica
from map_reduce.errors import ClusterError
from map_reduce.runtime.lanes import Call, Lanes
from map_reduce.runtime.peers import Peers

PER_PEER_MAX = 4

P = TypeVar("P", Member, Replica)


class Parallel:
    """Safe to use from many threads.

    Args:
        name: of the threads.
        here: an address whose requests are answered in this process and at once, so that a thread
            of their own would cost more than it saves.
    """

    def __init__(
        self, peers: Peers, name: str, *, threads_max: int, here: Address | None = None
    ) -> None:
        self._peers = peers
        self._here = here
        self._lanes = Lanes(name, threads_max=threads_max, per_lane_max=lambda peer: PER_PEER_MAX)

    def ask(
        self,
        messages: Mapping[P, Message],
        timeout_s: float,
        enough: Callable[[dict[P, Message]], bool],
        *,
        for_all: bool = False,
    ) -> dict[P, Message]:
        """The replies that came until they were enough, or all were there, or the time was over.

        Who did not answer is not among them. What comes later is dropped. ``for_all``: what has not
        been sent when there are replies enough is sent all the same.
        """
        gathering = _Gathering[P](len(messages), enough, timeout_s, for_all=for_all)
        inline: list[Call] = []
        for peer, message in messages.items():
            call: Call = partial(self._ask, gathering, peer, message, timeout_s)
            if peer.address == self._here or len(messages) == 1:
                inline.append(call)
            else:
                self._lanes.run(peer.address, call)
        for call in inline:
            call()
        return gathering.wait(timeout_s)

    def close(self) -> None:
        """Return when what is being asked has ended; nothing is asked any more."""
        self._lanes.close()

    def _ask(self, gathering: _Gathering[P], peer: P, message: Message, timeout_s: float) -> bool:
        if not gathering.open:
            return False
        try:
            reply = self._peers.send(peer.address, message, timeout_s)
        except ClusterError:  # unreachable, of another cluster, or not making sense: no answer
            gathering.take(peer, None)
        else:
            gathering.take(peer, reply)
        return False


class _Gathering(Generic[P]):
    """The replies to one question."""

    def __init__(
        self,
        asked: int,
        enough: Callable[[dict[P, Message]], bool],
        timeout_s: float,
        *,
        for_all: bool,
    ) -> None:
        self._until_s = time.monotonic() + timeout_s
        self._for_all = for_all
        self._changed = threading.Condition()
        self._missing = asked
        self._enough: Callable[[dict[P, Message]], bool] = enough
        self._replies: dict[P, Message] = {}
        self.over = asked == 0

    @property
    def open(self) -> bool:
        """Whether requests are still to be sent."""
        return (self._for_all or not self.over) and time.monotonic() < self._until_s

    def take(self, peer: P, reply: Message | None) -> None:
        with self._changed:
            if self.over:
                return
            self._missing -= 1
            if reply is not None:
                self._replies[peer] = reply
            if self._missing == 0 or (reply is not None and self._enough(self._replies)):
                self.over = True
                self._changed.notify_all()

    def wait(self, timeout_s: float) -> dict[P, Message]:
        with self._changed:
            self._changed.wait_for(lambda: self.over, timeout_s)
            self.over = True
            return self._replies
