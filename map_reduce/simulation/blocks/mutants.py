"""The block layer with one rule taken out.

A judge that cannot fail proves nothing: for each of these, the tests show that it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from map_reduce.core.blocks.copying import send
from map_reduce.core.blocks.effects import BlockProcedure, Keep, request
from map_reduce.core.blocks.reading import read
from map_reduce.core.blocks.writing import Stored, store
from map_reduce.core.chord.lookup import lookup
from map_reduce.core.chord.replication import majority, replica_group
from map_reduce.core.identifiers import Member, identifier_of
from map_reduce.core.messages import (
    BlockRef,
    CompareArc,
    DamagedBlock,
    EndedJob,
    GetArcs,
    GetPiece,
    Message,
    No,
    NoBlock,
    Piece,
    WhichMissing,
)
from map_reduce.core.procedure import Ask
from map_reduce.core.repair.arc import ArcPlan
from map_reduce.core.repair.keeper import BlockKeeper, Step
from map_reduce.core.repair.strays import StrayPlan, plan_strays
from map_reduce.errors import BlockMissingError, ClusterError, Unreachable


def store_once(
    ref: BlockRef,
    line: Sequence[Member],
    *,
    replicas: int,
    me: Member | None = None,
    piece_bytes: int,
) -> BlockProcedure[Stored]:
    """Acknowledged with the first copy."""
    group = replica_group(line, replicas)
    for member in group:
        try:
            yield from send(ref, member, piece_bytes=piece_bytes)
        except ClusterError:
            continue
        return Stored(group, (member,))
    raise Unreachable("nobody takes it")


def read_unchecked(
    ref: BlockRef, line: Sequence[Member], *, piece_bytes: int
) -> BlockProcedure[None]:
    """The first bytes that come are good enough."""
    for source in line:
        for offset in range(0, max(ref.size_bytes, 1), piece_bytes):
            try:
                ask = Ask(source, GetPiece(ref.name, offset, piece_bytes))
                reply = yield from request(ask, Piece, NoBlock)
            except ClusterError:
                break
            if isinstance(reply, NoBlock):
                break
            yield Keep(ref, offset, reply.data)
        else:
            return
    raise BlockMissingError("nobody has it")


class NeverRepairs(BlockKeeper):
    """Copies that are missing stay so."""

    def step(self) -> BlockProcedure[Step]:
        mended, unmended = yield from self._check_blocks()
        return Step(None, mended, unmended)


class KeepsStrays(BlockKeeper):
    """What is no business of this member's stays here."""

    def _plan_strays(self) -> BlockProcedure[StrayPlan]:
        yield from ()
        return StrayPlan((), (), (), ())


class OnlyGives(BlockKeeper):
    """An owner does not fetch what it lacks."""

    def _plan_arc(
        self, predecessor: Member, successors: Sequence[Member]
    ) -> BlockProcedure[ArcPlan]:
        plan = yield from super()._plan_arc(predecessor, successors)
        lacking = {fetch.ref for fetch in plan.fetches}
        sends = tuple(send for send in plan.sends if send.ref not in lacking)
        return plan._replace(fetches=(), sends=sends)


class DeletesEarly(BlockKeeper):
    """A copy is too many as soon as a majority of the group has the block."""

    def _plan_strays(self) -> BlockProcedure[StrayPlan]:
        plan = yield from super()._plan_strays()
        few = yield from plan_strays(
            self.me, self._inventory, self.deletions, set(), replicas=majority(self._replicas)
        )
        early = []
        for ref in few.discards:
            try:
                line = yield from lookup(identifier_of(ref.name), [self.me])
            except ClusterError:
                continue
            if self.me not in replica_group(line, self._replicas):
                early.append(ref)
        return plan._replace(discards=tuple(dict.fromkeys((*plan.discards, *early))))


class MarksNothing(BlockKeeper):
    """A member counts its copy to others while it is about to delete it."""

    def handle(self, message: CompareArc | GetArcs | WhichMissing | DamagedBlock) -> Message:
        surplus, self._surplus = self._surplus, set()
        reply = super().handle(message)
        self._surplus = surplus
        return reply


class Forgets(BlockKeeper):
    """What was deleted is not remembered."""

    def ended(self, job: EndedJob, age_s: float = 0.0) -> bool:
        return True


class NeverChecks(BlockKeeper):
    """Nobody reads what the disk has."""

    def _check_blocks(self) -> BlockProcedure[tuple[tuple[str, ...], tuple[str, ...]]]:
        yield from ()
        return (), ()


class LeavesAtOnce(BlockKeeper):
    """A member that leaves hands nothing over."""

    def _hand_over(self) -> BlockProcedure[tuple[str, ...]]:
        yield from ()
        return ()


class TakesToTheEnd(BlockKeeper):
    """A member that has handed over what it had takes more."""

    def admit(self, ref: BlockRef) -> No | None:
        gone, self._gone = self._gone, False
        refusal = super().admit(ref)
        self._gone = gone
        return refusal


@dataclass(frozen=True)
class Mutant:
    """What is used in place of the production's. The flags concern nodes: ``checks``, whether a
    store checks what it receives; ``keeps_first``, whether it has it when it says so."""

    keeper: type[BlockKeeper] = BlockKeeper
    store: Callable[..., Any] = store
    read: Callable[..., Any] = read
    checks: bool = True
    keeps_first: bool = True


FAITHFUL = Mutant()

MUTANTS = {
    "acknowledge-one-copy": Mutant(store=store_once),
    "acknowledge-before-keeping": Mutant(keeps_first=False),
    "read-unchecked": Mutant(read=read_unchecked),
    "keep-unchecked": Mutant(checks=False),
    "never-repair": Mutant(NeverRepairs),
    "keep-strays": Mutant(KeepsStrays),
    "never-fetch": Mutant(OnlyGives),
    "delete-early": Mutant(DeletesEarly),
    "mark-nothing": Mutant(MarksNothing),
    "forget-deletions": Mutant(Forgets),
    "never-check-disks": Mutant(NeverChecks),
    "leave-without-hand-over": Mutant(LeavesAtOnce),
    "take-after-hand-over": Mutant(TakesToTheEnd),
}
"""By the names that the command line takes."""
