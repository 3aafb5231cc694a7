"""The shape of a protocol step.

A step is a generator. It yields an :class:`Ask` for what it needs from a peer, and is sent the
reply, or has :class:`~map_reduce.errors.Unreachable` thrown into it::

    def stabilize(self) -> Procedure[None]:
        try:
            view = yield Ask(self.successors.first, GetNeighbours())
        except Unreachable:
            ...

Between two yields a step is atomic: whoever drives it lets nothing else touch the state
meanwhile. That is the granularity of the published proof and of the simulator. A driver
performs one Ask at a time and never holds a lock while it does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import msgspec

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Busy, Message, No
from map_reduce.errors import MapReduceError, ProtocolError, Refused

T = TypeVar("T")
E = TypeVar("E")
M = TypeVar("M", bound=Message)

NOT_SHARED: AbstractContextManager[object] = nullcontext()
"""For state that nobody else can see."""


class Ask(msgspec.Struct, frozen=True):
    """Send ``message`` to ``peer`` and resume with the reply.

    ``peer`` is an Address only where no member is known yet (joining, a client's first call).
    """

    peer: Member | Address
    message: Message

    @property
    def address(self) -> Address:
        return self.peer.address if isinstance(self.peer, Member) else self.peer


Procedure = Generator[Ask, Message, T]


def understood(ask: Ask, reply: Message, *kinds: type[M]) -> M:
    """The reply, where it is of one of ``kinds``.

    Raises:
        Refused: it is No or Busy.
        ProtocolError: it is of a kind that makes no sense as an answer.
    """
    if isinstance(reply, kinds):
        return reply
    asked = type(ask.message).__name__
    if isinstance(reply, No):
        raise Refused(f"{ask.address} refused {asked}: {reply.reason}")
    if isinstance(reply, Busy):
        raise Refused(f"{ask.address} is busy and did not take {asked}")
    raise ProtocolError(f"{ask.address} answered {asked} with {type(reply).__name__}")


def perform(
    procedure: Generator[E, Any, T],
    carry_out: Callable[[E], object],
    atomically: AbstractContextManager[object] = NOT_SHARED,
) -> T:
    """Drive a procedure to its end: carry out what it yields, by default an Ask, and send it the
    answer. ``carry_out`` blocks, and may raise MapReduceError.

    ``atomically`` is entered for each step and left while something is carried out: the lock of
    the state's owner, where the state is shared.
    """
    reply: object = None
    error: MapReduceError | None = None
    try:
        while True:
            with atomically:
                wanted = procedure.throw(error) if error else procedure.send(reply)
            reply, error = None, None
            try:
                reply = carry_out(wanted)
            except MapReduceError as failure:
                error = failure
    except StopIteration as end:
        result: T = end.value
        return result
