"""Requests to peers that go in batches: orders to nodes, and reports to masters.

What goes together, and when, is the outbox's to say (``core/outbox.py``). Here are the threads that
send, and what an answer is for each item: a batch gets an answer for each of its items, in their
order (:class:`~map_reduce.core.messages.Answers`).

What a node says to itself does not wait: its own handler answers at once, in the caller's thread.

One bad item does no harm to others. Where a peer does not answer a batch item by item, as when it
cannot read it, each item is sent again alone and has an answer of its own. That may have it carried
out twice, as may a connection that breaks, which is harmless for whatever goes by this post.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import Answer, Answers, Message, No
from map_reduce.core.outbox import Outbox
from map_reduce.errors import ClusterError, ProtocolError, Refused, Unreachable
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.threads import Threads, run_guarded

log = logging.getLogger(__name__)

ITEMS_MAX = 128
"""Of a batch: a node takes each in some 0.1 ms, and meanwhile answers no other in that thread."""

BYTES_MAX = 1 << 20
"""Of a batch of several, encoded; a message may have four times as many."""

SENDERS_MAX = 16
"""Peers that may keep each a thread waiting. They are started as they are needed."""

Item = TypeVar("Item")
Heard = Callable[[Answer | ClusterError], None]
"""Called with what came of an item; from a thread of the post, or the one that put the item."""


class _Letter(NamedTuple):
    item: Any  # encoded, where it is to travel
    heard: Heard


class Post(Generic[Item]):
    """Sends items of one kind. Safe to use from many threads.

    Args:
        envelope: the request that items go in.
        name: of its threads.
    """

    def __init__(
        self, peers: Peers, envelope: Callable[[tuple[Item, ...]], Message], name: str
    ) -> None:
        self._peers = peers
        self._envelope = envelope
        self._name = name
        self._threads = Threads(name, threads_max=SENDERS_MAX)
        self._lock = threading.Lock()
        self._closed = False
        self._outbox: Outbox[Address, _Letter] = Outbox(
            items_max=ITEMS_MAX, bytes_max=BYTES_MAX, senders_max=SENDERS_MAX
        )

    def put(self, peer: Address, key: Hashable, item: Item, heard: Heard) -> None:
        """Have an item sent with the next :meth:`flush`; at once where the peer is this node."""
        if peer == self._peers.member.address:
            self._deliver(peer, (_Letter(item, heard),))
            return
        try:
            encoded = msgspec.msgpack.encode(item)  # once, and so its length is known
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            heard(ProtocolError(f"a {type(item).__name__} cannot be encoded: {error}"))
            return
        letter = _Letter(msgspec.Raw(encoded), heard)
        with self._lock:
            if not self._closed:
                self._outbox.put(peer, key, letter, len(encoded))

    def flush(self) -> None:
        """Send what was put, as soon as its peers have answered what went before."""
        with self._lock:
            senders = 0
            while self._outbox.wants_sender():
                senders += 1
        for _ in range(senders):
            self._threads.run(self._send)

    def has(self, peer: Address, key: Hashable) -> bool:
        """Whether an item of that key is yet to be sent, or to be answered."""
        with self._lock:
            return self._outbox.has(peer, key)

    def withdraw(self, peer: Address, key: Hashable) -> bool:
        """Do not send an item; nothing is heard of it then. False where it was sent already."""
        with self._lock:
            return self._outbox.withdraw(peer, key)

    def close(self) -> None:
        """Drop what waits, and return when what is under way has been answered."""
        with self._lock:
            self._closed = True
            self._outbox.clear()
        self._threads.close()

    # ------------------------------------------------------------------ a sender

    def _send(self) -> None:
        while True:
            with self._lock:
                batch = self._outbox.take()
            if batch is None:
                return
            try:
                self._deliver(batch.peer, batch.items)
            finally:
                with self._lock:
                    self._outbox.done(batch.peer)

    def _deliver(self, peer: Address, letters: Sequence[_Letter]) -> None:
        """Send these, and tell each what came of it."""
        answers = self._ask(peer, letters)
        for letter, answer in zip(letters, answers, strict=True):
            run_guarded(partial(letter.heard, answer), self._name)

    def _ask_one_by_one(
        self, peer: Address, letters: Sequence[_Letter]
    ) -> Sequence[Answer | ClusterError]:
        answers: list[Answer | ClusterError] = []
        for letter in letters:
            if answers and isinstance(answers[-1], Unreachable):
                answers.append(answers[-1])  # each would be waited for as long as the one before
            else:
                answers += self._ask(peer, (letter,))
        return answers

    def _ask(self, peer: Address, letters: Sequence[_Letter]) -> Sequence[Answer | ClusterError]:
        """What comes of each."""
        request = self._envelope(tuple(letter.item for letter in letters))
        try:
            reply = self._peers.request(peer, request, Answers)
            if len(reply.answers) == len(letters):
                return reply.answers
            raise ProtocolError(f"{peer} gave {len(reply.answers)} answers to {len(letters)} items")
        except (ProtocolError, Refused) as error:
            if len(letters) > 1:
                log.info("one by one now, since together was no good: %s", error)
                return self._ask_one_by_one(peer, letters)
            return (error,)
        except ClusterError as error:
            return (error,) * len(letters)
        except Exception as error:  # a defect of ours: whoever waits must hear of it
            log.exception("%s: could not ask %s", self._name, peer)
            problem = f"{peer} was not asked: {type(error).__name__}: {error}"
            return (ClusterError(problem),) * len(letters)


def answer_each(items: Sequence[Item], answer: Callable[[Item], Answer]) -> Answers:
    """A handler's answer to a batch: a fault in one is that one's alone."""
    return Answers(tuple(_answer(item, answer) for item in items))


def _answer(item: Item, answer: Callable[[Item], Answer]) -> Answer:
    try:
        return answer(item)
    except Exception as error:  # a defect, which must not take the others along
        log.exception("could not answer a %s", type(item).__name__)
        return No(f"internal error ({type(error).__name__})")
