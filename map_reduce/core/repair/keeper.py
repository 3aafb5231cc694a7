"""One member's part in keeping blocks where they belong.

    handlers ──▶ handle, admit, ended        answered at once
    step         check some blocks; if it is time, look:
                     the first rule (arc.py)      tell who ended, fetch, send
                     the second (strays.py)       end, discard, send
    hand_over    the third rule, when the member leaves

Whoever drives it holds one lock around each step and each answer, and none while an effect is
carried out. There is one step, or one hand-over, at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple

from map_reduce.core.blocks.copying import fetch, send
from map_reduce.core.blocks.effects import (
    Allow,
    BlockProcedure,
    Discard,
    Effect,
    End,
    T,
    Verify,
    Wait,
    request,
)
from map_reduce.core.chord.lookup import lookup
from map_reduce.core.digests import PIECE_BYTES
from map_reduce.core.identifiers import Member, identifier_of
from map_reduce.core.messages import (
    BlockRef,
    CompareArc,
    DamagedBlock,
    Done,
    EndedJob,
    EndJob,
    GetArcs,
    Message,
    No,
    WhichMissing,
)
from map_reduce.core.procedure import Ask
from map_reduce.core.repair.arc import ArcPlan, Send, plan_arc
from map_reduce.core.repair.checks import ROUND_S, Checks
from map_reduce.core.repair.compare import answer_comparison
from map_reduce.core.repair.deletions import JOBS_MAX, Deletions
from map_reduce.core.repair.health import answer_summaries
from map_reduce.core.repair.inventory import Arc, Inventory
from map_reduce.core.repair.strays import (
    StrayPlan,
    answer_missing,
    missing_at,
    plan_leave,
    plan_strays,
)
from map_reduce.core.repair.times import LookTimes, Place
from map_reduce.errors import BlockMissingError, ClusterError, Refused, Unreachable

CHECK_S = 0.5
"""How long one step checks blocks before it sees to everything else."""

OFFERED_MAX = 64
"""Blocks offered at a time."""

HANDOVERS_MAX = 6
"""Times that a member which leaves looks for what is still to be handed over."""


class Looked(NamedTuple):
    """What came of a look: whether there was something to do, and why it was not all."""

    busy: bool
    problems: tuple[str, ...]


class Step(NamedTuple):
    """What came of a step: the look, if there was one; and the damaged blocks of which another
    copy was fetched, or could not be."""

    looked: Looked | None
    mended: tuple[str, ...]
    unmended: tuple[str, ...]


class BlockKeeper:
    """See the module's text.

    Args:
        place: what the member knows of its place in the ring now.
        inventory: what it holds; brought up to date by whoever drives it, before each step.
        unchecked: names of blocks that were found and are to be checked.
        settle_s, interval_s: as in ``times.py``.
        round_s: as in ``checks.py``.
    """

    def __init__(
        self,
        me: Member,
        place: Callable[[], Place],
        inventory: Inventory,
        *,
        now_s: Callable[[], float],
        replicas: int,
        settle_s: float,
        interval_s: float,
        unchecked: Iterable[str] = (),
        round_s: float = ROUND_S,
        piece_bytes: int = PIECE_BYTES,
        deleted_jobs_max: int = JOBS_MAX,
    ) -> None:
        self.me = me
        self._place = place
        self._inventory = inventory
        self._now_s = now_s
        self._replicas = replicas
        self._settle_s = settle_s
        self._piece_bytes = piece_bytes
        self._times = LookTimes(settle_s, interval_s, place(), now_s())
        self._checks = Checks(unchecked, now_s(), round_s)
        self.deletions = Deletions(now_s, deleted_jobs_max)
        self._surplus: set[str] = set()  # see strays.py
        self.leaving = False
        self._gone = False

    # -------------------------------------------------------------- what it answers

    def handle(self, message: CompareArc | GetArcs | WhichMissing | DamagedBlock) -> Message:
        """Answer at once."""
        if isinstance(message, DamagedBlock):
            self._checks.suspect(message.ref.name)
            return Done()
        if isinstance(message, GetArcs):
            return answer_summaries(self._inventory, message)
        if self.leaving:
            return No(f"{self.me} is leaving the ring")
        if isinstance(message, CompareArc):
            return answer_comparison(self._inventory, message)
        reply = answer_missing(self._inventory, self.deletions, self._surplus, message)
        if reply.missing:
            self._times.soon(self._now_s())  # somebody is about to bring them
        return reply

    def admit(self, ref: BlockRef) -> No | None:
        """Why a block is not to be stored here, if it is not."""
        if self.deletions.of(ref.name) is not None:
            return No(f"the job of block {ref.name} has ended, and its blocks were deleted")
        held = self._inventory.named(ref.name)
        if held is not None and held != ref:
            return No(f"{self.me} has other bytes under the name {ref.name}")
        if self._gone:
            return No(f"{self.me} has handed over its blocks and is leaving the ring")
        return None

    def ended(self, job: EndedJob, age_s: float = 0.0) -> bool:
        """A job has ended, so many seconds ago: let none of its blocks come back. Whether that
        is news."""
        return self.deletions.note(job, age_s)

    # -------------------------------------------------------------- now and then

    def step(self) -> BlockProcedure[Step]:
        """See to what is due."""
        mended, unmended = yield from self._check_blocks()
        looked = None
        place = self._place()
        if self._times.due(place, self._now_s()):
            looked = yield from self._look(*place)
            failed = bool(looked.problems)
            self._times.ended(busy=looked.busy, failed=failed, now_s=self._now_s())
        return Step(looked, mended, unmended)

    def _look(
        self, predecessor: Member | None, successors: Sequence[Member]
    ) -> BlockProcedure[Looked]:
        """Carry out the first two rules."""
        if predecessor is None or not successors:
            return Looked(False, ("this node's place in the ring is not known yet",))
        arc = yield from self._plan_arc(predecessor, successors)
        problems = [*arc.problems]
        for peer, job in arc.tell:
            told = request(Ask(peer, EndJob(job.job_id, job.blocks)), Done)
            yield from _noting(problems, told)
        silent: set[Member] = set()
        for ref, sources in arc.fetches:
            fetched = fetch(ref, sources, silent, piece_bytes=self._piece_bytes)
            yield from _noting(problems, fetched)
        problems += yield from self._send(arc.sends)
        try:
            strays = yield from self._plan_strays()
            for ref in strays.discards:
                yield Discard(ref)
        finally:
            self._surplus.clear()
        problems += strays.problems
        for job in strays.ended:
            yield from self._end(job)
        problems += yield from self._send(strays.sends)
        busy = arc.tell or arc.fetches or arc.sends or strays.ended or strays.sends
        return Looked(bool(busy), tuple(problems))

    def _plan_arc(
        self, predecessor: Member, successors: Sequence[Member]
    ) -> BlockProcedure[ArcPlan]:
        return plan_arc(
            self.me,
            predecessor,
            successors,
            self._inventory,
            self.deletions,
            replicas=self._replicas,
        )

    def _plan_strays(self) -> BlockProcedure[StrayPlan]:
        return plan_strays(
            self.me, self._inventory, self.deletions, self._surplus, replicas=self._replicas
        )

    def _end(self, job: EndedJob) -> BlockProcedure[None]:
        self.ended(job)
        yield End(job)

    def _send(self, sends: Sequence[Send]) -> BlockProcedure[list[str]]:
        """Offer blocks, and send what is wanted, about in their order; problems."""
        problems: list[str] = []
        silent: set[Member] = set()
        for offered in _batches(sends, OFFERED_MAX):
            by_peer = sorted(offered, key=lambda send: send.peer)
            for peer, group in groupby(by_peer, key=lambda send: send.peer):
                if peer in silent:
                    continue
                try:
                    yield from self._send_to(peer, [send.ref for send in group])
                except ClusterError as error:
                    silent.add(peer)
                    problems.append(str(error))
        return problems

    def _send_to(self, peer: Member, refs: Sequence[BlockRef]) -> BlockProcedure[None]:
        missing = yield from missing_at(peer, refs)
        for job in missing.ended:
            yield from self._end(job)
        for ref in refs:
            if ref not in missing.refs or self._inventory.named(ref.name) != ref:
                continue
            try:
                yield from send(ref, peer, piece_bytes=self._piece_bytes)
            except BlockMissingError:
                self._checks.suspect(ref.name)
            except Refused:
                self._checks.suspect(ref.name)  # perhaps what was sent is damaged
                raise

    # -------------------------------------------------------------- damage

    def _check_blocks(self) -> BlockProcedure[tuple[tuple[str, ...], tuple[str, ...]]]:
        until_s = self._now_s() + CHECK_S
        mended: list[str] = []
        unmended: list[str] = []
        while (name := self._checks.next(self._names, self._now_s())) is not None:
            ref = self._inventory.named(name)
            try:
                yield Allow(0 if ref is None else ref.size_bytes)
            except ClusterError:
                break  # no more bytes are to be read
            damaged: BlockRef | None = yield Verify(name)
            if damaged is not None:
                problem = yield from self._replace(damaged)
                text = f"the damaged block {name}"
                if problem is None:
                    mended.append(f"{text} was fetched anew")
                else:
                    unmended.append(f"{text} could not be fetched anew: {problem}")
                    self._times.soon(self._now_s())
            if self._now_s() >= until_s:
                break
        return tuple(mended), tuple(unmended)

    def _names(self) -> list[str]:
        whole_ring = Arc(self.me.identifier, self.me.identifier)
        return [ref.name for ref in self._inventory.refs(whole_ring)]

    def _replace(self, ref: BlockRef) -> BlockProcedure[str | None]:
        """Fetch anew what was damaged here; why that was not possible."""
        try:
            line = yield from lookup(identifier_of(ref.name), [self.me])
            others = [member for member in line if member != self.me]
            yield from fetch(ref, others, set(), piece_bytes=self._piece_bytes)
        except ClusterError as error:
            return str(error)
        return None

    # -------------------------------------------------------------- leaving

    def hand_over(self, seconds_max: float) -> BlockProcedure[tuple[str, ...]]:
        """Give what is here to those who will be in the groups without this member; why that was
        not all. Ends in time, and at once where all others are leaving too. From now on the
        member takes no part in repair; and no more blocks, once it has given away what it had.
        """
        problems: tuple[str, ...] = ()
        if not self._is_alone():
            self.leaving = True
            end_s = self._now_s() + seconds_max
            why = f"time is over: {seconds_max:g} s"
            problems = yield from _until(end_s, self._now_s, why, self._hand_over())
        self._gone = True
        return problems

    def _is_alone(self) -> bool:
        return self._place()[1] in ((), (self.me,))

    def _hand_over(self) -> BlockProcedure[tuple[str, ...]]:
        problems: list[str] = []
        everything = Arc(self.me.identifier, self.me.identifier)
        for _ in range(HANDOVERS_MAX):  # again for what came meanwhile, or found no settled place
            held = self._inventory.digest(everything)
            plan = yield from plan_leave(self.me, self._inventory, replicas=self._replicas)
            for job in plan.ended:
                yield from self._end(job)
            problems = [*plan.problems, *(yield from self._send(plan.sends))]
            unchanged = held == self._inventory.digest(everything)
            if not plan.waiting_helps or (unchanged and not (plan.sends or problems)):
                break
            if problems:
                try:
                    yield Wait(self._settle_s / 2)
                except ClusterError:
                    break  # time is over
                if self._is_alone():
                    break
        return tuple(problems)


def _noting(problems: list[str], procedure: BlockProcedure[object]) -> BlockProcedure[None]:
    try:
        yield from procedure
    except ClusterError as error:
        problems.append(str(error))


def _until(
    end_s: float, now_s: Callable[[], float], why: str, procedure: BlockProcedure[T]
) -> BlockProcedure[T]:
    """Let the procedure ask, wait and move bytes until then; after that all of it fails."""
    try:
        effect: Effect = next(procedure)
        while True:
            try:
                if now_s() >= end_s and isinstance(effect, Ask | Allow | Wait):
                    raise Unreachable(why)
                answer: object = yield effect
            except ClusterError as error:
                effect = procedure.throw(error)
            else:
                effect = procedure.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


def _batches(sends: Sequence[Send], count: int) -> Iterator[list[Send]]:
    waiting = iter(sends)
    while batch := [*islice(waiting, count)]:
        yield batch
