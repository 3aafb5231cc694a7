"""Keeps the copies of blocks where they belong (the rules: ``core/repair``).

One thread looks after any change of this node's neighbours, once they have been the same for
``settle_s``, and every ``interval_s`` otherwise; soon again where it found something to do, or
was offered a block that it lacked, and later and later where somebody did not answer. The same
thread checks blocks: those that a lasting folder held when the node started, and those that a
reader found damaged. What is damaged is fetched anew from the other copies.

Handlers only note what is to be done.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice

from map_reduce.core.chord.lookup import lookup
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
from map_reduce.core.procedure import Ask, Procedure, T, perform
from map_reduce.core.repair.arc import Send, plan_arc
from map_reduce.core.repair.compare import answer_comparison
from map_reduce.core.repair.deletions import Deletions
from map_reduce.core.repair.health import answer_summaries
from map_reduce.core.repair.strays import answer_missing, missing_at, plan_leave, plan_strays
from map_reduce.errors import BlockMissingError, ClusterError, Refused, Unreachable
from map_reduce.ports import BlockStore, Clock
from map_reduce.runtime.copies import Copies
from map_reduce.runtime.live_inventory import LiveInventory
from map_reduce.runtime.pace import Pace
from map_reduce.runtime.peers import Peers

log = logging.getLogger(__name__)

SUSPECTS_MAX = 10_000
"""Damaged blocks that wait to be looked at; of more, readers will tell again."""

CHECK_S = 0.5
"""How long one step checks blocks before it sees to everything else."""

OFFERED_MAX = 64
"""Blocks offered at a time."""

HANDOVERS_MAX = 6
"""Times that a node which leaves looks for what is still to be handed over."""

UNSETTLED_MAX = 10
"""Times ``settle_s`` after which neighbours that go on changing are not waited for."""

View = Callable[[], tuple[Member | None, tuple[Member, ...]]]
"""This node's predecessor and successors now."""


@dataclass(frozen=True)
class RepairPace:
    """How often and how fast.

    Args:
        settle_s: how long the neighbours must have been the same.
        interval_s: between two looks while nothing happens.
        bytes_per_s_max: moved, and read for checking.
        handover_s_max: how long leaving may take.
    """

    settle_s: float
    interval_s: float
    bytes_per_s_max: float
    handover_s_max: float


class Repair:
    """See the module's text.

    Args:
        end_job: stops a job on this node and deletes its blocks; all of them where the second
            argument is true.
    """

    def __init__(
        self,
        *,
        peers: Peers,
        view: View,
        store: BlockStore,
        clock: Clock,
        replicas: int,
        pace: RepairPace,
        end_job: Callable[[str, bool], object],
    ) -> None:
        self._peers = peers
        self._view = view
        self._store = store
        self._clock = clock
        self._replicas = replicas
        self._pace = pace
        self._end_job = end_job
        self._bytes = Pace(pace.bytes_per_s_max, clock)
        self._stop = threading.Event()
        self._copies = Copies(peers, store, self._allow)
        self._lock = threading.Lock()
        self._deletions = Deletions(clock.now_s)
        self._inventory = LiveInventory(store)
        self._unchecked = deque(ref.name for ref in store.refs())
        self._suspects: dict[str, None] = {}
        self._leaving = False
        self._end_s = float("inf")
        self._seen = view()
        self._changed_s = clock.now_s()
        self._next_s = clock.now_s() + pace.settle_s
        self._failures = 0
        self.counts = self._copies.counts

    # ------------------------------------------------------------------ for handlers

    def compare(self, message: CompareArc) -> Message:
        if (refusal := self._refusal()) is not None:
            return refusal
        with self._inventory as inventory:
            return answer_comparison(inventory, message)

    def summaries(self, message: GetArcs) -> Message:
        with self._inventory as inventory:
            return answer_summaries(inventory, message)

    def missing(self, message: WhichMissing) -> Message:
        """Which of the blocks this node lacks. Somebody is about to bring them: look soon."""
        if (refusal := self._refusal()) is not None:
            return refusal
        with self._inventory as inventory:
            reply = answer_missing(inventory, self._deletions, message)
        if reply.missing:
            self._look_soon()
        return reply

    def damaged(self, message: DamagedBlock) -> Message:
        self._suspect(message.ref.name)
        return Done()

    def ended(self, ended: EndedJob) -> None:
        """A job has ended: let none of its blocks come back, and delete them."""
        with self._lock:
            self._deletions.note(ended)
        self._end_job(ended.job_id, ended.blocks)

    def refuses(self, ref: BlockRef) -> No | None:
        """Why a block is not to be stored, if it is not."""
        if self._deletions.of(ref.name) is None:
            return None
        return No(f"the job of block {ref.name} has ended, and its blocks were deleted")

    def _refusal(self) -> No | None:
        return No(f"{self._peers.member} is leaving the ring") if self._leaving else None

    def _suspect(self, name: str) -> None:
        with self._lock:
            if len(self._suspects) < SUSPECTS_MAX:
                self._suspects[name] = None

    def _look_soon(self) -> None:
        with self._lock:
            self._next_s = min(self._next_s, self._clock.now_s() + self._pace.settle_s)

    # ------------------------------------------------------------------ the thread

    def step(self) -> None:
        """See to what is due. Called by one thread."""
        self._check_blocks()
        now_s = self._clock.now_s()
        view = self._view()
        with self._lock:
            if view != self._seen:
                if self._next_s > now_s + self._pace.settle_s:
                    self._changed_s = now_s  # the first of several changes
                self._seen = view
                latest_s = self._changed_s + UNSETTLED_MAX * self._pace.settle_s
                self._next_s = min(now_s + self._pace.settle_s, max(now_s, latest_s))
            if now_s < self._next_s:
                return
            self._next_s = now_s + self._pace.interval_s  # if nothing asks for it sooner
        busy, problems = self._look(*view)
        if self._stop.is_set():
            return
        self._failures = self._failures + 1 if problems else 0
        if problems:
            log.info("repair is to be tried again: %s", "; ".join(problems[:5]))
            wait_s = self._pace.settle_s * 2.0 ** min(self._failures, 20)
        else:
            wait_s = self._pace.settle_s if busy else self._pace.interval_s
        with self._lock:
            soon_s = self._clock.now_s() + min(wait_s, self._pace.interval_s)
            self._next_s = min(self._next_s, soon_s)

    def stop(self) -> None:
        """Let a step that runs end soon."""
        self._stop.set()

    def _look(
        self, predecessor: Member | None, successors: Sequence[Member]
    ) -> tuple[bool, list[str]]:
        """Carry out the first two rules: whether there was something to do, and problems."""
        if predecessor is None or not successors:
            return False, ["this node's place in the ring is not known yet"]
        me, replicas = self._peers.member, self._replicas
        inventory, deletions = self._inventory.value, self._deletions
        arc = self._perform(
            plan_arc(me, predecessor, successors, inventory, deletions, replicas=replicas)
        )
        problems = [*arc.problems]
        for peer, ended in arc.tell:
            with _noting(problems):
                self._peers.request(peer.address, EndJob(ended.job_id, ended.blocks), Done)
        silent: set[Member] = set()
        for ref, sources in arc.fetches:
            with _noting(problems):
                self._before_end()
                self._copies.fetch(ref, sources, silent)
        problems += self._send(arc.sends)
        strays = self._perform(plan_strays(me, inventory, deletions, replicas=replicas))
        problems += strays.problems
        for ended in strays.ended:
            self.ended(ended)
        for ref in strays.discards:
            self._store.discard(ref.name)
        problems += self._send(strays.sends)
        busy = arc.tell or arc.fetches or arc.sends or strays.ended or strays.sends
        return bool(busy), problems

    def _send(self, sends: Sequence[Send]) -> list[str]:
        """Offer blocks, and send what is wanted, about in their order; problems."""
        problems: list[str] = []
        silent: set[Member] = set()
        for offered in _batches(sends, OFFERED_MAX):
            by_peer = sorted(offered, key=lambda send: send.peer)
            for peer, group in groupby(by_peer, key=lambda send: send.peer):
                if peer in silent:
                    continue
                try:
                    self._send_to(peer, [send.ref for send in group])
                except ClusterError as error:
                    silent.add(peer)
                    problems.append(str(error))
        return problems

    def _send_to(self, peer: Member, refs: Sequence[BlockRef]) -> None:
        missing = self._perform(missing_at(peer, refs))
        for ended in missing.ended:
            self.ended(ended)
        for ref in refs:
            if ref not in missing.refs or self._store.ref_of(ref.name) != ref:
                continue
            try:
                self._copies.send(ref, peer)
            except BlockMissingError:
                self._suspect(ref.name)
            except Refused:
                self._suspect(ref.name)  # perhaps what was sent is damaged
                raise

    # ------------------------------------------------------------------ damage

    def _check_blocks(self) -> None:
        until_s = self._clock.now_s() + CHECK_S
        for name in self._to_check():
            ref = self._store.ref_of(name)
            with _noting([]):  # it raises where this node stops, and then nothing is to be done
                self._allow(0 if ref is None else ref.size_bytes)
                if (lost := self._store.verify(name)) is not None:
                    self._replace(lost)
            if self._stop.is_set() or self._clock.now_s() >= until_s:
                return

    def _to_check(self) -> Iterator[str]:
        while True:
            with self._lock:
                if self._suspects:
                    name = next(iter(self._suspects))
                    del self._suspects[name]
                elif self._unchecked:
                    name = self._unchecked.popleft()
                else:
                    return
            yield name

    def _replace(self, ref: BlockRef) -> None:
        """Fetch anew what was damaged here."""
        me = self._peers.member
        try:
            line = self._perform(lookup(identifier_of(ref.name), [me]))
            self._copies.fetch(ref, [member for member in line if member != me], set())
        except ClusterError as error:
            log.warning("the damaged block %s could not be fetched anew: %s", ref.name, error)
            self._look_soon()
        else:
            log.info("the damaged block %s was fetched anew", ref.name)

    # ------------------------------------------------------------------ leaving

    def hand_over(self) -> None:
        """Give what is here to those who will be in the groups without this node.

        Ends after ``handover_s_max``, and at once where all others are leaving too. Once begun,
        this node takes no part in repair any more. To be called after the last step.
        """
        _, successors = self._view()
        if successors in ((), (self._peers.member,)):
            return
        self._leaving = True
        self._stop.clear()
        self._end_s = self._clock.now_s() + self._pace.handover_s_max
        me = self._peers.member
        problems: list[str] = []
        for _ in range(HANDOVERS_MAX):  # again for what came meanwhile, or found no settled place
            plan = self._perform(plan_leave(me, self._inventory.value, replicas=self._replicas))
            for ended in plan.ended:
                self.ended(ended)
            problems = [*plan.problems, *self._send(plan.sends)]
            if not plan.answered or not (plan.sends or problems):
                break
            if problems:
                self._stop.wait(self._pace.settle_s / 2)
        if problems:
            log.info("%s leaves without having handed over all: %s", me, "; ".join(problems[:5]))

    # ------------------------------------------------------------------ helpers

    def _perform(self, procedure: Procedure[T]) -> T:
        return perform(procedure, self._ask, self._inventory)

    def _ask(self, ask: Ask) -> Message:
        self._before_end()
        return self._peers.ask(ask)

    def _allow(self, size_bytes: int) -> None:
        """Return when so many bytes may be moved: who leaves is in a hurry, others keep pace."""
        self._before_end()
        if not self._leaving:
            self._bytes.wait(size_bytes, self._stop)

    def _before_end(self) -> None:
        if self._stop.is_set():
            raise Unreachable("this node stops")
        if self._clock.now_s() >= self._end_s:
            raise Unreachable(f"time is over: {self._pace.handover_s_max:g} s")


@contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except ClusterError as error:
        problems.append(str(error))


def _batches(sends: Sequence[Send], count: int) -> Iterator[list[Send]]:
    waiting = iter(sends)
    while batch := [*islice(waiting, count)]:
        yield batch
