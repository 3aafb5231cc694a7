"""Who reads and changes records: any node, without a leader.

A record is a CASPaxos register (Rystsov, "CASPaxos: Replicated State Machines without logs",
arXiv 1802.07000) whose value says which replicas decide about it. A change takes two phases::

    proposer                       members of the configuration(s)
       ── PrepareRecord(b) ──▶  each promises b, and tells the last state that it accepted
       ◀──── RecordHeld ──────
    read = the state with the highest ballot among those told
    new  = change(read)             or read itself: the *identity write*
       ── AcceptRecord(b, new) ─▶  each accepts, unless it promised a higher ballot meanwhile
       ◀── RecordAccepted ────

A state is **committed** at b once a majority of each of its configurations accepted it at b. The
rules, each of which the simulator has seen fail when it is taken out (``docs/records.md`` tells the
stories and gives the argument):

1. **Each phase needs a majority of each configuration of the state read, and of the state to be
   written.** Members that a reply reveals are asked as well. What the caller believed the members
   to be only decides who is asked first. Where nobody asked has accepted anything, the members
   that decide are those of the birth certificate.
2. **The members change C → (C, C') → C'**, by writes like any other, each of which raises the epoch
   by one; and only **from an epoch that is known to be committed**. That a state was *seen*
   does not say so. Hence :meth:`Proposer.reconfigure` begins with an identity write.
3. **A joint configuration is only ever left forwards**, to C'. Whoever wants another one finishes
   the change that is under way first.
4. **A ballot's epoch is at least that of the state read.** A proposer that learns of a higher epoch
   begins again with a ballot of that epoch, which those who still live in an older one don't
   overtake.
5. **A change whose outcome is unknown is looked for before it is made again.** It may have been
   accepted somewhere, and whoever reads it there commits it. Each state carries the ballots at
   which its last versions were first written; a proposer that finds its own there is done, and
   otherwise what it wrote and what it writes now exclude each other.

6. **Deleted is for ever.** A tombstone is a state like any other. One replica that has *buried* the
   record (``acceptor.py``) is enough to know that a tombstone was committed.

A :meth:`Proposer.read` that finds one ballot at a majority of each configuration needs no second
phase, and writes nothing: that state is committed, and none is committed after it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import msgspec

from map_reduce.core.identifiers import Member
from map_reduce.core.messages import Message
from map_reduce.core.messages.records import (
    NO_BALLOT,
    AcceptRecord,
    Ballot,
    Config,
    GetRecord,
    PrepareRecord,
    RecordAccepted,
    RecordBuried,
    RecordConflict,
    RecordHeld,
    RecordState,
    Replica,
)
from map_reduce.core.registers.birth import Record
from map_reduce.core.registers.procedure import AskAll, BackOff, RecordProcedure, Replies
from map_reduce.core.registers.quorums import is_quorum, may_become_quorum, members_of
from map_reduce.errors import Refused, Undecided, Unreachable

WRITERS_MAX = 8
"""Of so many of its last versions a state says who wrote them."""

KNOWN_MAX = 10_000
"""Records whose members a proposer remembers, those that it used last."""

ASKED_MAX = 32
"""Replicas that are asked at first, however many were named."""

ROUNDS_MAX = 4
"""So often one ballot's first phase is extended by members that the change brings in; twice is
usual, more only where what those hold changes what is read."""


class Buried(Exception):
    """A replica has buried the record: it was deleted, and nothing more can come of it.

    ``wrote``: something was sent out before, and may have taken effect while there was time.
    """

    def __init__(self, *, wrote: bool = False) -> None:
        super().__init__()
        self.wrote = wrote


Change = Callable[[RecordState], RecordState | None]
"""From the state read to the one to be written, or None to leave it. Version and writers are seen
to by the proposer. Called any number of times; it has no effects."""


class Settled(NamedTuple):
    """How an attempt to change a record ended: ``state`` is committed."""

    state: RecordState
    changed: bool  # by this very change; then state is what it wrote


class Known(NamedTuple):
    """A hint: where a record's members were last seen."""

    epoch: int = 0
    members: Config = ()


Held = dict[Replica, RecordHeld]


class Proposer:
    """One life of a process, reading and changing records.

    Not thread-safe: whoever drives it holds one lock around each step of a procedure, and none
    while replicas are asked. Many procedures may be under way at once.

    Args:
        me: this life of the process. No other may ever have the same address and incarnation,
            for ballots are made from it.
        attempts_max: ballots that one call may use before it gives up.
    """

    def __init__(self, me: Member, *, attempts_max: int = 10) -> None:
        self.me = me
        self._attempts_max = attempts_max
        self._number = 0
        self._known: dict[str, Known] = {}

    # -------------------------------------------------------------- what users call

    def read(self, record: Record) -> RecordProcedure[RecordState]:
        """The committed state. A record never written has version 0 and the value None.

        Raises:
            Unreachable: no majority of the members answers.
        """
        try:
            return (yield from self._read(record))
        except Buried:
            return record.buried

    def _read(self, record: Record) -> RecordProcedure[RecordState]:
        held: Held = {}
        if (yield from self._collect(record, None, held, ())):
            accepted, state = self._latest(record, held)
            agreeing = [replica for replica, one in held.items() if one.accepted == accepted]
            if self._is_quorum(agreeing, self._deciding(state)):
                return state
        return (yield from self._change(record, lambda state: None)).state

    def compare_and_set(
        self, record: Record, change: Callable[[bytes | None], bytes | None]
    ) -> RecordProcedure[Settled]:
        """Let the value become ``change(value)``, or leave it where that is None.

        ``change`` may be called several times, but takes effect once or not at all.

        Raises:
            Unreachable: no majority of the members answers; nothing was changed.
            Undecided: it may or may not take effect, now or later; read before you retry.
            Refused: the record was deleted.
        """

        def replaced(state: RecordState) -> RecordState | None:
            value = None if state.deleted else change(state.value)
            return None if value is None else msgspec.structs.replace(state, value=value)

        try:
            settled = yield from self._change(record, replaced)
        except Buried as end:
            if not end.wrote:
                raise _deleted(record) from None
            raise Undecided(
                f"record {record.name} may or may not have been changed before it was deleted"
            ) from None
        if settled.state.deleted:
            raise _deleted(record)
        return settled

    def delete(self, record: Record) -> RecordProcedure[None]:
        """Leave a tombstone: no value, for ever. Doing it twice is the same.

        Raises:
            Unreachable, Undecided: as by :meth:`compare_and_set`.
        """

        def buried(state: RecordState) -> RecordState | None:
            if state.deleted:
                return None
            return msgspec.structs.replace(state, value=None, deleted=True)

        try:
            yield from self._change(record, buried)
        except Buried:
            return

    def reconfigure(self, record: Record, members: Config) -> RecordProcedure[RecordState]:
        """Replace those who decide. A change that another left half done is finished first.

        Raises:
            Refused: somebody else changes the members at the same time, and came first.
            Unreachable, Undecided: as by :meth:`compare_and_set`. The record works on in either
                case; whoever reconfigures next finishes what was begun.
        """
        if not members or len(set(members)) != len(members):
            raise Refused(f"record {record.name} cannot be decided by {_names(members)}")
        try:
            return (yield from self._replace_members(record, members))
        except Buried:
            raise _deleted(record) from None

    def _replace_members(self, record: Record, members: Config) -> RecordProcedure[RecordState]:
        state = yield from self._committed(record)
        if len(state.configs) == 2:
            state = yield from self._move(record, state, self._way_out(state))
        if state.configs != (members,):
            state = yield from self._move(record, state, (state.configs[0], members))
            state = yield from self._move(record, state, (members,))
        return state

    def known(self, record: Record) -> Known:
        """Where the members were last seen by this proposer: a hint."""
        return self._known.get(record.name) or Known(0, record.members)

    def hint(self, record: Record, members: Config) -> None:
        """Ask these first, where nothing better is known. They need not be right."""
        known = self._known.get(record.name) or Known()
        self._remember(record, known._replace(members=known.members or members))

    def also_ask(self, record: Record, replicas: Config) -> None:
        """Ask these as well: those that are known do not answer. Nor need they be right."""
        known = self.known(record)
        both = members_of([replicas, known.members])
        self._remember(record, known._replace(members=both[:ASKED_MAX]))

    def forget(self, record: Record) -> None:
        """Drop the hint: nobody here uses the record any more."""
        self._known.pop(record.name, None)

    def forget_all(self, which: Callable[[str], bool]) -> None:
        """Drop the hints to all records whose names ``which`` picks out."""
        for name in [name for name in self._known if which(name)]:
            del self._known[name]

    # -------------------------------------------------------------- changing the members

    def _committed(self, record: Record) -> RecordProcedure[RecordState]:
        """The identity write: what is read is committed before it is built on (rule 2)."""
        return (yield from self._change(record, lambda state: None)).state

    def _way_out(self, joint: RecordState) -> tuple[Config, ...]:
        """Where a joint configuration leads (rule 3)."""
        return (joint.configs[1],)

    def _move(
        self, record: Record, committed: RecordState, configs: tuple[Config, ...]
    ) -> RecordProcedure[RecordState]:
        """One step of the way C → (C, C') → C', from a committed epoch to the next."""

        def moved(state: RecordState) -> RecordState | None:
            if state.epoch != committed.epoch:
                return None
            return msgspec.structs.replace(state, configs=configs, epoch=state.epoch + 1)

        settled = yield from self._change(record, moved)
        if not settled.changed and settled.state.configs != configs:
            raise Refused(
                f"the members of record {record.name} were changed by somebody else: it is at "
                f"epoch {settled.state.epoch}, decided by {_names(settled.state.configs[-1])}"
            )
        return settled.state

    # -------------------------------------------------------------- one change

    def _change(self, record: Record, change: Change) -> RecordProcedure[Settled]:
        """Commit ``change`` of the present state, or the present state itself."""
        mine: dict[Ballot, RecordState] = {}  # sent out by this call, outcome unknown
        try:
            return (yield from self._attempt(record, change, mine))
        except Buried:
            raise Buried(wrote=bool(mine)) from None

    def _attempt(
        self, record: Record, change: Change, mine: dict[Ballot, RecordState]
    ) -> RecordProcedure[Settled]:
        backed_off = 0
        for _ in range(self._attempts_max):
            epoch = self.known(record).epoch
            ballot = self._next_ballot(epoch)
            plan = yield from self._prepare(record, ballot, change, mine)
            if plan is not None:
                read, new, settled = plan
                if new is not read:
                    mine[ballot] = new
                if (yield from self._accept(record, ballot, read, new)):
                    return settled
            elif self.known(record).epoch > epoch:
                continue  # not in anybody's way: only with an old epoch
            backed_off += 1
            yield BackOff(backed_off)
        members = _names(self.known(record).members)
        if mine:
            raise Undecided(
                f"record {record.name} may or may not have been changed: no majority of {members} "
                f"has confirmed it in {self._attempts_max} attempts; read it before you retry"
            )
        raise Unreachable(
            f"record {record.name}: no majority of {members} agreed in {self._attempts_max} "
            "attempts; nothing was changed"
        )

    def _prepare(
        self, record: Record, ballot: Ballot, change: Change, mine: dict[Ballot, RecordState]
    ) -> RecordProcedure[tuple[RecordState, RecordState, Settled] | None]:
        """Phase 1: what was read, what to write, and what that settles. None: not this time."""
        held: Held = {}
        also: tuple[Config, ...] = ()
        for _ in range(ROUNDS_MAX):
            if not (yield from self._collect(record, ballot, held, also)):
                return None
            _, read = self._latest(record, held)
            own = self._found_own(record, mine, read)
            new = change(read) if own is None else None
            if new is None:
                return read, read, Settled(own or read, own is not None)
            writers = (*read.writers[1 - WRITERS_MAX :], ballot)
            new = msgspec.structs.replace(new, version=read.version + 1, writers=writers)
            if self._is_quorum(held, self._deciding(new)):
                return read, new, Settled(new, True)
            also = self._deciding(new)
        return None

    def _found_own(
        self, record: Record, mine: dict[Ballot, RecordState], read: RecordState
    ) -> RecordState | None:
        """What an earlier attempt of ours wrote, if what was read builds on it (rule 5)."""
        for ballot, state in mine.items():
            since = read.version - state.version
            if since >= len(read.writers):
                raise Undecided(
                    f"record {record.name} may or may not have been changed: others have changed "
                    f"it {since} times since; read it before you retry"
                )
            if since >= 0 and read.writers[-1 - since] == ballot:
                return state
        return None

    def _accept(
        self, record: Record, ballot: Ballot, read: RecordState, new: RecordState
    ) -> RecordProcedure[bool]:
        """Phase 2: whether ``new`` is certainly committed."""
        configs = self._deciding(read) + self._deciding(new)

        def enough(replies: Replies) -> bool:
            if _any_buried(replies):
                return True
            accepting = [r for r, reply in replies.items() if isinstance(reply, RecordAccepted)]
            if self._is_quorum(accepting, configs):
                return True
            return not may_become_quorum(replies.keys() - set(accepting), configs)

        messages: dict[Replica, Message] = {
            replica: AcceptRecord(record.name, replica.identity, ballot, new)
            for replica in members_of(configs)
        }
        replies = yield AskAll(messages, enough)
        _check_buried(replies)
        self._learn_conflicts(record, replies)
        accepting = [r for r, reply in replies.items() if isinstance(reply, RecordAccepted)]
        if not self._is_quorum(accepting, configs):
            return False
        self._learn(record, new)
        return True

    # -------------------------------------------------------------- asking

    def _collect(
        self, record: Record, ballot: Ballot | None, held: Held, also: tuple[Config, ...]
    ) -> RecordProcedure[bool]:
        """Fill ``held`` until it is a quorum of the latest state in it and of ``also``.

        With a ballot, by promises of it. False: refused, unanswered, or of an old epoch.
        """

        def deciding(known: Held) -> tuple[Config, ...]:
            return self._deciding(self._latest(record, known)[1]) + also

        def enough(replies: Replies) -> bool:
            if _any_buried(replies):
                return True
            known = held | _only_held(replies)
            configs = deciding(known)
            if self._is_quorum(known, configs) or self._is_stale(record, ballot, known):
                return True
            if not all(replica in wanted for replica in members_of(configs)):
                return True
            # Who has lost its memory is no reason to stop: others may name members that have not
            outbid = [r for r, reply in replies.items() if isinstance(reply, RecordConflict)]
            return not may_become_quorum(outbid, configs)

        wanted: dict[Replica, None] = dict.fromkeys(self.known(record).members)
        while True:
            wanted |= dict.fromkeys(members_of(deciding(held)) if held else ())
            todo = [replica for replica in wanted if replica not in held]
            replies = yield AskAll({r: _request(record, r, ballot) for r in todo}, enough)
            _check_buried(replies)
            held |= _only_held(replies)
            self._learn_conflicts(record, replies)
            configs = deciding(held)
            if self._is_stale(record, ballot, held):
                self._learn(record, self._latest(record, held)[1])
                return False
            if self._is_quorum(held, configs):
                return True
            if any(isinstance(reply, RecordConflict) for reply in replies.values()):
                return False
            unasked = [replica for replica in members_of(configs) if replica not in wanted]
            unasked += [replica for replica in record.members if replica not in wanted]
            if not unasked:
                return False
            wanted |= dict.fromkeys(unasked)

    def _latest(self, record: Record, held: Held) -> tuple[Ballot, RecordState]:
        """What was accepted at the highest ballot; the state at birth where nothing was."""
        accepted, state = NO_BALLOT, record.at_birth
        for one in held.values():
            if one.state is not None and one.accepted > accepted:
                accepted, state = one.accepted, one.state
        return accepted, state

    def _is_stale(self, record: Record, ballot: Ballot | None, held: Held) -> bool:
        """Whether the ballot is of an older epoch than what was found (rule 4)."""
        return ballot is not None and self._latest(record, held)[1].epoch > ballot.epoch

    def _next_ballot(self, epoch: int) -> Ballot:
        self._number += 1
        return Ballot(epoch, self._number, self.me)

    def _learn(self, record: Record, state: RecordState) -> None:
        if state.epoch >= self.known(record).epoch:
            members = members_of(state.configs[::-1])
            self._remember(record, Known(state.epoch, members))

    def _learn_conflicts(self, record: Record, replies: Replies) -> None:
        """Outbid, next time, those who were promised more."""
        for reply in replies.values():
            if isinstance(reply, RecordConflict):
                self._number = max(self._number, reply.promised.number)
                known = self.known(record)
                if reply.promised.epoch > known.epoch:
                    self._remember(record, known._replace(epoch=reply.promised.epoch))

    def _remember(self, record: Record, known: Known) -> None:
        self._known.pop(record.name, None)
        self._known[record.name] = known
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]

    # -------------------------------------------------------------- counting

    def _deciding(self, state: RecordState) -> tuple[Config, ...]:
        """The configurations of each of which a majority is needed (rule 1)."""
        return state.configs

    def _is_quorum(self, agreeing: Collection[Replica], configs: tuple[Config, ...]) -> bool:
        return is_quorum(agreeing, configs)


def _request(record: Record, replica: Replica, ballot: Ballot | None) -> Message:
    if ballot is None:
        return GetRecord(record.name, replica.identity)
    return PrepareRecord(record.name, replica.identity, ballot)


def _only_held(replies: Replies) -> Held:
    return {r: reply for r, reply in replies.items() if isinstance(reply, RecordHeld)}


def _any_buried(replies: Replies) -> bool:
    return any(isinstance(reply, RecordBuried) for reply in replies.values())


def _check_buried(replies: Replies) -> None:
    if _any_buried(replies):
        raise Buried


def _deleted(record: Record) -> Refused:
    return Refused(f"record {record.name} was deleted")


def _names(members: Config) -> str:
    return ", ".join(map(str, members)) or "nobody"
