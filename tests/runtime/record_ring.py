"""Replicas and proposers over a network in memory, without the rest of their nodes."""

from __future__ import annotations

import random
from collections.abc import Callable

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Message, No, Request
from map_reduce.core.registers.birth import Birth, Record
from map_reduce.ports import RecordStore
from map_reduce.runtime.own_replica import OwnReplica
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.record_care import RecordCare
from map_reduce.runtime.records import Records
from map_reduce.runtime.threads import MonotonicClock
from map_reduce.storage.memory_records import MemoryRecordStore
from map_reduce.transport.memory import MemoryNetwork, MemoryTransport

GONE_AFTER_S = 30.0
STEP_S = 3.0


class Clock:
    """Stands still, but for tests that move it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def now_s(self) -> float:
        return self.now


class RecordNode:
    """One node, as far as records go. ``before`` is called with each request from elsewhere."""

    def __init__(self, ring: RecordRing, number: int, store: RecordStore) -> None:
        self.transport = MemoryTransport(ring.network)
        address = self.transport.listen(Address(f"n{number}", 1))
        self.before: Callable[[Message], None] = lambda message: None
        self.me = Member(address, random.getrandbits(60))
        self.own = OwnReplica(address, store)
        peers = Peers(self.transport, timeout_s=ring.timeout_s, me=self.me, handler=self.answer)
        self.records = ring.make_records(peers, self.me, self.own)
        self.care = RecordCare(
            records=self.records,
            own=self.own,
            ring=lambda: [node.me for node in ring.nodes],
            clock=ring.clock,
            members_max=ring.members_max,
            gone_after_s=GONE_AFTER_S,
            dice=random.Random(number),
        )
        self.transport.serve(self.heard)

    def heard(self, request: Request) -> Message:
        self.before(request.body)
        return self.answer(request)

    def answer(self, request: Request) -> Message:
        return self.records.handle(request.body) or No("not about records")

    def close(self) -> None:
        self.records.close()
        self.transport.close()


class RecordRing:
    """``size`` nodes n1, n2, … in the order in which every lookup names them, and a client."""

    def __init__(
        self,
        size: int,
        *,
        timeout_s: float = 0.5,
        members_max: int = 3,
        make_store: Callable[[int], RecordStore] = lambda number: MemoryRecordStore(),
    ) -> None:
        self.timeout_s = timeout_s
        self.members_max = members_max
        self.clock = Clock()  # of those who care for records
        self._make_store = make_store
        self.network = MemoryNetwork()
        self.nodes: list[RecordNode] = []
        for number in range(1, size + 1):
            self.add(number)
        self._transport = MemoryTransport(self.network)
        me = Member(Address("a client", 0), random.getrandbits(60))
        self.client = self.make_records(Peers(self._transport, timeout_s=timeout_s), me, None)

    def add(self, number: int) -> RecordNode:
        """A node more, as the last one of every lookup."""
        node = RecordNode(self, number, self._make_store(number))
        self.nodes.append(node)
        return node

    def lose(self, node: RecordNode) -> None:
        """A node dies, and the ring has noticed."""
        self.nodes.remove(node)
        node.close()

    def look(self, span_s: float) -> None:
        """Time passes, in which every node looks after its records every few seconds."""
        until_s = self.clock.now + span_s
        while self.clock.now < until_s:
            self.clock.now += min(STEP_S, span_s)
            for node in [*self.nodes]:
                node.care.step()

    def make_records(self, peers: Peers, me: Member, own: OwnReplica | None) -> Records:
        return Records(
            peers=peers,
            clock=MonotonicClock(),
            me=me,
            locate=lambda place: tuple(node.me for node in self.nodes),
            own=own,
            members_max=5,
            timeout_s=self.timeout_s,
            dice=random.Random(1),
        )

    def record(self, about: bytes = b"about", members: int = 5) -> Record:
        """One whose first members are the first nodes."""
        config = tuple(node.own.me for node in self.nodes[:members])
        return Birth(about, b"nonce", config).record()

    def close(self) -> None:
        self.client.close()
        self._transport.close()
        for node in self.nodes:
            node.close()

    def __enter__(self) -> RecordRing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
