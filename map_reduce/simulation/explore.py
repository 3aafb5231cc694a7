"""Every interleaving of a small ring, by the production procedures.

The state of the exploration is the state of each member, and how far its stabilize has come. From
each state every step that could be next is taken:

- a member that is at rest begins to stabilize, up to the first answer;
- a stabilize under way gets its next answer and goes on to the following question;
- somebody who never was in the ring joins (all of a join is one step: its last question decides);
- somebody crashes, where the published proof grants it (see ``judge.py``);
- with ``wrong_drops``: somebody takes its live successor for dead, once, and drops it, or takes
  its live predecessor for dead when it is notified.

A question, its answer and what follows are one step, as in the published model; with
``late_replies`` the answer is one step and its arrival another.

A generator cannot be copied. So a stabilize under way is kept as the state that it began in and
what has happened to the member since, and is run again from there whenever it is needed. States
are the same if the members' places and views and all live variables of the generators are.

Checked in every state: R1 to R4 and that a principal remains (accurate verdicts), and, on demand,
that rounds of stabilize without further faults make the ring ideal.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from map_reduce.core.chord.invariants import MemberState, broken, is_ideal, principals, ring_of
from map_reduce.core.chord.member import RingMember
from map_reduce.core.chord.state import Standing
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Done, Message, Neighbours, Notify
from map_reduce.core.procedure import Ask, perform
from map_reduce.errors import ClusterError, Unreachable
from map_reduce.simulation.judge import lives_on
from map_reduce.simulation.process import Oracle

HEALING_ROUNDS_MAX = 48


@dataclass(frozen=True)
class Event:
    """Something that happened to a member while it stabilized, and who was dead then."""

    kind: str  # begin, reply, handle
    message: Message | None
    dead: frozenset[Member]


@dataclass(frozen=True)
class Local:
    """One live member: its place when its stabilize began (or now), and what happened since."""

    predecessor: Member
    successors: tuple[Member, ...]
    view: tuple[Member, ...]
    log: tuple[Event, ...] = ()
    ask: Ask | None = None  # the question under way
    reply: Message | None = None  # its answer, where that arrives later
    frames: tuple[Any, ...] = ()  # the live variables of the generator
    now: MemberState | None = None  # the place now


@dataclass(frozen=True)
class Small:
    """The state of a small ring. Who is in neither mapping never was in the ring."""

    live: tuple[tuple[Member, Local], ...]
    dead: frozenset[Member] = frozenset()

    def get(self, member: Member) -> Local | None:
        return dict(self.live).get(member)

    def having(self, member: Member, local: Local) -> Small:
        live = dict(self.live) | {member: local}
        return dataclasses.replace(self, live=tuple(sorted(live.items(), key=lambda m: m[0])))

    def without(self, member: Member) -> Small:
        live = tuple((m, local) for m, local in self.live if m != member)
        return Small(live, self.dead | {member})

    def key(self) -> bytes:
        """Equal for states that are the same; 16 bytes, so that millions fit in memory."""
        parts = [
            (m, local.now, local.view if not local.log else None, local.reply, local.frames)
            for m, local in self.live
        ]
        told = repr((sorted(self.dead), parts))
        return hashlib.blake2b(told.encode(), digest_size=16).digest()

    def ring(self) -> dict[Member, MemberState]:
        return dict(ring_of([local.now for _, local in self.live if local.now is not None]))


@dataclass
class Findings:
    """What an exploration saw."""

    states: int = 0
    steps: int = 0
    exhausted: bool = False
    wrong: list[str] = dataclasses.field(default_factory=list)


class Explorer:
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
        kind: type[RingMember] = RingMember,
    ) -> None:
        self._members = tuple(Member(address, 1) for address in places)
        self._successors_max = successors_max
        self._crashes = crashes
        self._wrong_drops = wrong_drops
        self._late_replies = late_replies
        self._settled = settled
        self._kind = kind
        self._dead: frozenset[Member] = frozenset()

    # -------------------------------------------------------------- exploring

    def explore(self, states_max: int, *, healing: bool = False) -> Findings:
        """Breadth first, until all is seen, something is wrong, or ``states_max`` are seen."""
        findings = Findings()
        start = self.start()
        frontier = deque([start])
        parents: dict[bytes, tuple[bytes, str]] = {start.key(): (b"", "create")}
        heals: set[bytes] = set()
        while frontier and len(parents) < states_max:
            state = frontier.popleft()
            wrong = self.wrong_in(state)
            if healing and not wrong and not self.heals(state, heals):
                wrong = [f"does not heal in {HEALING_ROUNDS_MAX} rounds"]
            if wrong:
                findings.wrong = [*wrong, *_story(parents, state.key())]
                break
            for label, following in self.steps(state):
                findings.steps += 1
                key = following.key()
                if key not in parents:
                    parents[key] = (state.key(), label)
                    frontier.append(following)
        findings.states = len(parents)
        findings.exhausted = not frontier and not findings.wrong
        return findings

    def wrong_in(self, state: Small) -> list[str]:
        """Which invariants are broken. After a wrong drop none is promised, but healing."""
        if self._wrong_drops:
            return []
        ring = state.ring()
        return broken(ring) + ([] if principals(ring) else ["R5: no principal is left"])

    def heals(self, state: Small, known: set[bytes]) -> bool:
        """Whether rounds without faults make the ring ideal. ``known`` states do, and grow."""
        passed: list[bytes] = []
        for _ in range(HEALING_ROUNDS_MAX):
            if state.key() in known or is_ideal(state.ring(), self._successors_max):
                known.update(passed, [state.key()])
                return True
            passed.append(state.key())
            for member, _ in state.live:
                state = self._finished(state, member)
                state = self._finished(self._begin(state, member), member)
        return False

    def start(self) -> Small:
        members = self._members if self._settled else self._members[:1]
        live = []
        for i, member in enumerate(members):
            others = members[i + 1 :] + members[:i]
            successors = others[: self._successors_max] or (member,)
            predecessor = others[-1] if others else member
            now = MemberState(member, predecessor, successors)
            live.append((member, Local(predecessor, successors, others, now=now)))
        return Small(tuple(sorted(live, key=lambda pair: pair[0])))

    def steps(self, state: Small) -> Iterator[tuple[str, Small]]:
        """What can be next, in words, and the state after it."""
        for member, local in state.live:
            name = member.address.host
            if local.ask is None:
                yield f"{name} begins to stabilize", self._begin(state, member)
                if self._wrong_drops and len(local.successors) > 1:
                    yield f"{name} wrongly drops", self._begin(state, member, wrongly=True)
            else:
                yield f"{name} goes on", self._go_on(state, member)
                if self._wrong_drops and isinstance(local.ask.message, Notify):
                    told = f"{name} goes on, and the notified wrongly doubts its predecessor"
                    yield told, self._go_on(state, member, doubted=True)
            if self._crashes and self._may_crash(state, member):
                yield f"{name} crashes", state.without(member)
        known = {member for member, _ in state.live} | state.dead
        for member in self._members:
            if member not in known and (joined := self._join(state, member)) is not None:
                yield f"{member.address.host} joins", joined

    def _may_crash(self, state: Small, victim: Member) -> bool:
        rest = state.without(victim).ring()
        if not rest or not principals(rest):
            return False
        lists = [(place.member, place.successors) for place in rest.values()]
        for member, local in state.live:
            if isinstance(local.reply, Neighbours):
                lists.append((member, (local.reply.member, *local.reply.successors)))
        return all(lives_on(owner, chain, rest) for owner, chain in lists if owner in rest)

    # -------------------------------------------------------------- steps

    def _begin(self, state: Small, member: Member, wrongly: bool = False) -> Small:
        local = state.get(member)
        assert local is not None
        dead = state.dead | ({local.successors[0]} if wrongly else set())
        event = Event("begin", None, frozenset(dead))
        state = state.having(member, self._after(member, local, event))
        return state if wrongly else self._go_on(state, member)

    def _go_on(self, state: Small, member: Member, doubted: bool = False) -> Small:
        """Ask the question under way, and take the answer to the next question."""
        local = state.get(member)
        if local is None or local.ask is None:
            return state
        reply = local.reply
        if reply is None:
            state, reply = self._answer(state, local.ask, doubted)
            local = state.get(member)
            assert local is not None
            if self._late_replies and reply is not None:
                return state.having(member, dataclasses.replace(local, reply=reply))
        event = Event("reply", reply, state.dead)
        return state.having(member, self._after(member, local, event))

    def _finished(self, state: Small, member: Member) -> Small:
        """Go on until the member is at rest."""
        while (local := state.get(member)) is not None and local.ask is not None:
            state = self._go_on(state, member)
        return state

    def _join(self, state: Small, member: Member) -> Small | None:
        ring = [state]

        def ask(question: Ask) -> Message:
            ring[0], reply = self._answer(ring[0], question)
            if reply is None:
                raise Unreachable(f"{question.address} does not answer")
            return reply

        joiner = self._new(member, state.dead)
        seeds = [m.address for m, _ in state.live][:1]
        try:
            perform(joiner.join(seeds), ask)
        except ClusterError:
            return None
        return ring[0].having(member, _at_rest(joiner))

    def _answer(
        self, state: Small, ask: Ask, doubted: bool = False
    ) -> tuple[Small, Message | None]:
        """What the peer answers, None if it is dead, and the state after that."""
        peer = next(m for m in self._members if m.address == ask.address)
        local = state.get(peer)
        if local is None:
            if peer in state.dead:
                return state, None
            return state, self._new(peer, state.dead).handle(ask.message)
        member, _ = self._rebuilt(peer, local, state.dead)
        if isinstance(ask.message, Notify):
            doubts = {member.predecessor} if doubted and member.predecessor else set()
            event = Event("handle", ask.message, state.dead | (doubts - {peer}))
            return state.having(peer, self._after(peer, local, event)), Done()
        return state, member.handle(ask.message)

    # -------------------------------------------------------------- members, run again

    def _new(self, me: Member, dead: frozenset[Member]) -> RingMember:
        self._dead = dead
        return self._kind(
            me,
            now_s=lambda: 0.0,
            successors_max=self._successors_max,
            detector=Oracle(lambda member: member not in self._dead),
        )

    def _rebuilt(
        self, me: Member, local: Local, dead: frozenset[Member]
    ) -> tuple[RingMember, Generator[Ask, Message, None] | None]:
        """The member as it is now, and its stabilize where one is under way."""
        member = self._new(me, dead)
        member.standing = Standing.MEMBER
        member.predecessor = local.predecessor
        member.successors = local.successors
        member.acquaintances.learn(local.view)
        stabilize: Generator[Ask, Message, None] | None = None
        for event in local.log:
            self._dead = event.dead
            stabilize = _happen(member, stabilize, event)[0]
        self._dead = dead
        return member, stabilize

    def _after(self, me: Member, local: Local, event: Event) -> Local:
        """The member after one more event."""
        member, stabilize = self._rebuilt(me, local, event.dead)
        stabilize, ask = _happen(member, stabilize, event)
        if stabilize is None:
            return _at_rest(member)
        return Local(
            local.predecessor,
            local.successors,
            local.view,
            (*local.log, event),
            ask or local.ask,
            local.reply if event.kind == "handle" else None,
            (member.acquaintances.view(), *_frames(stabilize)),
            _place(member),
        )


def _happen(
    member: RingMember, stabilize: Generator[Ask, Message, None] | None, event: Event
) -> tuple[Generator[Ask, Message, None] | None, Ask | None]:
    """Let an event happen; the stabilize if it still runs, and its next question if it has one."""
    try:
        if event.kind == "handle":
            assert event.message is not None
            member.handle(event.message)
            return stabilize, None
        if event.kind == "begin":
            stabilize = member.stabilize()
            return stabilize, next(stabilize)
        assert stabilize is not None
        if event.message is None:
            return stabilize, stabilize.throw(Unreachable("no answer"))
        return stabilize, stabilize.send(event.message)
    except StopIteration:
        return None, None


def _at_rest(member: RingMember) -> Local:
    now = _place(member)
    assert now.predecessor is not None
    return Local(now.predecessor, now.successors, member.acquaintances.view(), now=now)


def _place(member: RingMember) -> MemberState:
    return MemberState(member.me, member.predecessor, member.successors)


def _frames(generator: Any) -> tuple[Any, ...]:
    """Where a generator and those that it delegates to stand, and their variables."""
    frames = []
    while generator is not None:
        frame = generator.gi_frame
        values = {k: v for k, v in frame.f_locals.items() if k != "self"}
        told = tuple(sorted((k, repr(v)) for k, v in values.items() if not hasattr(v, "send")))
        frames.append((frame.f_code.co_name, frame.f_lasti, told))
        generator = generator.gi_yieldfrom
    return tuple(frames)


def _story(parents: dict[bytes, tuple[bytes, str]], key: bytes) -> list[str]:
    """The steps that led to a state."""
    labels: list[str] = []
    while key:
        key, label = parents[key]
        labels.append(label)
    return labels[::-1]
