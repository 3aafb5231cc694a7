"""What can happen next in a small ring, by the production procedures.

The state of a ring has a whole number for each member: which of the values of ``small_member.py``
it is, whether an answer is on its way to it, or that it is dead or was never in the ring. Few
values make up very many rings, so what the production code does with a value is computed once and
looked up from then on.

From each state every step that could be next is taken:

- a member that is at rest begins to stabilize, up to the first answer;
- a stabilize under way gets its next answer and goes on to the following question;
- somebody who never was in the ring joins (all of a join is one step: its last question decides);
- somebody crashes, where the published proof grants it (see ``judge.py``);
- with ``by_asking``: somebody pings its dead predecessor and learns of its death; otherwise all
  deaths are known at once;
- with ``wrong_drops``: somebody takes its live successor for dead, once, and drops it, or takes
  its live predecessor for dead when it is notified.

A question, its answer and what follows are one step, as in the published model; with
``late_replies`` the answer is one step and its arrival another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from map_reduce.core.chord.invariants import (
    MemberState,
    Ring,
    broken,
    is_ideal,
    principals,
    ring_of,
)
from map_reduce.core.chord.member import RingMember
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Done, Message, Neighbours, Notify
from map_reduce.core.procedure import Ask, perform
from map_reduce.errors import ClusterError, Unreachable
from map_reduce.simulation.judge import lives_on
from map_reduce.simulation.small_member import Event, Local, Reruns, at_rest

Small = tuple[int, ...]
"""A state of a small ring: for each member OUTSIDE, DEAD, or the number of its ``_Live``."""

OUTSIDE, DEAD = -1, -2

HEALING_ROUNDS_MAX = 48


class Step(IntEnum):
    """What a member does in one step."""

    BEGINS = 0
    DROPS_WRONGLY = 1
    GOES_ON = 2
    GOES_ON_DOUBTED = 3
    CRASHES = 4
    JOINS = 5
    PINGS = 6


TOLD = {
    Step.BEGINS: "begins to stabilize",
    Step.DROPS_WRONGLY: "wrongly drops",
    Step.GOES_ON: "goes on",
    Step.GOES_ON_DOUBTED: "goes on, and the notified wrongly doubts its predecessor",
    Step.CRASHES: "crashes",
    Step.JOINS: "joins",
    Step.PINGS: "pings its dead predecessor",
}

Label = tuple[Step, int]
"""What is done, and by which member."""

T = TypeVar("T")


class _Catalogue(Generic[T]):
    """Numbers for values, the same for equal keys."""

    def __init__(self) -> None:
        self.values: list[T] = []
        self._numbers: dict[Hashable, int] = {}

    def number(self, key: Hashable, value: T) -> int:
        found = self._numbers.setdefault(key, len(self.values))
        if found == len(self.values):
            self.values.append(value)
        return found


@dataclass(frozen=True)
class _Live:
    """A member, and the answer on its way to it (-1: none; else a number of a message)."""

    local: int
    place: int  # a number of its present place
    view: int  # a number of its present view
    knows: int  # a number of those that it knows to be dead
    asks: int  # the member that it asks, -1 where it rests
    notifies: bool
    has_choice: bool  # whether its list has a second entry
    reply: int = -1


@dataclass(frozen=True)
class _Unanswered:
    """In the place of a reply: the one that was asked is dead, or has no answer."""


class SmallRing:
    """The rules of a small ring at given places.

    Args:
        places: the addresses, clockwise. The first begins the ring and the others may join; or,
            where ``settled``, all are in it from the start, ideally.
    """

    def __init__(
        self,
        places: tuple[Address, ...],
        successors_max: int,
        *,
        crashes: bool = True,
        wrong_drops: bool = False,
        late_replies: bool = False,
        settled: bool = False,
        by_asking: bool = False,
        kind: type[RingMember] = RingMember,
    ) -> None:
        if by_asking and wrong_drops:
            raise ValueError("who is never wrong drops nobody wrongly")
        self._members = tuple(Member(address, 1) for address in places)
        self._index = {member.address: i for i, member in enumerate(self._members)}
        self._successors_max = successors_max
        self._crashes = crashes
        self._wrong_drops = wrong_drops
        self._late_replies = late_replies
        self._settled = settled
        self._by_asking = by_asking
        self._reruns = Reruns(kind, successors_max, by_asking=by_asking)
        self._locals: _Catalogue[Local] = _Catalogue()
        self._places: _Catalogue[MemberState] = _Catalogue()
        self._views: _Catalogue[tuple[Member, ...]] = _Catalogue()
        self._known: _Catalogue[frozenset[Member]] = _Catalogue()
        self._messages: _Catalogue[Message | _Unanswered] = _Catalogue()
        self._lives: _Catalogue[_Live] = _Catalogue()
        self._begun: dict[tuple[int, int, bool], int] = {}
        self._replied: dict[tuple[int, int, int], int] = {}
        self._answered: dict[tuple[int, int, int, int, bool], tuple[int, int]] = {}
        self._after_told: dict[tuple[int, Event], int] = {}
        self._joined: dict[tuple[Small, int], int] = {}
        self._spares: dict[tuple[Small, int], bool] = {}
        self._wrong: dict[Small, list[str]] = {}
        self._ideal: dict[Small, bool] = {}

    # -------------------------------------------------------------- states

    def start(self) -> Small:
        """One member alone, or, where settled, all in the ideal ring."""
        members = self._members if self._settled else self._members[:1]
        state = [OUTSIDE] * len(self._members)
        for i, member in enumerate(members):
            others = members[i + 1 :] + members[:i]
            successors = others[: self._successors_max] or (member,)
            predecessor = others[-1] if others else member
            now = MemberState(member, predecessor, successors)
            state[i] = self._enrol(Local(predecessor, successors, others, now))
        return tuple(state)

    def in_words(self, label: Label) -> str:
        step, i = label
        return f"{self._members[i].address.host} {TOLD[step]}"

    def ring(self, state: Small) -> Ring:
        """The places of the live members."""
        return ring_of([self._places.values[p] for p in self._shape(state) if p >= 0])

    def wrong_in(self, state: Small) -> list[str]:
        """Which invariants are broken. After a wrong drop none is promised, but healing."""
        if self._wrong_drops:
            return []
        shape = self._shape(state)
        if (known := self._wrong.get(shape)) is None:
            ring = self.ring(state)
            lost = [] if principals(ring) else ["R5: no principal is left"]
            known = self._wrong[shape] = broken(ring) + lost
        return known

    def heals(self, state: Small, known: set[Small]) -> bool:
        """Whether rounds without faults make the ring ideal. ``known`` states do, and grow."""
        passed: list[Small] = []
        for _ in range(HEALING_ROUNDS_MAX):
            if state in known or self._is_ideal(state):
                known.update(passed, [state])
                return True
            passed.append(state)
            for i in range(len(state)):
                if state[i] >= 0:
                    state = self._finished(state, i)
                    if self._learns_by_ping(state, i):
                        state = self._ping(state, i)
                    state = self._finished(self._begin(state, i), i)
        return False

    def _is_ideal(self, state: Small) -> bool:
        shape = self._shape(state)
        if (known := self._ideal.get(shape)) is None:
            known = self._ideal[shape] = is_ideal(self.ring(state), self._successors_max)
        return known

    def _shape(self, state: Small) -> Small:
        """The number of each member's place."""
        lives = self._lives.values
        return tuple([lives[n].place if n >= 0 else n for n in state])

    # -------------------------------------------------------------- steps

    def steps(self, state: Small) -> Iterator[tuple[Label, Small]]:
        """What can be next, and the state after it."""
        for i, number in enumerate(state):
            if number == OUTSIDE:
                if (joined := self._join(state, i)) != OUTSIDE:
                    yield (Step.JOINS, i), _with(state, i, joined)
                continue
            if number == DEAD:
                continue
            live = self._lives.values[number]
            if live.asks < 0:
                yield (Step.BEGINS, i), self._begin(state, i)
                if self._wrong_drops and live.has_choice:
                    yield (Step.DROPS_WRONGLY, i), self._begin(state, i, wrongly=True)
            else:
                yield (Step.GOES_ON, i), self._go_on(state, i)
                if self._wrong_drops and live.notifies:
                    yield (Step.GOES_ON_DOUBTED, i), self._go_on(state, i, doubted=True)
            if self._learns_by_ping(state, i):
                yield (Step.PINGS, i), self._ping(state, i)
            if self._crashes and self._may_crash(state, i):
                yield (Step.CRASHES, i), _with(state, i, DEAD)

    def _learns_by_ping(self, state: Small, i: int) -> bool:
        if not self._by_asking:
            return False
        local = self._local(state[i])
        before = local.now.predecessor
        if before is None or before in local.knows:
            return False
        return state[self._index[before.address]] == DEAD

    def _ping(self, state: Small, i: int) -> Small:
        after = self._told(state[i], Event("ping", None, self._dead(state)))
        return _with(state, i, after)

    def _may_crash(self, state: Small, victim: int) -> bool:
        lives = self._lives.values
        shape = tuple([(lives[n].place, lives[n].reply) if n >= 0 else (n, n) for n in state])
        flat = tuple([part for pair in shape for part in pair])
        if (known := self._spares.get((flat, victim))) is None:
            known = self._spares[flat, victim] = self._spares_all(_with(state, victim, DEAD))
        return known

    def _spares_all(self, rest: Small) -> bool:
        ring = self.ring(rest)
        if not ring or not principals(ring):
            return False
        lists = [(place.member, place.successors) for place in ring.values()]
        for i, number in enumerate(rest):
            reply = self._lives.values[number].reply if number >= 0 else -1
            view = self._messages.values[reply] if reply >= 0 else None
            if isinstance(view, Neighbours):
                chain = (view.member, *view.successors)[: self._successors_max]
                lists.append((self._members[i], chain))
        return all(lives_on(owner, chain, ring) for owner, chain in lists)

    def _begin(self, state: Small, i: int, wrongly: bool = False) -> Small:
        key = (state[i], _dead_bits(state), wrongly)
        if (after := self._begun.get(key)) is None:
            local = self._local(state[i])
            doubted = {local.successors[0]} if wrongly else set()
            event = Event("begin", None, self._dead(state), frozenset(doubted))
            after = self._begun[key] = self._enrol(self._reruns.after(local, event))
        state = _with(state, i, after)
        return state if wrongly else self._go_on(state, i)

    def _go_on(self, state: Small, i: int, doubted: bool = False) -> Small:
        """Ask the question under way, and take the answer to the next question."""
        live = self._lives.values[state[i]]
        if live.asks < 0:
            return state
        reply = live.reply
        if reply < 0:
            asked = live.asks
            peer, reply = self._answer(state, i, asked, doubted)
            state = _with(state, asked, peer)
            if self._late_replies and self._messages.values[reply] != _Unanswered():
                return _with(state, i, self._awaiting(state[i], reply))
        key = (state[i], reply, _dead_bits(state))
        if (after := self._replied.get(key)) is None:
            message = self._messages.values[reply]
            told = None if isinstance(message, _Unanswered) else message
            event = Event("reply", told, self._dead(state))
            after = self._enrol(self._reruns.after(self._local(state[i]), event))
            self._replied[key] = after
        return _with(state, i, after)

    def _finished(self, state: Small, i: int) -> Small:
        """Go on until the member is at rest."""
        while state[i] >= 0 and self._lives.values[state[i]].asks >= 0:
            state = self._go_on(state, i)
        return state

    def _answer(self, state: Small, asker: int, peer: int, doubted: bool) -> tuple[int, int]:
        """The peer after it answered, and the number of its answer."""
        key = (state[asker], peer, state[peer], _dead_bits(state), doubted)
        if (known := self._answered.get(key)) is None:
            ask = self._local(state[asker]).ask
            assert ask is not None
            known = self._answered[key] = self._answer_to(state, ask, doubted)
        return known

    def _answer_to(self, state: Small, ask: Ask, doubted: bool = False) -> tuple[int, int]:
        peer = self._index[ask.address]
        dead = self._dead(state)
        number = state[peer]
        if number == DEAD:
            return number, self._messages.number(None, _Unanswered())
        if number == OUTSIDE:
            reply = self._reruns.new(self._members[peer], dead).handle(ask.message)
        elif isinstance(ask.message, Notify):
            local = self._local(number)
            doubts = {local.now.predecessor} if doubted and local.now.predecessor else set()
            event = Event("handle", ask.message, dead, frozenset(doubts - {self._members[peer]}))
            number, reply = self._told(number, event), Done()
        else:
            reply = self._reruns.answer(self._local(number), ask.message, dead)
        if reply is None:
            return number, self._messages.number(None, _Unanswered())
        return number, self._messages.number(reply, reply)

    def _told(self, number: int, event: Event) -> int:
        """A member after something that is no answer. What was on its way to it still is."""
        key = (number, event)
        if (known := self._after_told.get(key)) is None:
            after = self._enrol(self._reruns.after(self._local(number), event))
            reply = self._lives.values[number].reply
            known = after if reply < 0 else self._awaiting(after, reply)
            self._after_told[key] = known
        return known

    def _join(self, state: Small, joiner: int) -> int:
        """The joiner's number once it has joined; OUTSIDE where it could not."""
        lives = self._lives.values
        seen = [
            (lives[n].place, lives[n].view, lives[n].knows, lives[n].asks >= 0)
            if n >= 0
            else (n, n, n, False)
            for n in state
        ]
        key = (tuple([int(part) for one in seen for part in one]), joiner)
        if (known := self._joined.get(key)) is None:
            known = self._joined[key] = self._perform_join(state, joiner)
        return known

    def _perform_join(self, state: Small, joiner: int) -> int:
        def ask(question: Ask) -> Message:
            after, reply = self._answer_to(state, question)
            assert after == state[self._index[question.address]], "a join changes nobody else"
            message = self._messages.values[reply]
            if isinstance(message, _Unanswered):
                raise Unreachable(f"{question.address} does not answer")
            return message

        member = self._reruns.new(self._members[joiner], self._dead(state))
        seeds = [m.address for m, n in zip(self._members, state, strict=True) if n >= 0][:1]
        try:
            perform(member.join(seeds), ask)
        except ClusterError:
            return OUTSIDE
        return self._enrol(at_rest(member))

    # -------------------------------------------------------------- numbers

    def _enrol(self, local: Local) -> int:
        number = self._locals.number(local.key(), local)
        local = self._locals.values[number]
        view = local.view if not local.log else local.frames[0]
        live = _Live(
            number,
            self._places.number(local.now, local.now),
            self._views.number(view, view),
            self._known.number(local.knows, local.knows),
            self._index[local.ask.address] if local.ask is not None else -1,
            local.ask is not None and isinstance(local.ask.message, Notify),
            len(local.now.successors) > 1,
        )
        return self._lives.number(live, live)

    def _awaiting(self, number: int, reply: int) -> int:
        live = self._lives.values[number]
        late = dataclasses.replace(live, reply=reply)
        return self._lives.number(late, late)

    def _local(self, number: int) -> Local:
        return self._locals.values[self._lives.values[number].local]

    def _dead(self, state: Small) -> frozenset[Member]:
        return frozenset(m for m, n in zip(self._members, state, strict=True) if n == DEAD)


def _with(state: Small, i: int, number: int) -> Small:
    return (*state[:i], number, *state[i + 1 :])


def _dead_bits(state: Small) -> int:
    bits = 0
    for i, number in enumerate(state):
        if number == DEAD:
            bits |= 1 << i
    return bits
