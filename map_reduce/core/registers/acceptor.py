"""What a replica remembers of records, and what it answers.

For each record: the highest ballot that it promised, and the last state that it accepted with its
ballot. Three rules, which are the whole acceptor of single-decree Paxos (Lamport, "Paxos Made
Simple", section 2.2) applied to a register that is written again and again (Rystsov, "CASPaxos",
section 2.2):

1. A request with a ballot below the promised one is refused, and told the promised one.
2. PrepareRecord raises the promise; the answer is what was accepted last.
3. AcceptRecord raises the promise too and replaces what was accepted.

An acceptor knows nothing of configurations, epochs or majorities: proposers count. It does not
forget a record when it is no longer one of its members: what it accepted last is then the pointer
by which a proposer with old knowledge finds the present members.

**Burying.** Of a record that was certainly deleted, which is for ever, nothing need be remembered
but that: :meth:`Acceptor.bury`. It then has one answer to every request about it, and this answer
needs no majority. So a replica that buries a record before the others, or instead of them, takes
nothing away from anybody.

**Persist before reply.** :meth:`Acceptor.handle` changes the memory and returns effects, *to be
carried out in this order*: a :class:`Persist`, where anything changed, then a :class:`Reply`. For
one replica, no effect may overtake an earlier one, not even a reply that needs no Persist: what it
reports may be what an earlier effect has yet to make durable. If a Persist fails, no Reply may
leave any more; the replica has to end, and its successor is to start from what is on disk, or with
a new identity from nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from map_reduce.core.messages import Message, No
from map_reduce.core.messages.records import (
    NO_BALLOT,
    AcceptRecord,
    Ballot,
    GetRecord,
    PrepareRecord,
    RecordAccepted,
    RecordBuried,
    RecordConflict,
    RecordHeld,
    RecordState,
    Replica,
)


class Held(msgspec.Struct, frozen=True, array_like=True):
    """What a replica knows of one record: what :class:`Persist` writes."""

    name: str
    promised: Ballot = NO_BALLOT
    accepted: Ballot = NO_BALLOT
    state: RecordState | None = None  # None as long as accepted is NO_BALLOT
    buried_s: int = 0  # when (seconds since 1970); then nothing else is held

    @property
    def is_nothing(self) -> bool:
        """Whether it is the same as no entry at all."""
        return self == Held(self.name)


class Persist(NamedTuple):
    """Make this durable, in place of what was held under the same name, if anything was."""

    held: Held


class Reply(NamedTuple):
    """Answer the request that was handled."""

    message: Message


Effect = Persist | Reply


class Acceptor:
    """One replica.

    Not thread-safe: whoever drives it lets one request's effects be carried out, or queued in
    order, before it handles the next.

    Args:
        me: with the identity that was found with ``held``, or a new one where nothing was found.
        held: what is on disk.
    """

    def __init__(self, me: Replica, held: Iterable[Held] = ()) -> None:
        self.me = me
        self._held = {one.name: one for one in held}

    def held(self, name: str) -> Held:
        """What is known of a record now, durable or not."""
        return self._held.get(name) or Held(name)

    def handle(self, message: Message) -> tuple[Effect, ...] | None:
        """What to do about a request, in order; None where it is not about records."""
        if not isinstance(message, GetRecord | PrepareRecord | AcceptRecord):
            return None
        if message.identity != self.me.identity:
            return (Reply(No(f"{self.me} has lost the records that it is asked for")),)
        held = self.held(message.name)
        if held.buried_s:
            return (Reply(RecordBuried()),)
        if isinstance(message, GetRecord):
            return (Reply(RecordHeld(held.accepted, held.state)),)
        if message.ballot < held.promised:
            return (Reply(RecordConflict(held.promised)),)
        if isinstance(message, PrepareRecord):
            new = Held(held.name, message.ballot, held.accepted, held.state)
            return (*self._replaced(held, new), Reply(RecordHeld(held.accepted, held.state)))
        new = Held(held.name, message.ballot, message.ballot, message.state)
        return (*self._replaced(held, new), Reply(RecordAccepted()))

    def all_held(self) -> tuple[Held, ...]:
        """What is known of every record."""
        return tuple(self._held.values())

    def bury(self, name: str, now_s: int) -> tuple[Persist, ...]:
        """Remember of a record that it was deleted, and nothing else.

        Only to be called where a *committed* tombstone was read: a deletion that was merely begun
        may never have happened.
        """
        return self._put(Held(name, buried_s=max(1, now_s)))

    def forget(self, name: str) -> tuple[Persist, ...]:
        """Remember nothing at all of a record that was buried long ago."""
        return self._put(Held(name)) if self.held(name).buried_s else ()

    def _put(self, new: Held) -> tuple[Persist, ...]:
        self._held.pop(new.name, None)
        if not new.is_nothing:
            self._held[new.name] = new
        return (Persist(new),)

    def _replaced(self, old: Held, new: Held) -> tuple[Persist, ...]:
        if (old.promised, old.accepted) == (new.promised, new.accepted):
            return ()  # a repetition
        return self._put(new)
