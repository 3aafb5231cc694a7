"""The protocol with one rule taken out.

A checker that cannot fail proves nothing: for each of these, the tests show that it does.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from map_reduce.core.messages.records import Ballot, Config, RecordState, Replica
from map_reduce.core.registers.birth import Record
from map_reduce.core.registers.procedure import RecordProcedure
from map_reduce.core.registers.proposer import Held, Proposer
from map_reduce.core.registers.quorums import is_quorum, members_of
from map_reduce.errors import Unreachable


class MerelySeen(Proposer):
    """Members are changed on top of what was seen, without an identity write."""

    def _committed(self, record: Record) -> RecordProcedure[RecordState]:
        held: Held = {}
        if (yield from self._collect(record, None, held, ())):
            return self._latest(record, held)[1]
        raise Unreachable(f"record {record.name}: no majority")


class EpochlessBallots(Proposer):
    """Ballots are (number, proposer)."""

    def _next_ballot(self, epoch: int) -> Ballot:
        return super()._next_ballot(0)

    def _is_stale(self, record: Record, ballot: Ballot | None, held: Held) -> bool:
        return False


class MerelySeenEpochless(MerelySeen, EpochlessBallots):
    """Both of them."""


class NewMajorityOnly(Proposer):
    """While members change, a majority of the new ones is enough."""

    def _deciding(self, state: RecordState) -> tuple[Config, ...]:
        return state.configs[-1:]


class UnitedMajority(Proposer):
    """While members change, a majority of all of them together is enough."""

    def _is_quorum(self, agreeing: Collection[Replica], configs: tuple[Config, ...]) -> bool:
        return is_quorum(agreeing, [members_of(configs)])


class CurrentSuccessors(Proposer):
    """A majority of whom this node believes to be around the record's place."""

    view: Config = ()

    def _deciding(self, state: RecordState) -> tuple[Config, ...]:
        return (self.view or state.configs[-1],)


class BackAndForth(Proposer):
    """A change that another left half done is undone instead of finished."""

    def _way_out(self, joint: RecordState) -> tuple[Config, ...]:
        return (joint.configs[0],)


class BlindRetry(Proposer):
    """A change is made again without a look for the first one."""

    def _found_own(
        self, record: Record, mine: dict[Ballot, RecordState], read: RecordState
    ) -> RecordState | None:
        return None


class HastyReader(Proposer):
    """A read believes the latest of what a majority holds, without committing it."""

    def _read(self, record: Record) -> RecordProcedure[RecordState]:
        held: Held = {}
        if (yield from self._collect(record, None, held, ())):
            return self._latest(record, held)[1]
        raise Unreachable(f"record {record.name}: no majority")


@dataclass(frozen=True)
class Mutant:
    """What is wrong. The flags concern the nodes: replies leave before the disk has what they
    say; a node that lost its disk answers as the one it was; a replica whose disk is full goes on
    without it; a tombstone is buried where it was merely seen; what should be buried is forgotten.
    ``drifts`` gives CurrentSuccessors something to look at."""

    proposer: type[Proposer] = Proposer
    replies_first: bool = False
    keeps_identity: bool = False
    goes_on_when_full: bool = False
    buries_unread: bool = False
    forgets: bool = False
    drifts: bool = False


FAITHFUL = Mutant()

MUTANTS = {
    "no-identity-write": Mutant(MerelySeen),
    "no-epoch-in-ballots": Mutant(EpochlessBallots),
    "no-identity-write-and-no-epoch": Mutant(MerelySeenEpochless),
    "new-majority-only": Mutant(NewMajorityOnly),
    "united-majority": Mutant(UnitedMajority),
    "current-successors": Mutant(CurrentSuccessors, drifts=True),
    "undo-half-done-changes": Mutant(BackAndForth),
    "blind-retry": Mutant(BlindRetry),
    "hasty-read": Mutant(HastyReader),
    "reply-before-persist": Mutant(replies_first=True),
    "same-identity-without-disk": Mutant(keeps_identity=True),
    "go-on-with-a-full-disk": Mutant(goes_on_when_full=True),
    "bury-what-is-merely-seen": Mutant(buries_unread=True),
    "forget-tombstones": Mutant(forgets=True),
}
"""By the names that the command line takes."""
