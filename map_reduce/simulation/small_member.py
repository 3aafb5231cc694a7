"""One member of a small ring, as a value: what the exploration keeps of it.

A generator cannot be copied. So a stabilize under way is kept as the state that it began in and
what has happened to the member since, and is run again from there whenever it is needed. Two are
the same if the members' places and views and all live variables of the generators are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from map_reduce.core.chord.invariants import MemberState
from map_reduce.core.chord.member import RingMember
from map_reduce.core.chord.state import Standing
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import Message
from map_reduce.core.procedure import Ask
from map_reduce.errors import Unreachable
from map_reduce.simulation.process import Certain, Oracle

Stabilize = Generator[Ask, Message, None]

NOBODY: frozenset[Member] = frozenset()


class Asking(Certain):
    """A failure detector that knows of a death by an unanswered question alone.

    In a small ring only the dead do not answer, so it is never wrong, but it may be the last to
    know: what the published proof assumes of a timeout, to the letter.
    """

    def __init__(self) -> None:
        self.silent: set[Member] = set()

    def failed(self, member: Member, *, refused: bool = False) -> None:
        self.silent.add(member)

    def ended(self, member: Member) -> bool:
        return member in self.silent


@dataclass(frozen=True)
class Event:
    """Something that happened to a member, who was dead then, and who was wrongly thought so."""

    kind: str  # begin, reply, handle, ping
    message: Message | None
    dead: frozenset[Member]
    doubted: frozenset[Member] = NOBODY


@dataclass(frozen=True)
class Local:
    """One live member: its place when its stabilize began (or now), and what happened since."""

    predecessor: Member
    successors: tuple[Member, ...]
    view: tuple[Member, ...]
    now: MemberState
    log: tuple[Event, ...] = ()
    ask: Ask | None = None  # the question under way
    frames: tuple[Any, ...] = ()  # the view now, and the live variables of the generator
    knew: frozenset[Member] = NOBODY  # whom it knew to be dead when its stabilize began
    knows: frozenset[Member] = NOBODY  # and whom now; both only where it knows by asking

    def key(self) -> str:
        """Equal for members that will do the same."""
        view = self.view if not self.log else None
        return repr((self.now, view, self.frames, sorted(self.knows)))


class Reruns:
    """Makes members of values, and values of members.

    Args:
        kind: the class of the members; a mutant where a guard is to be missing.
        by_asking: members learn of deaths by asking (:class:`Asking`). Otherwise they know them.
    """

    def __init__(
        self, kind: Callable[..., RingMember], successors_max: int, *, by_asking: bool
    ) -> None:
        self._kind = kind
        self._successors_max = successors_max
        self._by_asking = by_asking
        self._dead: frozenset[Member] = NOBODY

    def new(
        self, me: Member, dead: frozenset[Member], knows: frozenset[Member] = NOBODY
    ) -> RingMember:
        """One that is in no ring yet."""
        self._dead = dead
        asking = Asking()
        asking.silent.update(knows)
        return self._kind(
            me,
            now_s=lambda: 0.0,
            successors_max=self._successors_max,
            detector=asking if self._by_asking else Oracle(lambda m: m not in self._dead),
        )

    def answer(self, local: Local, message: Message, dead: frozenset[Member]) -> Message | None:
        """What the member as it is now answers to a question that changes nothing."""
        member, stabilize = self._rerun(local, dead)
        reply = member.handle(message)
        del stabilize  # not before: a generator that nobody holds ends, and it is no longer busy
        return reply

    def after(self, local: Local, event: Event) -> Local:
        """The member after one more event."""
        member, stabilize = self._rerun(local, event.dead)
        self._dead = event.dead | event.doubted
        stabilize, ask = _happen(member, stabilize, event)
        if stabilize is None:
            return at_rest(member)
        return Local(
            local.predecessor,
            local.successors,
            local.view,
            _place(member),
            (*local.log, event),
            ask or local.ask,
            (member.acquaintances.view(), *_frames(stabilize)),
            local.knew,
            _knows(member),
        )

    def _rerun(self, local: Local, dead: frozenset[Member]) -> tuple[RingMember, Stabilize | None]:
        member = self.new(local.now.member, dead, local.knew)
        member.standing = Standing.MEMBER
        member.predecessor = local.predecessor
        member.successors = local.successors
        member.acquaintances.learn(local.view)
        stabilize: Stabilize | None = None
        for event in local.log:
            self._dead = event.dead | event.doubted
            stabilize = _happen(member, stabilize, event)[0]
        self._dead = dead
        return member, stabilize


def at_rest(member: RingMember) -> Local:
    """A joined member that does not stabilize."""
    now, knows = _place(member), _knows(member)
    assert now.predecessor is not None
    view = member.acquaintances.view()
    return Local(now.predecessor, now.successors, view, now, knew=knows, knows=knows)


def _knows(member: RingMember) -> frozenset[Member]:
    return frozenset(member.detector.silent) if isinstance(member.detector, Asking) else NOBODY


def _place(member: RingMember) -> MemberState:
    return MemberState(member.me, member.predecessor, member.successors)


def _happen(
    member: RingMember, stabilize: Stabilize | None, event: Event
) -> tuple[Stabilize | None, Ask | None]:
    """Let an event happen; the stabilize if it still runs, and its next question if it has one."""
    try:
        if event.kind == "handle":
            assert event.message is not None
            member.handle(event.message)
            return stabilize, None
        if event.kind == "ping":
            assert member.predecessor is not None
            member.failed(member.predecessor)
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
