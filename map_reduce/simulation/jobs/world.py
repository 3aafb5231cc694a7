"""Virtual time, a network that loses and doubles messages, and processes of nodes.

A process is a generator that yields :class:`Sleep` or :class:`Ask` and is sent the answer. It ends
with the life of its node; while the node is paused, everything that would happen there waits.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from map_reduce.core.messages import Message
from map_reduce.core.registers.procedure import AskAll, RecordProcedure
from map_reduce.simulation.draws import Draws

T = TypeVar("T")

TIMEOUT_S = 0.5
LATENCY_MS = (1, 30)
BACK_OFF_MS = 10


class Sleep(NamedTuple):
    """Go on after so many seconds."""

    seconds: float


class Ask(NamedTuple):
    """Send each node (by number) its message; answered by the replies that came, by key."""

    messages: Mapping[Any, tuple[int, object]]
    enough: Callable[[dict[Any, Any]], bool] = lambda replies: False
    timeout_s: float = TIMEOUT_S


Process = Generator[Sleep | Ask, Any, T]


class Host(Protocol):
    """What the world knows of a node."""

    number: int
    life: int  # 0 while it is down
    paused_until_s: float

    def handle(self, message: Any) -> Message | None:
        """The answer, at once; None to say nothing."""


class World:
    """See the module's text."""

    def __init__(self, draws: Draws) -> None:
        self.now_s = 0.0
        self.hosts: list[Host] = []
        self.cut: set[frozenset[int]] = set()  # pairs of nodes that can't reach each other
        self.loss = 0.0
        self.doubling = 0.0
        self.events = 0
        self._draws = draws
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now_s + seconds, next(self._order), call))

    def run(self, until_s: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, until then or until something is done."""
        while self._heap and self._heap[0][0] <= until_s and not done():
            self.now_s, _, call = heapq.heappop(self._heap)
            self.events += 1
            call()

    def at(self, host: Host, seconds: float, call: Callable[[], None]) -> None:
        """Have this happen on a node, if it is still the same life of it then."""
        life = host.life

        def happen() -> None:
            if host.life != life or life <= 0:
                return
            if self.now_s < host.paused_until_s:
                self.later(host.paused_until_s - self.now_s, happen)
            else:
                call()

        self.later(seconds, happen)

    # ------------------------------------------------------------------ processes

    def start(self, host: Host, process: Process[Any]) -> None:
        """Run a process on a node."""
        self.at(host, 0.0, lambda: self._resume(host, process, None))

    def _resume(self, host: Host, process: Process[Any], answer: Any) -> None:
        try:
            wanted = process.send(answer)
        except StopIteration:
            return
        if isinstance(wanted, Sleep):
            self.at(host, wanted.seconds, lambda: self._resume(host, process, None))
        else:
            self._ask(host, process, wanted)

    def _ask(self, host: Host, process: Process[Any], ask: Ask) -> None:
        replies: dict[Any, Any] = {}
        over = False

        def finish() -> None:
            nonlocal over
            if not over:
                over = True
                self._resume(host, process, replies)

        def take(key: Any, reply: Any) -> None:
            if over or key in replies:
                return
            replies[key] = reply
            if len(replies) == len(ask.messages) or ask.enough(replies):
                finish()

        for key, (number, message) in ask.messages.items():
            self._send(host, self.hosts[number], message, partial(take, key))
        self.at(host, ask.timeout_s, finish)

    def _send(
        self, source: Host, target: Host, message: object, answered: Callable[[Any], None]
    ) -> None:
        def deliver() -> None:
            reply = target.handle(message)
            if reply is not None and self._arrives(target, source):
                self.at(source, self._latency_s(target, source), lambda: answered(reply))

        if not self._arrives(source, target) or target.life <= 0:
            return
        self.at(target, self._latency_s(source, target), deliver)
        if self._draws.chance(self.doubling):
            self.at(target, 10 * self._latency_s(source, target), deliver)

    def _arrives(self, source: Host, target: Host) -> bool:
        if source is target:
            return True
        pair = frozenset((source.number, target.number))
        return pair not in self.cut and not self._draws.chance(self.loss)

    def _latency_s(self, source: Host, target: Host) -> float:
        return 0.0 if source is target else self._draws.within(*LATENCY_MS) / 1000

    def perform(self, procedure: RecordProcedure[T]) -> Process[T]:
        """A procedure of a proposer, as a part of a process. Raises as it does."""
        replies: Any = None
        while True:
            try:
                wanted = next(procedure) if replies is None else procedure.send(replies)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(wanted, AskAll):
                messages = {
                    replica: (replica.address.port, message)
                    for replica, message in wanted.messages.items()
                }
                replies = yield Ask(messages, wanted.enough)
            else:
                bound = BACK_OFF_MS * 2 ** min(wanted.attempt, 6)
                yield Sleep(self._draws.within(0, bound) / 1000)
                replies = {}
