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
from typing import TypeVar

import msgspec

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Message
from map_reduce.errors import MapReduceError

T = TypeVar("T")

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


def perform(
    procedure: Procedure[T],
    ask: Callable[[Ask], Message],
    atomically: AbstractContextManager[object] = NOT_SHARED,
) -> T:
    """Drive a procedure to its end with a blocking ``ask``, which may raise MapReduceError.

    ``atomically`` is entered for each step and left while a peer is asked: the lock of the
    state's owner, where the state is shared.
    """
    reply: Message | None = None
    error: MapReduceError | None = None
    try:
        while True:
            with atomically:
                if error is not None:
                    wanted = procedure.throw(error)
                elif reply is not None:
                    wanted = procedure.send(reply)
                else:
                    wanted = next(procedure)
            reply, error = None, None
            try:
                reply = ask(wanted)
            except MapReduceError as failure:
                error = failure
    except StopIteration as end:
        result: T = end.value
        return result
