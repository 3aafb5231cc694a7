"""Holding an answer back: the wait of the answering side, and what the calling side hears of it.

While a request is held (``runtime/holds.py``), the thread that serves its connection waits for
news. Every ``SIGN_OF_LIFE_S`` it looks whether the caller is still there, and sends it an empty
PING frame, so that a node that has frozen, or is cut off, is noticed long before the time is over.
One that was killed is noticed at once: the system closes its sockets.
"""

from __future__ import annotations

import time

from Pyro4 import message

from map_reduce.core.messages import HELD, Message
from map_reduce.ports import Hold
from map_reduce.transport.pyro_channel import Cut
from map_reduce.transport.pyro_server import ServedChannel, Stage

SIGN_OF_LIFE_S = 1.0
"""Between two signs of life. This and the caller's timeout are how long a node that holds a request
may be silent: with the defaults, as long as others leave a silent master in peace."""


def hold_s_of(request: Message) -> float:
    """For how long the answer may be held, as the request says."""
    return request.hold_s if isinstance(request, HELD) else 0.0


def await_news(channel: ServedChannel, sequence: int, hold: Hold, send_s_max: float) -> None:
    """Return when the request is to be answered, and end the hold.

    Raises:
        Cut: the caller has gone, or speaks out of turn; or this end closes.
        TimeoutError: it did not take a sign of life within ``send_s_max``.
    """
    until_s = time.monotonic() + hold.hold_s
    channel.enter(Stage.HELD)
    channel.news.clear()
    try:
        hold.wake_by(channel.news.set)
        while not channel.was_cut and (left_s := until_s - time.monotonic()) > 0:
            if channel.news.wait(min(left_s, SIGN_OF_LIFE_S)):
                break
            if not channel.is_quiet():
                raise Cut("the caller has gone, or speaks out of turn", midway=False)
            deadline = time.monotonic() + send_s_max
            channel.send(message.MSG_PING, sequence, b"", b"", deadline)
    finally:
        hold.end()
    if channel.was_cut:
        raise Cut("closed by this end", midway=False)
    channel.enter(Stage.HANDLING)
