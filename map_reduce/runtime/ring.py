"""A node's place in the ring: takes it, keeps it, and finds others' places.

The RingMember (``core/chord``) has one owner, :class:`Ring`: each step of a procedure and each
answer runs under its lock, and the lock is never held while a peer is asked. Maintenance is
one loop, so a member has at most one operation in flight, as the protocol demands; lookups
only read and may run in any thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TypeVar

from map_reduce.core.chord.member import RingMember
from map_reduce.core.identifiers import Address, Identifier, Member
from map_reduce.core.messages import Message
from map_reduce.core.procedure import Procedure, perform
from map_reduce.errors import ClusterError, MapReduceError
from map_reduce.ports import Clock
from map_reduce.runtime.peers import Peers

log = logging.getLogger(__name__)

T = TypeVar("T")

JOIN_S_MAX = 10.0
JOIN_RETRY_S = 0.3
REUNITE_INTERVAL_S = 30.0


class Ring:
    """Drives one RingMember.

    Args:
        interval_s: between two rounds of maintenance, once the ring around has settled.
    """

    def __init__(
        self, member: RingMember, peers: Peers, clock: Clock, *, interval_s: float
    ) -> None:
        self._member = member
        self._peers = peers
        self._clock = clock
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._closing = threading.Event()
        member.on_death = lambda dead: log.info("%s counts as dead", dead)
        self._next_reunion_s = clock.now_s() + REUNITE_INTERVAL_S

    # ------------------------------------------------------------------ for handlers

    def handle(self, message: Message, sender: Member | None) -> Message | None:
        """The member's immediate answer; None where the message is not the ring's."""
        with self._lock:
            if sender is not None:
                self._member.heard_from(sender)
            return self._member.handle(message, sender)

    def view(self) -> tuple[Member | None, tuple[Member, ...]]:
        """Predecessor and successors now."""
        with self._lock:
            return self._member.predecessor, self._member.successors

    def members(self) -> tuple[Member, ...] | None:
        """All members that this one knows of; None where it cannot know all."""
        with self._lock:
            return self._member.members()

    # ------------------------------------------------------------------ for threads

    def create(self, seeds: Sequence[Address] = ()) -> None:
        """Begin a ring; ``seeds`` are asked now and then whether they are in another."""
        with self._lock:
            self._member.create()
            self._member.acquaintances.remember_seeds(seeds)

    def join(self, seeds: Sequence[Address]) -> None:
        """Join the ring of one of ``seeds``; what may pass with time is tried for 10 seconds.

        Raises:
            ClusterError: why it did not work.
        """
        give_up_s = self._clock.now_s() + JOIN_S_MAX
        while True:
            try:
                self._perform(self._member.join(seeds))
                self._perform(self._member.stabilize())  # be seen at once
                return
            except ClusterError as error:
                if self._clock.now_s() > give_up_s or self._closing.is_set():
                    raise
                log.info("not joined yet: %s", error)
            self._closing.wait(JOIN_RETRY_S)

    def leave(self) -> None:
        """Tell the neighbours. What they don't hear, they find out."""
        self._closing.set()
        try:
            self._perform(self._member.leave())
        except MapReduceError as error:
            log.info("left without having told everybody: %s", error)

    def locate(self, target: Identifier) -> tuple[Member, ...]:
        """The owner of a place on the ring, and its successors.

        Raises:
            Unreachable: no node that could tell answers.
        """
        return self._perform(self._member.lookup(target))

    def maintain(self) -> None:
        """One round of the protocol. Called by one thread only."""
        member = self._member
        self._perform(member.stabilize())
        self._perform(member.probe())
        self._perform(member.fix_finger())
        if self._clock.now_s() >= self._next_reunion_s:
            self._next_reunion_s = self._clock.now_s() + REUNITE_INTERVAL_S
            self._perform(member.reunite())

    def pause_s(self) -> float:
        """How long to wait until the next round: less while the neighbourhood changes."""
        with self._lock:
            return self._interval_s if self._member.settled else self._interval_s / 5

    def _perform(self, procedure: Procedure[T]) -> T:
        return perform(procedure, self._peers.ask, self._lock)
