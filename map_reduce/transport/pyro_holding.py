"""Holding an answer back: the wait of the answering side, and what the calling side hears of it.

While a request is held (``runtime/holds.py``), the thread that serves its connection waits for news
and for the connection's end, whichever comes first. Every ``SIGN_OF_LIFE_S`` it sends an empty PING
frame meanwhile, so that a node that has frozen, or is cut off, is noticed long before the time is
over. One that was killed is noticed at once: the system closes its sockets. So is a caller's death.
"""

from __future__ import annotations

import logging
import math
import os
import select
import time
from functools import partial

from Pyro4 import message

from map_reduce.core.messages import HELD, Message
from map_reduce.ports import Hold
from map_reduce.transport.pyro_channel import Channel, Cut

log = logging.getLogger("map_reduce.transport")

SIGN_OF_LIFE_S = 1.0
"""Between two signs of life. This and the caller's timeout are how long a node that holds a request
may be silent: with the defaults, as long as others leave a silent master in peace."""


def hold_s_of(request: Message) -> float:
    """For how long the answer may be held, as the request says."""
    return request.hold_s if isinstance(request, HELD) else 0.0


def await_news(channel: Channel, sequence: int, hold: Hold, send_s_max: float) -> None:
    """Return when the request is to be answered, and end the hold.

    Raises:
        Cut: the caller has gone, or speaks out of turn.
        TimeoutError: it did not take a sign of life within ``send_s_max``.
    """
    try:
        hear, ring = os.pipe()
    except OSError as error:
        log.warning("a request is answered at once, for it cannot be held: %s", error)
        hold.end()
        return
    try:
        hold.wake_by(partial(os.write, ring, b"!"))
        _await(channel, hear, sequence, time.monotonic() + hold.hold_s, send_s_max)
    finally:
        hold.end()  # from here on nobody writes into the pipe
        os.close(hear)
        os.close(ring)


def _await(channel: Channel, hear: int, sequence: int, until_s: float, send_s_max: float) -> None:
    poller = select.poll()
    poller.register(hear, select.POLLIN)
    poller.register(channel.sock, select.POLLIN)
    while (left_s := until_s - time.monotonic()) > 0:
        ready = {number for number, _ in poller.poll(math.ceil(1000 * min(left_s, SIGN_OF_LIFE_S)))}
        if ready - {hear}:
            raise Cut("the caller has gone, or speaks out of turn", midway=False)
        if ready:
            return
        deadline = time.monotonic() + send_s_max
        channel.send(message.MSG_PING, sequence, b"", b"", deadline)
