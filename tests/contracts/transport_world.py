"""Transports of one kind, for tests that every kind passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Message, Request
from map_reduce.ports import Handler, ToHold, Transport

PATIENCE_S = 30.0  # of calls that are expected to be answered at once
ALICE = Member(Address("127.0.0.1", 1), 7)


@dataclass
class World:
    """Makes transports of one kind, and closes them."""

    make: Callable[[], Transport]
    anywhere: Address  # listening there takes a free port
    made: list[Transport] = field(default_factory=list)

    def transport(self) -> Transport:
        self.made.append(self.make())
        return self.made[-1]

    def node(
        self, handler: Handler, address: Address | None = None, to_hold: ToHold | None = None
    ) -> tuple[Transport, Address]:
        transport = self.transport()
        where = transport.listen(address or self.anywhere)
        transport.serve(handler, to_hold)
        return transport, where


def ask(body: Message) -> Request:
    return Request("a cluster", ALICE, body)
