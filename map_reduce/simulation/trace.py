"""What happened, as a hash, and as text where somebody wants to read it."""

from __future__ import annotations

import hashlib

from map_reduce.core.chord.state import RingState
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import (
    FindSuccessor,
    Leaving,
    Message,
    Neighbours,
    Notify,
    Pong,
    Route,
)

HASHED_TOGETHER = 4096
"""Numbers, four to an event, that are put into the hash at a time: that is cheaper."""


class Trace:
    """The events of a run. Equal seeds give equal hashes."""

    def __init__(self, readable: bool) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._noted: list[int] = []  # of events that are not in the hash yet
        self.lines: list[str] | None = [] if readable else None
        self.events = 0

    def note(self, at_us: int, kind: int, node: int, other: int) -> None:
        """Count and hash one event; ``kind`` is a number for the event's kind."""
        self.events += 1
        self._noted += (at_us, kind, node, other)
        if len(self._noted) >= HASHED_TOGETHER:
            self._hash_noted()

    def _hash_noted(self) -> None:
        text = "%d %d %d %d;" * (len(self._noted) // 4) % tuple(self._noted)
        self._hash.update(text.encode())
        self._noted.clear()

    def tell(self, at_us: int, text: str) -> None:
        """A line for people, where they asked for it."""
        if self.lines is not None:
            self.lines.append(f"{at_us / 1000:10.1f} ms  {text}")

    def seal(self, text: str) -> None:
        """Let the hash depend on ``text`` too, such as the final states."""
        self._hash_noted()
        self._hash.update(text.encode())

    def digest(self) -> str:
        self._hash_noted()
        return self._hash.hexdigest()


def in_words(message: Message) -> str:
    """A message of the ring on one line."""
    name = type(message).__name__
    match message:
        case Neighbours(_, predecessor, successors):
            return f"{name}: {_place(predecessor, successors)}"
        case Route(owns, members):
            return f"{name}: {'mine, then' if owns else 'ask'} {_hosts(members)}"
        case Notify(member) | Leaving(member) | Pong(member):
            return f"{name} {member.address.host}"
        case FindSuccessor():
            return name
        case _:
            return name


def state_in_words(state: RingState) -> str:
    """A member's place on one line."""
    if not state.joined:
        return f"{state.me.address.host} is {state.standing.value}"
    cut_off = ", cut off" if state.cut_off else ""
    return f"{state.me.address.host}: {_place(state.predecessor, state.successors)}{cut_off}"


def _place(predecessor: Member | None, successors: tuple[Member, ...]) -> str:
    before = predecessor.address.host if predecessor else "?"
    return f"{before} ← · → {_hosts(successors)}"


def _hosts(members: tuple[Member, ...]) -> str:
    return " ".join(member.address.host for member in members) or "nobody"
