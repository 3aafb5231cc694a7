"""Keeps the copies of blocks where they belong: drives a BlockKeeper (``core/repair``).

One thread takes a step now and then, and hands over at the end. The keeper is shared with
handlers, under the lock of its inventory, which is held for one step of a procedure at a time and
not while bytes are moved or a peer is asked.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import msgspec

from map_reduce.core import names
from map_reduce.core.blocks.effects import (
    Allow,
    BlockProcedure,
    Discard,
    Effect,
    End,
    Keep,
    Load,
    T,
    Verify,
    Wait,
)
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import (
    BULK,
    BlockRef,
    CompareArc,
    DamagedBlock,
    EndedJob,
    GetArcs,
    Message,
    No,
    PutPiece,
    WhichMissing,
)
from map_reduce.core.procedure import Ask, perform
from map_reduce.core.repair.deletions import JOBS_MAX
from map_reduce.core.repair.keeper import BlockKeeper
from map_reduce.errors import BlockMissingError, Refused, Unreachable
from map_reduce.ports import BlockStore, Clock, EndedJobs
from map_reduce.runtime.live_inventory import LiveInventory
from map_reduce.runtime.pace import Pace
from map_reduce.runtime.peers import Peers

log = logging.getLogger(__name__)

PIECE_TIMEOUT_S = 4.0
"""Less than a closing node waits for a thread."""

View = Callable[[], tuple[Member | None, tuple[Member, ...]]]
"""This node's predecessor and successors now."""


class RepairPace(msgspec.Struct, frozen=True):
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
        ended_jobs: where the jobs that were deleted here are remembered over a restart.
        deleted_jobs_max: of which so many are remembered.
        changed: called with the name of each block that comes or goes; must return at once.
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
        ended_jobs: EndedJobs | None = None,
        deleted_jobs_max: int = JOBS_MAX,
        changed: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._peers = peers
        self._ended_jobs = ended_jobs
        self._store = store
        self._pace = pace
        self._end_job = end_job
        self._bytes = Pace(pace.bytes_per_s_max, clock)
        self._stop = threading.Event()
        self._inventory = LiveInventory(store, changed)
        self._keeper = BlockKeeper(
            peers.member,
            view,
            self._inventory.value,
            now_s=clock.now_s,
            deleted_jobs_max=deleted_jobs_max,
            replicas=replicas,
            settle_s=pace.settle_s,
            interval_s=pace.interval_s,
            unchecked=[ref.name for ref in store.refs()],
        )
        for job, age_s in ended_jobs.known() if ended_jobs is not None else ():
            self._keeper.ended(job, age_s)
        self.bytes_moved = 0

    # ------------------------------------------------------------------ for handlers

    def handle(self, message: CompareArc | GetArcs | WhichMissing | DamagedBlock) -> Message:
        with self._inventory:
            return self._keeper.handle(message)

    def is_over(self, job_id: str) -> bool:
        """Whether this node was told that the job has ended."""
        return self._keeper.deletions.of(names.functions(job_id)) is not None

    def is_forgotten(self, job_id: str) -> bool:
        """Whether this node was told that nobody needs anything of the job any more."""
        return self._keeper.deletions.of(names.specification(job_id)) is not None

    def refuses(self, ref: BlockRef) -> No | None:
        """Why a block is not to be stored, if it is not."""
        with self._inventory:
            return self._keeper.admit(ref)

    def ended(self, ended: EndedJob) -> None:
        """A job has ended: let none of its blocks come back, and delete them."""
        with self._inventory:
            news = self._keeper.ended(ended)
        self._end(ended, news=news)

    # ------------------------------------------------------------------ the thread

    def step(self) -> None:
        """See to what is due. Called by one thread."""
        looked, mended, unmended = self._perform(self._keeper.step())
        if self._stop.is_set():
            return  # then nothing went wrong: it was stopped
        for text in mended:
            log.info(text)
        for text in unmended:
            log.warning(text)
        if looked is not None and looked.problems:
            log.info("repair is to be tried again: %s", "; ".join(looked.problems[:5]))

    def stop(self) -> None:
        """Let a step that runs end soon."""
        self._stop.set()

    def hand_over(self) -> None:
        """Give what is here to those who will be in the groups without this node, within
        ``handover_s_max``. To be called after the last step."""
        self._stop.clear()
        problems = self._perform(self._keeper.hand_over(self._pace.handover_s_max))
        if problems:
            texts = "; ".join(problems[:5])
            log.info("%s leaves without having handed over all: %s", self._peers.member, texts)

    # ------------------------------------------------------------------ effects

    def _perform(self, procedure: BlockProcedure[T]) -> T:
        return perform(procedure, self._carry_out, self._inventory)

    def _carry_out(self, effect: Effect) -> object:
        match effect:
            case Ask():
                return self._ask(effect)
            case Allow(size_bytes):
                self._before_end()
                if not self._keeper.leaving:  # who leaves is in a hurry, others keep pace
                    self._bytes.wait(size_bytes, self._stop)
                return None
            case Load(ref, offset, length_bytes):
                return self._load(ref, offset, length_bytes)
            case Keep(ref, offset, data):
                return self._keep(ref, offset, data)
            case Verify(name):
                return self._store.verify(name)
            case Discard(ref):
                self._store.discard(ref.name)
                return None
            case End(job):
                self._end(job, news=True)
                return None
            case Wait(seconds):
                return self._stop.wait(seconds)
        raise AssertionError(f"{effect} is not asked for in repair")

    def _ask(self, ask: Ask) -> Message:
        self._before_end()
        reply = self._peers.ask(ask, PIECE_TIMEOUT_S if isinstance(ask.message, BULK) else None)
        if isinstance(ask.message, PutPiece):
            self.bytes_moved += len(ask.message.data)
        return reply

    def _end(self, job: EndedJob, *, news: bool) -> None:
        if news and self._ended_jobs is not None:
            try:
                self._ended_jobs.add(job)
            except OSError as error:
                log.warning("the end of job %s was not written down: %s", job.job_id, error)
        self._end_job(job.job_id, job.blocks)

    def _load(self, ref: BlockRef, offset: int, length_bytes: int) -> bytes:
        try:
            return self._store.read(ref.name, offset, length_bytes)[0]
        except OSError as error:
            raise BlockMissingError(f"block {ref.name} cannot be read: {error}") from error

    def _keep(self, ref: BlockRef, offset: int, data: bytes) -> bool:
        try:
            whole = self._store.put_piece(ref, offset, data)
        except OSError as error:
            raise Refused(f"block {ref.name} could not be kept here: {error}") from error
        self.bytes_moved += len(data)
        return whole

    def _before_end(self) -> None:
        if self._stop.is_set():
            raise Unreachable("this node stops")
