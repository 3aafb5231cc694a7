"""Records, for a node or a client: read them, change them, choose who keeps them.

How to use one::

    members = records.choose_members(place)            # Config: replicas to begin with
    birth = Birth(digest_of_specification, nonce, members)
    record = birth.record()                            # nothing is sent: it exists, empty
    shard = birth.record("ledger/0")                   # another record of the same job

    settled = records.change(record, lambda value: b"new" if value is None else None)
    settled.changed                                    # whether this very call wrote it
    settled.state.value                                # committed: what it is now
    records.read(record).value                         # committed, and None comes after it unseen
    records.delete(record)                             # a tombstone; change() then raises Refused

Whoever is handed ``birth.encode()`` and the id can do the same (``Birth.decode``). Masters take
over and write by the changes of ``core/registers/lease.py``: ``records.change(record,
taken_over(epoch, me, until_s))``, ``records.change(record, fenced(epoch, payload))``. After
:class:`Undecided`, read.

What is promised is in ``docs/records.md``; in short: linearizable always, available to whoever
reaches a majority of the record's members. A node answers others by :meth:`Records.handle`.

Each step of a procedure runs under one lock, which is never held while replicas are asked. All
replicas are asked at the same time, and as soon as those that answered suffice, the others are not
waited for. The replica of this node is asked without the transport.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from map_reduce.core import names
from map_reduce.core.chord.replication import replica_group
from map_reduce.core.identifiers import Address, Identifier, Member, identifier_of
from map_reduce.core.messages import Message
from map_reduce.core.messages.records import (
    AcceptRecord,
    Config,
    GetRecord,
    GetReplica,
    RecordHeld,
    RecordState,
    Replica,
    ReplicaIs,
)
from map_reduce.core.registers.birth import Record
from map_reduce.core.registers.lease import ValueChange
from map_reduce.core.registers.procedure import (
    AskAll,
    BackOff,
    RecordProcedure,
    Replies,
    perform,
)
from map_reduce.core.registers.proposer import Proposer, Settled
from map_reduce.errors import ClusterError, Unreachable
from map_reduce.ports import Clock
from map_reduce.runtime.own_replica import OwnReplica
from map_reduce.runtime.parallel import Parallel
from map_reduce.runtime.peers import Peers

log = logging.getLogger(__name__)

WITHIN_S = 10.0
"""How long a call may take where it does not say."""

BACK_OFF_S = 0.005
BACK_OFF_S_MAX = 0.5

LOOK_UP_AT = 2
"""After so many attempts in vain, whoever is at the record's place on the ring is asked as well."""

THREADS_MAX = 32
REPLICAS_KNOWN_MAX = 4096

T = TypeVar("T")


class Records:
    """See the module's text. Safe to use from many threads.

    Args:
        peers: asks replicas. Of a node, its handler answers what this node asks itself.
        me: this life of this process; no other may ever have the same address and incarnation.
        locate: from a place on the ring to its owner and the owner's successors.
        own: this node's replica; None for a client.
        members_max: how many members :meth:`choose_members` chooses.
        timeout_s: that replicas are waited for at a time.
        dice: for waits between attempts that others outbid.
    """

    def __init__(
        self,
        *,
        peers: Peers,
        clock: Clock,
        me: Member,
        locate: Callable[[Identifier], tuple[Member, ...]],
        own: OwnReplica | None = None,
        members_max: int = 5,
        timeout_s: float,
        dice: random.Random,
    ) -> None:
        self._clock = clock
        self.locate = locate
        self._own = own
        self._members_max = members_max
        self._timeout_s = timeout_s
        self._dice = dice
        self._lock = threading.Lock()
        self._proposer = Proposer(me)
        self._replicas: dict[Member, Replica] = {}
        self._closing = threading.Event()
        here = own.me.address if own is not None and not own.waits_for_disk else None
        self._parallel = Parallel(peers, "map-reduce-records", threads_max=THREADS_MAX, here=here)

    # ------------------------------------------------------------------ for handlers

    @property
    def replica(self) -> Replica:
        """This node's."""
        assert self._own is not None, "only a node keeps records"
        return self._own.me

    def handle(self, message: Message) -> Message | None:
        """What this node's replica answers, when its disk has it; None to other messages."""
        return None if self._own is None else self._own.handle(message)

    def bury_job(self, job_id: str) -> None:
        """Remember of all records here of a job, which nobody wants any more, that they are
        deleted: no majority has to agree to what cannot be taken back."""
        with self._lock:
            self._proposer.forget_all(lambda name: names.job_of(name) == job_id)
        if self._own is not None:
            self._own.bury_all(lambda name: names.job_of(name) == job_id, int(time.time()))

    # ------------------------------------------------------------------ for threads

    def silent(self, record: Record) -> tuple[Address, ...]:
        """Those of a record's members, as last seen, that don't answer now."""
        with self._lock:
            members = self._proposer.known(record).members
        ask = {member: GetRecord(record.name, member.identity) for member in members}
        replies = self._parallel.ask(ask, self._timeout_s, lambda replies: False)
        held = [member for member, reply in replies.items() if isinstance(reply, RecordHeld)]
        return tuple(member.address for member in members if member not in held)

    def read(self, record: Record, *, within_s: float = WITHIN_S) -> RecordState:
        """The committed state. A record never written has version 0 and the value None.

        Raises:
            Unreachable: no majority of the members answers.
        """
        return self._run(record, self._proposer.read(record), within_s)

    def change(self, record: Record, change: ValueChange, *, within_s: float = WITHIN_S) -> Settled:
        """Let the value become ``change(value)``, or leave it where that is None.

        ``change`` may be called several times, but takes effect once or not at all. It is called
        with a lock held: it must be quick and use no record.

        Raises:
            Unreachable: no majority of the members answers; nothing was changed.
            Undecided: it may or may not take effect, now or later; read before you retry.
            Refused: the record was deleted.
        """
        return self._run(record, self._proposer.compare_and_set(record, change), within_s)

    def delete(self, record: Record, *, within_s: float = WITHIN_S) -> None:
        """Let it have no value, for ever. Doing it twice is the same. Raises as :meth:`change`."""
        self._run(record, self._proposer.delete(record), within_s)

    def reconfigure(
        self, record: Record, members: Config, *, within_s: float = WITHIN_S
    ) -> RecordState:
        """Replace those who decide. A change that another left half done is finished first.

        Raises:
            Refused: somebody else changes the members at the same time, and came first.
            Unreachable, Undecided: as by :meth:`change`. The record works on in either case, and
                whoever reconfigures next finishes what was begun.
        """
        return self._run(record, self._proposer.reconfigure(record, members), within_s)

    def choose_members(self, place: Identifier) -> Config:
        """Replicas of the nodes from a place on the ring on: for a new record to be born with.

        As many as answer of those that there should be; the ring may be smaller.

        Raises:
            Unreachable: none does, or nobody can tell which nodes these are.
        """
        found = self._first_replicas(replica_group(self.locate(place), self._members_max))
        return tuple(found)

    def choose_odd_members(self, line: Sequence[Member]) -> Config:
        """As :meth:`choose_members`, of these nodes, the first of them that answer, and an odd
        number: one more would have to be asked, and no more could be lost."""
        found = self._first_replicas(replica_group(line, len(line)))
        return tuple(found[: len(found) - 1 + len(found) % 2])

    def _first_replicas(self, members: tuple[Member, ...]) -> list[Replica]:
        found: list[Replica] = []
        for start in range(0, len(members), self._members_max):
            if len(found) < self._members_max:
                asked = members[start : start + self._members_max]
                replicas = self.replicas_of(asked)
                found += [replicas[member] for member in asked if member in replicas]
        if not found:
            names = ", ".join(map(str, members)) or "no nodes"
            raise Unreachable(f"none of {names} keeps records, or none answers")
        return found[: self._members_max]

    def replicas_of(self, members: tuple[Member, ...]) -> dict[Member, Replica]:
        """The replicas of some nodes, without those that don't answer. Each life is asked once."""
        with self._lock:
            known = {m: self._replicas[m] for m in members if m in self._replicas}
        ask = {member: GetReplica() for member in members if member not in known}
        replies = self._parallel.ask(ask, self._timeout_s, lambda replies: False)
        new = {m: reply.replica for m, reply in replies.items() if isinstance(reply, ReplicaIs)}
        with self._lock:
            self._replicas.update(new)
            while len(self._replicas) > REPLICAS_KNOWN_MAX:
                del self._replicas[next(iter(self._replicas))]
        return known | new

    def forget_replicas(self) -> None:
        """Ask nodes again which replicas they are: those that were asked may be gone."""
        with self._lock:
            self._replicas.clear()

    def sights(self, replicas: Sequence[Replica]) -> dict[Replica, Replica | None]:
        """Which replica each one's address answers as; None where it says that it is none.

        Who does not answer is left out.
        """
        ask: dict[Replica, Message] = {replica: GetReplica() for replica in replicas}
        replies = self._parallel.ask(ask, self._timeout_s, lambda replies: False)
        return {
            asked: reply.replica if isinstance(reply, ReplicaIs) else None
            for asked, reply in replies.items()
        }

    def forget(self, record: Record) -> None:
        """Drop what is known of where a record's members are: nobody here uses it any more."""
        with self._lock:
            self._proposer.forget(record)

    def close(self) -> None:
        """End calls that are under way, soon, and return when the threads have ended."""
        self._closing.set()
        self._parallel.close()

    # ------------------------------------------------------------------ driving a procedure

    def _run(self, record: Record, procedure: RecordProcedure[T], within_s: float) -> T:
        """Drive a procedure to its end.

        When the time is over, or this object closed, nobody is asked any more: the procedure finds
        that nobody answers, and says in its own words what that means.
        """
        until_s = self._clock.now_s() + within_s

        def left_s() -> float:
            return 0.0 if self._closing.is_set() else until_s - self._clock.now_s()

        def ask_all(ask: AskAll) -> Replies:
            timeout_s = min(self._timeout_s, left_s())
            if timeout_s <= 0:
                return {}
            # Who misses a write makes the next reader write it again
            writes = any(isinstance(message, AcceptRecord) for message in ask.messages.values())
            return self._parallel.ask(ask.messages, timeout_s, ask.enough, for_all=writes)

        def back_off(wait: BackOff) -> None:
            if wait.attempt == LOOK_UP_AT and left_s() > 0:
                self._look_up(record)
            most_s = min(BACK_OFF_S * 2.0**wait.attempt, BACK_OFF_S_MAX)
            self._closing.wait(max(0.0, min(self._dice.uniform(0, most_s), left_s())))

        return perform(procedure, ask_all, back_off, self._lock)

    def _look_up(self, record: Record) -> None:
        """The members that are known do not answer: ask also who is at the record's place now."""
        try:
            around = self.choose_members(identifier_of(names.job_of(record.name)))
        except ClusterError as error:
            log.info("record %s was not looked for on the ring: %s", record.name, error)
            return
        with self._lock:
            self._proposer.also_ask(record, around)
