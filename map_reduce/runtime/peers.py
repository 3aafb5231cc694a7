"""Asking other nodes, with the envelope, the deadline and the meaning of refusals."""

from __future__ import annotations

from typing import TypeVar, overload

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Message, Request, WrongCluster
from map_reduce.core.procedure import Ask, understood
from map_reduce.errors import Refused
from map_reduce.ports import Handler, Transport

A = TypeVar("A", bound=Message)
B = TypeVar("B", bound=Message)
C = TypeVar("C", bound=Message)


class Peers:
    """The asking side of a node or a client.

    Args:
        cluster_id: "" for a client and for a node that has not joined yet.
        me: the node itself; None for a client.
        handler: answers what a node asks itself, without the transport.
        timeout_s: of a request that names none.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        timeout_s: float,
        cluster_id: str = "",
        me: Member | None = None,
        handler: Handler | None = None,
    ) -> None:
        self._transport = transport
        self._timeout_s = timeout_s
        self._handler = handler
        self.cluster_id = cluster_id
        self.me = me

    def of_cluster(self, cluster_id: str) -> Peers:
        """A client's, by the same transport, to nodes of one cluster only."""
        return Peers(self._transport, timeout_s=self._timeout_s, cluster_id=cluster_id)

    @property
    def member(self) -> Member:
        """The node itself."""
        assert self.me is not None, "only a node is a member"
        return self.me

    def send(self, peer: Address, message: Message, timeout_s: float | None = None) -> Message:
        """The peer's reply, whatever it is, Busy and No too.

        Raises:
            Unreachable: none came in time.
            Refused: the peer is of another cluster.
        """
        request = Request(self.cluster_id, self.me, message)
        if self._handler is not None and self.me is not None and peer == self.me.address:
            return self._handler(request)
        reply = self._transport.call(peer, request, timeout_s or self._timeout_s)
        if isinstance(reply, WrongCluster):
            raise Refused(f"{peer} belongs to another cluster ({reply.cluster_id or 'none yet'})")
        return reply

    def ask(self, ask: Ask, timeout_s: float | None = None) -> Message:
        """Perform an Ask of a procedure."""
        return self.send(ask.address, ask.message, timeout_s)

    @overload
    def request(
        self, peer: Address, message: Message, kind: type[A], /, *, timeout_s: float | None = None
    ) -> A: ...

    @overload
    def request(
        self,
        peer: Address,
        message: Message,
        kind: type[A],
        other: type[B],
        /,
        *,
        timeout_s: float | None = None,
    ) -> A | B: ...

    @overload
    def request(
        self,
        peer: Address,
        message: Message,
        kind: type[A],
        other: type[B],
        third: type[C],
        /,
        *,
        timeout_s: float | None = None,
    ) -> A | B | C: ...

    def request(
        self,
        peer: Address,
        message: Message,
        *kinds: type[Message],
        timeout_s: float | None = None,
    ) -> Message:
        """A reply of one of ``kinds``.

        Raises:
            Unreachable: none came in time.
            Refused: the answer was No or Busy, or the peer is of another cluster.
            ProtocolError: the answer is of a kind that makes no sense here.
        """
        return understood(Ask(peer, message), self.send(peer, message, timeout_s), *kinds)
