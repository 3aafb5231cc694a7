"""What the master of a job tells nodes to do, and what its scheduler hears of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import (
    Answer,
    Busy,
    Done,
    JobSpec,
    No,
    Order,
    StartAttempt,
    StopAttempt,
)
from map_reduce.core.scheduling import events
from map_reduce.core.scheduling.effects import Start, Stop
from map_reduce.core.scheduling.events import Event
from map_reduce.errors import ClusterError
from map_reduce.runtime.post import Post

log = logging.getLogger(__name__)


class Orders:
    """The orders of one job's master.

    Args:
        post: of the node, whose masters' orders to one node go together.
        me: where attempts are to be reported.
        timeout_s: of attempts, where the job does not say.
        heard: takes what a node answered, as an event.
    """

    def __init__(
        self,
        post: Post[Order],
        me: Address,
        spec: JobSpec,
        epoch: int,
        timeout_s: float,
        heard: Callable[[Event], object],
    ) -> None:
        self._post = post
        self._me = me
        self._spec = spec
        self._epoch = epoch
        self._timeout_s = spec.rules.timeout_s or timeout_s
        self._heard = heard

    def start(self, effect: Start) -> None:
        """Have it sent with the next :meth:`flush`."""
        spec = self._spec
        order = StartAttempt(
            attempt=effect.attempt,
            epoch=self._epoch,
            master=self._me,
            functions=spec.functions,
            work=effect.work,
            timeout_s=self._timeout_s,
            careful=effect.careful,
            skipping=effect.skipping,
            memory_mb_max=spec.rules.memory_mb_max,
            priority=spec.rules.priority,
        )
        answered = partial(self._answered, effect)
        self._post.put(effect.node.address, effect.attempt, order, answered)

    def stop(self, effect: Stop) -> None:
        """As :meth:`start`. An order that was not sent yet is not sent any more; else this goes
        after it."""
        node, attempt = effect.node.address, effect.attempt
        if not self._post.withdraw(node, attempt):
            order = StopAttempt(attempt, self._epoch)
            self._post.put(node, order, order, partial(_stopped, effect))

    def flush(self) -> None:
        self._post.flush()

    def _answered(self, effect: Start, answer: Answer | ClusterError) -> None:
        """What the node says to an order, or that it said nothing."""
        attempt, node = effect.attempt, effect.node
        if isinstance(answer, Done):
            self._heard(events.AttemptTaken(attempt, node))
        elif isinstance(answer, Busy):
            self._heard(events.AttemptRefused(attempt, node, busy=True))
        else:
            reason = str(answer)
            if isinstance(answer, No):
                reason = f"{node.address} refused it: {answer.reason}"
            log.info("%s did not take %s: %s", node, attempt, reason)
            self._heard(events.AttemptRefused(attempt, node, busy=False, reason=reason))


def _stopped(effect: Stop, answer: Answer | ClusterError) -> None:
    if not isinstance(answer, Done):  # it costs a slot's time, and signs of life name it again
        log.info("%s did not stop %s: %s", effect.node, effect.attempt, answer)
