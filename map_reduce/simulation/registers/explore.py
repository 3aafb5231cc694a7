"""Every order in which a few proposers and replicas can act, to a stated depth.

The random search of ``run.py`` goes far and sees little of each place; this one goes a few steps
and sees everything. The proposers and acceptors are those of ``core/registers``, unchanged. What
can happen next, in any state:

- a request that was sent reaches its replica, which answers, and the answer arrives: one step, for
  whether an answer was lost shows in the asker's going on without it;
- a proposer goes on with the replies that it has, which may be none: its time is over. What it has
  not got an answer to is lost, or is delivered later, if it is a write and ``late`` allows for it.

A proposer that is never chosen again has crashed. Two states are the same where all replicas hold
the same, all proposers have been sent the same, and the same was accepted by the same: then
the same can come of them. After each step it is checked that at one ballot there is one state, and
that of any two committed states the later builds on the earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Message
from map_reduce.core.messages.records import (
    AcceptRecord,
    Ballot,
    Config,
    RecordAccepted,
    RecordState,
    Replica,
)
from map_reduce.core.registers.acceptor import Acceptor, Held, Reply
from map_reduce.core.registers.birth import Birth, Record
from map_reduce.core.registers.procedure import AskAll, RecordProcedure, Replies
from map_reduce.core.registers.proposer import Known, Proposer
from map_reduce.core.registers.quorums import is_quorum
from map_reduce.errors import ClusterError
from map_reduce.simulation.registers.judge import builds_on

Call = Callable[[Proposer, Record], RecordProcedure[Any]]


def write(value: bytes) -> Call:
    return lambda proposer, record: proposer.compare_and_set(record, lambda old: value)


def change_members(*numbers: int) -> Call:
    return lambda proposer, record: proposer.reconfigure(record, _replicas(numbers))


def knowing(epoch: int, numbers: tuple[int, ...], call: Call) -> Call:
    """By one that has heard of this epoch, and asks these first, rightly or wrongly."""

    def asked(proposer: Proposer, record: Record) -> RecordProcedure[Any]:
        proposer._remember(record, Known(epoch, _replicas(numbers)))
        return call(proposer, record)

    return asked


@dataclass(frozen=True)
class Scenario:
    """Replicas n1, n2, …, of which the ``born`` decide at first, and what each proposer calls.

    One call after the other, whatever comes of it, each with one ballot: who is outbid knows more
    at its next call. ``late``: writes that may arrive late.
    """

    replicas: int
    born: tuple[int, ...]
    calls: tuple[tuple[Call, ...], ...]
    late: int = 0


SCENARIOS = {
    "two-writers": Scenario(3, (1, 2, 3), ((write(b"a"),), (write(b"b"), write(b"c")))),
    "late-writes": Scenario(3, (1, 2, 3), ((write(b"a"),), (write(b"b"),)), late=1),
    "one-of-three-replaced": Scenario(3, (1, 2), ((change_members(2, 3),), (write(b"b"),))),
    "the-only-one-replaced": Scenario(
        2, (1,), ((change_members(2), knowing(2, (2,), write(b"a"))), (write(b"b"), write(b"c")))
    ),
    "the-only-one-replaced-in-two-goes": Scenario(
        2,
        (1,),
        (
            (
                change_members(2),
                knowing(1, (2,), change_members(2)),
                knowing(2, (2,), write(b"a")),
            ),
            (write(b"b"), write(b"c")),
        ),
    ),
}
"""By the names that the command line takes."""


class Paused(NamedTuple):
    """What a proposer waits for: requests by place; None where all its calls have ended."""

    requests: dict[int, Message] | None


Votes = frozenset[tuple[Ballot, int, RecordState]]
"""At which ballot which replica, by place, has accepted what."""


class State(NamedTuple):
    held: tuple[Held, ...]
    histories: tuple[int, ...]  # of each proposer: what it was sent until now
    replies: tuple[tuple[tuple[int, Message], ...], ...]  # to what it asks now, by place
    late: frozenset[tuple[int, AcceptRecord]]
    votes: Votes


@dataclass
class Explored:
    """How many states each number of steps led to that fewer did not, and what was wrong."""

    new: list[int] = field(default_factory=list)
    violation: str | None = None
    whole: bool = False  # nothing more can happen

    @property
    def states(self) -> int:
        return sum(self.new)


class Explorer:
    """Args: kind: the proposers', to try a protocol with a rule taken out."""

    def __init__(self, scenario: Scenario, kind: type[Proposer] = Proposer) -> None:
        self._scenario = scenario
        self._kind = kind
        self._replicas = _replicas(range(1, scenario.replicas + 1))
        self._places = {replica: place for place, replica in enumerate(self._replicas)}
        self.record = Birth(b"explored", b"", _replicas(scenario.born)).record()
        self._histories: list[tuple[int, Replies] | None] = [None]
        self._numbers: dict[Hashable, int] = {}
        self._paused: dict[tuple[int, int], Paused] = {}
        self._judged: dict[Votes, str | None] = {}

    def explore(self, depth_max: int, states_max: int = 10_000_000) -> Explored:
        """Everything that can happen within so many steps; ends at the first violation."""
        count = len(self._scenario.calls)
        held = tuple(Held(self.record.name) for _ in self._replicas)
        first = State(held, (0,) * count, ((),) * count, frozenset(), frozenset())
        seen, frontier = {first}, [first]
        explored = Explored([1])
        for _ in range(depth_max):
            following = []
            for state in frontier:
                for new in self._successors(state):
                    if new not in seen:
                        seen.add(new)
                        following.append(new)
                        explored.violation = self._judge(new.votes)
                        if explored.violation is not None:
                            explored.new.append(len(following))
                            return explored
                if len(seen) > states_max:
                    return explored
            explored.new.append(len(following))
            frontier = following
        explored.whole = not frontier
        return explored

    # -------------------------------------------------------------- what can happen

    def _successors(self, state: State) -> Iterator[State]:
        for number, history in enumerate(state.histories):
            requests = self._wait(number, history).requests
            if requests is None:
                continue
            replies = state.replies[number]
            answered = {place for place, _ in replies}
            for place, request in requests.items():
                if place not in answered:
                    new, reply = self._deliver(state, place, request)
                    got = tuple(sorted([*replies, (place, reply)], key=lambda one: one[0]))
                    yield new._replace(replies=_with(new.replies, number, got))
            yield self._go_on(state, number, requests)
        for place, request in state.late:
            new, _ = self._deliver(state, place, request)
            yield new._replace(late=state.late - {(place, request)})

    def _deliver(self, state: State, place: int, request: Message) -> tuple[State, Message]:
        acceptor = Acceptor(self._replicas[place], [state.held[place]])
        *_, reply = acceptor.handle(request) or ()
        assert isinstance(reply, Reply)
        votes = state.votes
        if isinstance(request, AcceptRecord) and isinstance(reply.message, RecordAccepted):
            votes |= {(request.ballot, place, request.state)}
        held = _with(state.held, place, acceptor.held(self.record.name))
        return state._replace(held=held, votes=votes), reply.message

    def _go_on(self, state: State, number: int, requests: dict[int, Message]) -> State:
        replies = state.replies[number]
        history = self._number_of(state.histories[number], replies)
        late = state.late
        for place, request in requests.items():
            missed = all(place != answered for answered, _ in replies)
            if missed and isinstance(request, AcceptRecord) and len(late) < self._scenario.late:
                late |= {(place, request)}
        return state._replace(
            histories=_with(state.histories, number, history),
            replies=_with(state.replies, number, ()),
            late=late,
        )

    # -------------------------------------------------------------- proposers

    def _number_of(self, before: int, replies: tuple[tuple[int, Message], ...]) -> int:
        key = before, replies
        if key not in self._numbers:
            self._numbers[key] = len(self._histories)
            by_replica = {self._replicas[place]: reply for place, reply in replies}
            self._histories.append((before, by_replica))
        return self._numbers[key]

    def _wait(self, number: int, history: int) -> Paused:
        """What a proposer asks after what it was sent; found by doing it all again, once."""
        key = number, history
        if key not in self._paused:
            sent: list[Replies] = []
            while (step := self._histories[history]) is not None:
                history, replies = step
                sent.append(replies)
            self._paused[key] = self._replay(number, sent[::-1])
        return self._paused[key]

    def _replay(self, number: int, sent: list[Replies]) -> Paused:
        me = Member(Address(f"p{number}", 1), 1)
        proposer = self._kind(me, attempts_max=1)
        calls = self._all_calls(proposer, self._scenario.calls[number])
        try:
            wanted = _next_ask(calls, None)
            for replies in sent:
                wanted = _next_ask(calls, dict(replies))
        except StopIteration:
            return Paused(None)
        return Paused({self._places[r]: message for r, message in wanted.messages.items()})

    def _all_calls(self, proposer: Proposer, calls: tuple[Call, ...]) -> RecordProcedure[None]:
        for call in calls:
            try:
                yield from call(proposer, self.record)
            except ClusterError:
                continue  # whatever comes of it

    # -------------------------------------------------------------- what must hold

    def _judge(self, votes: Votes) -> str | None:
        if votes not in self._judged:
            self._judged[votes] = self._problem(votes)
        return self._judged[votes]

    def _problem(self, votes: Votes) -> str | None:
        states: dict[Ballot, RecordState] = {}
        for ballot, _, state in votes:
            if states.setdefault(ballot, state) != state:
                return f"at {ballot}, both {states[ballot]} and {state} were accepted"
        before: RecordState | None = None
        for ballot, state in sorted(states.items(), key=lambda one: one[0]):
            voters = [self._replicas[place] for voted, place, _ in votes if voted == ballot]
            if not is_quorum(voters, state.configs):
                continue
            if before is not None and not builds_on(state, before):
                return f"{state} was committed after {before} and does not build on it"
            before = state
        return None


def _next_ask(calls: RecordProcedure[None], replies: Replies | None) -> AskAll:
    wanted = next(calls) if replies is None else calls.send(replies)
    while not isinstance(wanted, AskAll):
        wanted = calls.send({})
    return wanted


def _replicas(numbers: Any) -> Config:
    return tuple(Replica(Address(f"n{number}", 1), number) for number in numbers)


def _with(values: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    return (*values[:place], value, *values[place + 1 :])
