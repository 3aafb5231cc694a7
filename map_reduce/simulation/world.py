"""Virtual time, and the delivery of messages.

A step of a process, or the handling of one message, is atomic and takes no time. Everything else
waits in one queue, ordered by time and then by age, so a run depends on nothing but its seed.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from map_reduce.core.chord.member import RingMember
from map_reduce.core.chord.state import Standing
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Message, Neighbours, Notify
from map_reduce.core.procedure import Ask
from map_reduce.errors import ClusterError, NotListening, Unreachable
from map_reduce.simulation.draws import Draws
from map_reduce.simulation.judge import Judge
from map_reduce.simulation.network import Network
from map_reduce.simulation.plan import SECOND_US, Settings
from map_reduce.simulation.process import Asker, Process
from map_reduce.simulation.settled import settle
from map_reduce.simulation.trace import Trace, in_words, state_in_words

REQUESTED, REPLIED, TIMED_OUT, REFUSED, ACTED = range(5)


class Meter(Protocol):
    """Counts what is sent, where somebody wants to know."""

    def request(self, sender: Member | None, message: Message) -> None: ...

    def reply(self, message: Message) -> None: ...


@dataclass(slots=True)
class _Pending:
    """A request under way."""

    asker: Asker
    peer: int
    resume: Callable[[Message | ClusterError], None]
    open: bool = True


class World:
    """Everything there is in one run."""

    def __init__(
        self,
        settings: Settings,
        addresses: list[Address],
        *,
        readable: bool = False,
        kind: type[RingMember] = RingMember,
        first_incarnation: int = 1,
    ) -> None:
        self.settings = settings
        self._timeout_us = settings.timeout_us
        self.kind = kind
        self.now_us = 0
        self.addresses = addresses
        self.network = Network(Draws(settings.seed, "network"))
        self.trace = Trace(readable)
        self.judge = Judge(self)
        self.meter: Meter | None = None
        self._number = {address: number for number, address in enumerate(addresses)}
        self._processes: list[Process | None] = [None] * len(addresses)
        self._incarnations = count(first_incarnation)
        self.watched = readable or settings.accurate
        """Whether somebody wants to see every step."""
        self._queue: list[tuple[int, int, Asker | None, Callable[[], None]]] = []
        self._timeouts: deque[tuple[int, int, _Pending]] = deque()  # the usual ones, in order
        self._age = count(1)
        self._views_in_flight: dict[int, tuple[Member, Neighbours]] = {}

    # -------------------------------------------------------------- time

    def now_s(self) -> float:
        return self.now_us / SECOND_US

    def at(self, delay_us: int, whose: Asker | None, action: Callable[[], None]) -> None:
        """Do it after the delay; if it is a process's, only while that is up, and not paused."""
        heapq.heappush(self._queue, (self.now_us + delay_us, next(self._age), whose, action))

    def run_until(self, end_us: int) -> None:
        queue = self._queue
        while queue and queue[0][0] <= end_us:
            at_us, _, whose, action = heapq.heappop(queue)
            self.now_us = at_us
            if whose is None:
                action()
            elif not whose.up:
                continue
            elif whose.paused_until_us > at_us:
                self.at(whose.paused_until_us - at_us, whose, action)
            else:
                action()
        self.now_us = end_us

    # -------------------------------------------------------------- processes

    def start(self, number: int) -> Process:
        """A new incarnation at a node's address."""
        process = Process(self, number, self.addresses[number], next(self._incarnations))
        self._processes[number] = process
        return process

    def settle(self, count: int) -> None:
        """Nodes 0 … count - 1 are an ideal ring from now on (``settled.py``)."""
        processes = [self.start(number) for number in range(count)]
        settle([process.ring for process in processes], self.settings.successors_max)
        self.judge.settled([process.ring for process in processes])
        for process in processes:
            process.go_on()

    def process(self, number: int) -> Process | None:
        """The node's process, where one is up."""
        process = self._processes[number]
        return process if process is not None and process.up else None

    def processes(self) -> Iterator[Process]:
        """Those that are up."""
        return (process for process in self._processes if process is not None and process.up)

    def is_up(self, member: Member) -> bool:
        """Whether this very incarnation is up and has not left."""
        process = self._processes[self._number[member.address]]
        return (
            process is not None
            and process.up
            and process.ring.me == member
            and process.ring.standing is not Standing.LEFT
        )

    def stopped_lately(self, member: Member) -> bool:
        """Whether its process stands still, or went on only just now."""
        process = self.process(self._number[member.address])
        return process is not None and process.paused_until_us > self.now_us - 3 * SECOND_US

    def views_in_flight(self) -> list[tuple[Member, Neighbours]]:
        """Answers to GetNeighbours that have not arrived yet, and at whom; with oracles only."""
        return list(self._views_in_flight.values())

    # -------------------------------------------------------------- messages

    def ask(
        self,
        asker: Asker,
        ask: Ask,
        resume: Callable[[Message | ClusterError], None],
        timeout_us: int | None = None,
    ) -> None:
        """Send a request; ``resume`` gets the reply or, in time, the failure."""
        number = self._number[ask.address]
        pending = _Pending(asker, number, resume)
        if self.meter is not None:
            self.meter.request(asker.sender, ask.message)
        if timeout_us is None:
            self._await(pending)
        else:
            self.at(timeout_us, asker, lambda: self._time_out(pending))
        message = ask.message
        for delay_us in self.network.fate(asker.number, number):
            self.at(delay_us, None, lambda: self._arrive(pending, message))

    def _await(self, pending: _Pending) -> None:
        """See to it that the request ends in time.

        Nearly all are answered long before. So of the usual timeouts, which all take equally long,
        only the first one stands in the queue of what happens; the others wait behind it, and are
        left out when their turn comes and their request has ended.
        """
        at_us, age = self.now_us + self._timeout_us, next(self._age)
        if not self._timeouts:
            heapq.heappush(self._queue, (at_us, age, None, self._first_timeout))
        self._timeouts.append((at_us, age, pending))

    def _first_timeout(self) -> None:
        timeouts = self._timeouts
        _, _, pending = timeouts.popleft()
        while timeouts and not timeouts[0][2].open:
            timeouts.popleft()
        if timeouts:
            at_us, age, _ = timeouts[0]
            heapq.heappush(self._queue, (at_us, age, None, self._first_timeout))
        asker = pending.asker
        if not (pending.open and asker.up):
            return
        if (wait_us := asker.paused_until_us - self.now_us) > 0:
            self.at(wait_us, asker, lambda: self._time_out(pending))
        else:
            self._time_out(pending)

    def _arrive(self, pending: _Pending, message: Message) -> None:
        process = self._processes[pending.peer]
        asker = pending.asker
        if process is None or not process.up:
            address = self.addresses[pending.peer]
            self._reply(pending, NotListening(f"{address} refuses connections"))
            return
        if process.paused_until_us > self.now_us:
            wait_us = process.paused_until_us - self.now_us
            self.at(wait_us, None, lambda: self._arrive(pending, message))
            return
        self.trace.note(self.now_us, REQUESTED, asker.number, pending.peer)
        if asker.sender is not None:
            process.ring.heard_from(asker.sender)
        reply = process.ring.handle(message, asker.sender)
        if reply is None:
            process.answer(message, lambda reply: self._reply(pending, reply))
            return
        if self.trace.lines is not None:
            told = f"{self._name(asker.number)} → {self._name(pending.peer)}  {in_words(message)}"
            self.trace.tell(self.now_us, f"{told};  {in_words(reply)}")
        if self.watched:
            process.stepped(message if isinstance(message, Notify) else None)
        if self.meter is not None:
            self.meter.reply(reply)
        self._reply(pending, reply)

    def _reply(self, pending: _Pending, reply: Message | ClusterError) -> None:
        oracles = self.settings.accurate  # only then does the judge look at what is on its way
        for delay_us in self.network.fate(pending.peer, pending.asker.number):
            token = 0
            if oracles and isinstance(reply, Neighbours) and pending.open and pending.asker.sender:
                token = next(self._age)
                self._views_in_flight[token] = pending.asker.sender, reply
            self.at(delay_us, None, lambda token=token: self._returned(pending, reply, token))  # type: ignore[misc]

    def _returned(self, pending: _Pending, reply: Message | ClusterError, token: int) -> None:
        """``token``: under which a list is on its way; 0 for other replies."""
        asker = pending.asker
        if asker.paused_until_us > self.now_us and asker.up:
            wait_us = asker.paused_until_us - self.now_us
            self.at(wait_us, None, lambda: self._returned(pending, reply, token))
            return
        if token:
            del self._views_in_flight[token]
        if pending.open and asker.up:
            pending.open = False
            self.trace.note(self.now_us, REPLIED, asker.number, pending.peer)
            self._resume(pending, reply)

    def _time_out(self, pending: _Pending) -> None:
        if pending.open:
            pending.open = False
            self.trace.note(self.now_us, TIMED_OUT, pending.asker.number, pending.peer)
            address = self.addresses[pending.peer]
            self._resume(pending, Unreachable(f"{address} gave no answer in time"))

    def _resume(self, pending: _Pending, reply: Message | ClusterError) -> None:
        if self.trace.lines is not None and isinstance(reply, ClusterError):
            who = f"{self._name(pending.asker.number)} → {self._name(pending.peer)}"
            self.trace.tell(self.now_us, f"{who}  no answer")
        pending.resume(reply)

    def stepped(self, process: Process, message: Message | None) -> None:
        """A step of the process has ended, to which the message had come."""
        if self.trace.lines is not None:
            words = state_in_words(process.ring)
            if words != process.told:
                process.told = words
                self.trace.tell(self.now_us, f"    {words}")
        self.judge.stepped(process, message)

    def _name(self, number: int) -> str:
        return self.addresses[number].host if number >= 0 else "client"
