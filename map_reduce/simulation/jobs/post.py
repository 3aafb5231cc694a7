"""Orders and reports in batches: as ``runtime/post.py``, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from map_reduce.core.messages import Answer, Answers, Message
from map_reduce.core.outbox import Outbox
from map_reduce.errors import ClusterError, Unreachable
from map_reduce.simulation.jobs.world import Ask, Host, Process, World

ITEMS_MAX = 3
"""Of a batch: few, so that there are several even in a small job."""

SENDERS_MAX = 3

Heard = Callable[[Answer | ClusterError], None]


class Post:
    """Of one life of a node; what is under way ends with it."""

    def __init__(
        self, world: World, host: Host, envelope: Callable[[tuple[Any, ...]], Message]
    ) -> None:
        self._world = world
        self._host = host
        self._envelope = envelope
        self._outbox: Outbox[int, tuple[Any, Heard]] = Outbox(
            items_max=ITEMS_MAX, bytes_max=ITEMS_MAX, senders_max=SENDERS_MAX
        )

    def put(self, peer: int, key: Hashable, item: Any, heard: Heard) -> None:
        self._outbox.put(peer, key, (item, heard), 1)

    def flush(self) -> None:
        while self._outbox.wants_sender():
            self._world.start(self._host, self._send())

    def has(self, peer: int, key: Hashable) -> bool:
        return self._outbox.has(peer, key)

    def withdraw(self, peer: int, key: Hashable) -> bool:
        return self._outbox.withdraw(peer, key)

    def _send(self) -> Process[None]:
        while (batch := self._outbox.take()) is not None:
            message = self._envelope(tuple(item for item, _ in batch.items))
            reply = (yield Ask({0: (batch.peer, message)})).get(0)
            lost = Unreachable(f"node {batch.peer} did not answer")
            answers = reply.answers if isinstance(reply, Answers) else (lost,) * len(batch.items)
            for (_, heard), answer in zip(batch.items, answers, strict=True):
                heard(answer)
            self._outbox.done(batch.peer)
