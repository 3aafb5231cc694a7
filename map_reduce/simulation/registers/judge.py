"""The invariants of records, checked whenever a replica says something.

    Q1  the history of a record is linearizable (linearizability.py, after the run)
    Q2  at one ballot, one state; a committed state builds on every one committed before it
    Q3  one committed configuration for each epoch; no state of an epoch is accepted anywhere before
        the epoch before it is committed, and it follows from that one: C, (C, C'), C'
    Q4  no replica goes back on what it said: promises and accepted ballots only grow, also over
        restarts
    Q5  in a record with masters the master's epoch never goes back and each has one master
    Q7  a record is buried only where its deletion was committed; who has seen that it is deleted
        sees nothing else afterwards (run.py)
    Q8  in the end, those who care for a record have replaced all its lost members (run.py)

Q6 of the plan (a task has one committed output) is Q5 together with Q1: the ledger's value is the
payload of a lease.
"""

from __future__ import annotations

from collections.abc import Iterable

from map_reduce.core.identifiers import Member
from map_reduce.core.messages import Message
from map_reduce.core.messages.records import (
    NO_BALLOT,
    AcceptRecord,
    Ballot,
    Config,
    PrepareRecord,
    RecordAccepted,
    RecordHeld,
    RecordState,
    Replica,
)
from map_reduce.core.registers.acceptor import Held
from map_reduce.core.registers.birth import Record
from map_reduce.core.registers.lease import Lease
from map_reduce.core.registers.quorums import is_quorum, members_of


class Violation(Exception):
    """An invariant does not hold."""


def builds_on(later: RecordState, earlier: RecordState) -> bool:
    """Whether one committed state comes from another by changes, as far as its writers tell."""
    since = later.version - earlier.version
    writer = earlier.writers[-1] if earlier.writers else NO_BALLOT
    same = since >= len(later.writers) or later.writers[-1 - since] == writer
    return since >= 0 and later.epoch >= earlier.epoch and (not earlier.version or same)


class Judge:
    """Watches the replicas of one record.

    Args:
        strict: check Q2 to Q5. Without, only the bookkeeping is done, for those who want to see
            what a broken protocol does to histories.
    """

    def __init__(self, record: Record, *, strict: bool, leases: bool) -> None:
        self._strict = strict
        self._leases = leases
        self._states: dict[Ballot, RecordState] = {}
        self._votes: dict[Ballot, set[Replica]] = {}
        self._committed: set[Ballot] = {NO_BALLOT}
        self._configs: dict[int, tuple[Config, ...]] = {}
        self._masters: dict[int, Member | None] = {0: None}
        self._said: dict[Replica, tuple[Ballot, Ballot]] = {}
        self.writers: dict[int, Ballot] = {}  # of each committed version
        self.latest = (NO_BALLOT, record.at_birth)
        self.checks = 0

    def heard(self, replica: Replica, held: Held) -> None:
        """A replica is about to handle a message, knowing this (Q4)."""
        if not self._strict:
            return
        promised, accepted = self._said.get(replica, (NO_BALLOT, NO_BALLOT))
        if held.buried_s:
            return
        if held.promised < promised or held.accepted < accepted:
            raise Violation(f"Q4: {replica} promised {promised} and has forgotten it")

    def buries(self, replica: Replica) -> None:
        """A replica is about to remember nothing but that the record was deleted (Q7)."""
        if self._strict and not self.latest[1].deleted:
            raise Violation(f"Q7: {replica} buries a record that is not deleted")

    def said(self, replica: Replica, request: Message, reply: Message) -> None:
        """A replica's reply leaves it."""
        self.checks += 1
        if isinstance(reply, RecordHeld) and isinstance(request, PrepareRecord):
            self._vouch(replica, request.ballot, reply.accepted)
        elif isinstance(reply, RecordAccepted) and isinstance(request, AcceptRecord):
            self._vouch(replica, request.ballot, request.ballot)
            self._accepted(replica, request.ballot, request.state)

    def recoverable(self, held: Iterable[Held], alive: set[Replica]) -> bool:
        """Whether nothing that a proposer may come upon lacks a majority of live replicas."""
        ballot, state = self.latest
        later = [one.state for one in held if one.state and one.accepted >= ballot]
        configs = [config for one in [state, *later] for config in one.configs]
        return is_quorum(alive, configs)

    def members(self, held: Iterable[Held]) -> Config:
        """Whoever may have to be asked."""
        states = [self.latest[1], *(one.state for one in held if one.state)]
        return members_of([config for state in states for config in state.configs])

    def _vouch(self, replica: Replica, promised: Ballot, accepted: Ballot) -> None:
        before = self._said.get(replica, (NO_BALLOT, NO_BALLOT))
        self._said[replica] = (max(before[0], promised), max(before[1], accepted))

    def _accepted(self, replica: Replica, ballot: Ballot, state: RecordState) -> None:
        known = self._states.setdefault(ballot, state)
        if self._strict and known != state:
            raise Violation(f"Q2: at {ballot}, both {known} and {state} were accepted")
        votes = self._votes.setdefault(ballot, set())
        if not votes and self._strict:
            self._check_epoch(state)
        votes.add(replica)
        if ballot not in self._committed and is_quorum(votes, state.configs):
            self._committed.add(ballot)
            self._commit(ballot, state)

    def _check_epoch(self, state: RecordState) -> None:
        """Q3, of a state that was accepted for the first time."""
        if state.epoch == 0 or state.epoch in self._configs:
            return
        before = self._configs.get(state.epoch - 1)
        if before is None:
            raise Violation(f"Q3: epoch {state.epoch} begins before the one before is committed")
        joint = len(state.configs) == 2
        if joint != bool(state.epoch % 2) or state.configs[0] != before[-1]:
            raise Violation(f"Q3: epoch {state.epoch} does not follow from the one before")

    def _commit(self, ballot: Ballot, state: RecordState) -> None:
        if self._strict:
            if self._configs.setdefault(state.epoch, state.configs) != state.configs:
                raise Violation(f"Q3: epoch {state.epoch} was committed with two configurations")
            self._check_order(ballot, state)
        for since, writer in enumerate(reversed(state.writers)):
            self.writers[state.version - since] = writer
        if ballot > self.latest[0]:
            self.latest = ballot, state

    def _check_order(self, ballot: Ballot, state: RecordState) -> None:
        """Q2 and Q5, of a state that was just committed."""
        earlier, later = sorted([self.latest, (ballot, state)], key=lambda one: one[0])
        if not builds_on(later[1], earlier[1]):
            raise Violation(f"Q2: {later} was committed after {earlier} and does not build on it")
        if self._leases:
            old, new = Lease.decode(earlier[1].value), Lease.decode(later[1].value)
            if new.epoch < old.epoch or self._masters.setdefault(new.epoch, new.master) != (
                new.master
            ):
                raise Violation(f"Q5: after {old} came {new}")
