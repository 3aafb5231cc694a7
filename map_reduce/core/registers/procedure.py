"""The shape of a step that asks several replicas at once.

As ``core/procedure.py``, but for majorities: a procedure yields an :class:`AskAll` and is sent the
replies that came, by replica; or a :class:`BackOff` and is sent ``{}`` when the wait is over. Who
does not answer is simply not among the replies, so nothing is ever thrown in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, TypeVar

from map_reduce.core.messages import Message
from map_reduce.core.messages.records import Replica

T = TypeVar("T")

Replies = dict[Replica, Message]

_ALONE: AbstractContextManager[object] = nullcontext()


class AskAll(NamedTuple):
    """Send each replica its message, all at the same time.

    The driver resumes the procedure as soon as ``enough(replies so far)`` is true, or everybody
    has answered, or the time for one request is over. What arrives later is dropped; messages that
    were sent are not taken back. ``enough`` is quick and changes nothing.
    """

    messages: Mapping[Replica, Message]
    enough: Callable[[Replies], bool]


class BackOff(NamedTuple):
    """Another proposer was in the way: wait for a random time, longer with each ``attempt``.

    The core has neither clock nor dice. A good wait is drawn evenly from 0 to a few round trips
    times 2^attempt, with an upper bound of about a second.
    """

    attempt: int  # from 1


RecordProcedure = Generator[AskAll | BackOff, Replies, T]


def perform(
    procedure: RecordProcedure[T],
    ask_all: Callable[[AskAll], Replies],
    back_off: Callable[[BackOff], None],
    atomically: AbstractContextManager[object] = _ALONE,
) -> T:
    """Drive a procedure to its end with blocking functions.

    ``atomically`` is entered for each step and left while replicas are asked: the lock of the
    proposer's owner, where several threads use it. It is *not* held when ``enough`` is called.
    """
    replies: Replies | None = None
    try:
        while True:
            with atomically:
                wanted = next(procedure) if replies is None else procedure.send(replies)
            if isinstance(wanted, AskAll):
                replies = ask_all(wanted)
            else:
                back_off(wanted)
                replies = {}
    except StopIteration as end:
        result: T = end.value
        return result
