"""From the bytes of a request to the bytes of its reply, whatever the handler does."""

from __future__ import annotations

import logging
from collections.abc import Callable

from map_reduce.core.messages import Message, No, Request
from map_reduce.core.roles import Caller, refusal
from map_reduce.errors import ProtocolError
from map_reduce.ports import Handler, Hold, ToHold
from map_reduce.transport import wire

log = logging.getLogger("map_reduce.transport")


Wait = Callable[[Request], None]
"""Returns when it is time to answer."""


def answer(
    handler: Handler,
    data: bytes | memoryview,
    caller: Caller,
    wait: Wait = lambda request: None,
) -> bytes:
    """Ask the handler, if the caller may ask this at all, after ``wait``.

    Raises only what ``wait`` does: whatever else goes wrong is logged here and answered by a No.

    The No of a fault of ours says no more than that: its traceback is in this node's log, not
    on the wire.
    """
    try:
        request = wire.decode_request(data)
    except ProtocolError as error:
        log.info("refused a request: %s", error)
        return wire.encode_reply(No(f"request not understood: {error}"))
    name = type(request.body).__name__
    if (reason := refusal(caller, request)) is not None:
        log.warning("refused a %s: %s", name, reason)
        return wire.encode_reply(No(reason))
    wait(request)
    try:
        return wire.encode_reply(handler(request))
    except ProtocolError as error:
        log.error("no reply to a %s from %s: %s", name, request.sender or "a client", error)
    except Exception:  # a handler's fault must reach the log and the peer, whatever it is
        log.exception("answering a %s from %s failed", name, request.sender or "a client")
    return wire.encode_reply(_internal_error(name))


def hold_of(to_hold: ToHold | None, request: Request) -> Hold | None:
    """What the node says to that. A fault of its own costs nothing but the wait."""
    try:
        return None if to_hold is None else to_hold(request)
    except Exception:  # whatever it is, the request is answered
        log.exception("a %s could not be held", type(request.body).__name__)
        return None


def _internal_error(name: str) -> Message:
    return No(f"internal error while answering a {name}; the log of the node that answered has it")
