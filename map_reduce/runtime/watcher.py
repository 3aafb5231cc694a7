"""A node's watch over the jobs whose specification it holds (the rules: ``core/jobs/watch.py``).

One loop asks the masters, each of them once in a round for all its jobs; records are read by
other threads, for that may take its time. Handlers answer from what the watcher knows. Of a job
that has ended and whose master is gone, that is what its record says, read when somebody asks.

A job that has ended is deleted everywhere when its time to live is over, by the first watcher whose
turn it is: its master's memory of it may have died with the master.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from map_reduce.core import names
from map_reduce.core.identifiers import Address, Member, distance, identifier_of
from map_reduce.core.jobs.state import JobEnd, JobState, decode_parts
from map_reduce.core.jobs.watch import JobWatch, Step
from map_reduce.core.messages import (
    OVER,
    BlockRef,
    Busy,
    EndJob,
    GetJob,
    JobLine,
    JobsWatched,
    Message,
    NoJob,
    Progress,
    WatchJobs,
)
from map_reduce.core.registers.birth import Birth
from map_reduce.core.registers.lease import Lease, remarked
from map_reduce.errors import ClusterError, MapReduceError
from map_reduce.ports import BlockStore
from map_reduce.runtime.journal import WITHIN_S
from map_reduce.runtime.specification import read_specification
from map_reduce.runtime.surroundings import NO_FIGURES, NO_TALLY, Surroundings, status_of

log = logging.getLogger(__name__)

VIEWS_MAX = 64
"""Ended jobs of which the record is remembered, the latest asked for."""

LINES_MAX = 1000
TTL_STAGGER_S = 5.0
JOBS_PER_QUESTION_MAX = 1000

TakeOver = Callable[[str, BlockRef, int], None]
"""Be the master of a job, after the master of an epoch."""


class _Watched(msgspec.Struct):
    """One job."""

    spec: BlockRef
    watch: JobWatch
    name: str = ""
    result_ttl_s: float = 0.0  # 0: as the node has it
    birth: Birth | None = None  # once the specification was read
    busy: bool = False  # a thread is at it
    ended_s: float | None = None  # when this node learnt of its end
    cancel: str = ""  # to be left in the record
    release: bool = False  # when it has ended
    waiting_for: tuple[Address, ...] = ()
    progress: Progress = msgspec.field(default_factory=Progress)
    note: str = ""  # what happened to this node as its master


class Watcher:
    """See the module's text. Safe to use from many threads.

    Args:
        result_ttl_s: how long an ended job is kept.
    """

    def __init__(
        self,
        around: Surroundings,
        store: BlockStore,
        *,
        result_ttl_s: float,
        is_mine: Callable[[str], bool],
        take_over: TakeOver,
    ) -> None:
        self._around = around
        self._store = store
        self._result_ttl_s = result_ttl_s
        self._is_mine = is_mine
        self._take_over = take_over
        self._changed: deque[str] = deque()  # names of blocks that came or went
        self._lock = threading.Lock()
        self._jobs: dict[str, _Watched] = {}
        self._views: OrderedDict[str, JobEnd] = OrderedDict()
        for ref in store.refs():
            self.changed(ref.name)

    # ------------------------------------------------------------------ what is told

    def changed(self, name: str) -> None:
        """A block has come or gone. Called by the store, with a lock of its own held."""
        if names.is_specification(name):
            self._changed.append(name)

    def over(self, job_id: str, *, blocks: bool) -> None:
        """A job has ended; with ``blocks`` it is to be forgotten."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None and job.ended_s is None:
                job.ended_s = self._around.clock.now_s()
            if blocks:
                self._jobs.pop(job_id, None)
                self._views.pop(job_id, None)

    def left(self, job_id: str, lease: Lease | None, note: str) -> None:
        """This node is not the job's master, or no longer; ``lease`` says who is, if known."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None and lease is not None:
                job.note = note
                job.watch.lost(lease, self._around.clock.now_s())

    # ------------------------------------------------------------------ what is asked

    def status(self, message: GetJob) -> Message:
        """What is known here of a job that this node is not master of."""
        self._note_changes()
        with self._lock:
            job = self._jobs.get(message.job_id)
            if job is None:
                return NoJob(message.job_id)
            lease = job.watch.lease
            ending = self._views.get(message.job_id)
            if ending is None and (job.ended_s is not None or job.birth is None):
                self._start(message.job_id, job, self._look)
                if not job.waiting_for:
                    return Busy()
            return status_of(
                message.job_id,
                job.name,
                job.progress if ending is None else ending.progress,
                message.first_part,
                () if ending is None else ending.parts,
                failure=None if ending is None else ending.failure,
                master=lease.master if ending is None else None,
                epoch=lease.epoch,
                waiting_for=job.waiting_for,
                tally=NO_TALLY if ending is None or message.first_part else ending.tally,
                figures=NO_FIGURES if ending is None or message.first_part else ending.figures,
            )

    def cancel(self, job_id: str, reason: str, *, release: bool = False) -> bool:
        """Leave word in the job's record, soon; False where the job is not known here."""
        self._note_changes()
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                return False
            if job.ended_s is None:
                job.cancel = reason
            job.release = job.release or release
            return True

    def has_begun(self, job_id: str) -> bool:
        """Whether this node knows that the job has, or had, a master."""
        with self._lock:
            job = self._jobs.get(job_id)
            return job is not None and (job.watch.lease.epoch > 0 or job.ended_s is not None)

    def over_here(self, job_id: str) -> bool:
        """Whether this node knows that the job has ended."""
        with self._lock:
            job = self._jobs.get(job_id)
            return job is not None and job.ended_s is not None

    def lines(self) -> tuple[JobLine, ...]:
        """The jobs that are watched here and have another master, or none."""
        with self._lock:
            return tuple(
                JobLine(
                    job_id,
                    job.name,
                    Progress("watched"),
                    epoch=job.watch.lease.epoch,
                    waiting_for=job.waiting_for,
                    note=job.note,
                )
                for job_id, job in list(self._jobs.items())[-LINES_MAX:]
                if not self._is_mine(job_id)
            )

    # ------------------------------------------------------------------ the loop

    def step(self) -> None:
        """One round: see whose turn it is, and what is due. Called by one thread."""
        self._note_changes()
        now_s = self._around.clock.now_s()
        questions: dict[Member, list[str]] = {}
        with self._lock:
            for job_id, job in list(self._jobs.items()):
                if job.busy or self._is_mine(job_id):
                    continue
                if job.ended_s is not None:
                    self._see_to_ended(job_id, job, now_s)
                    continue
                if job.cancel:
                    self._start(job_id, job, self._leave_word)
                    continue
                self._see_to(job_id, job, now_s)
                master = job.watch.lease.master
                if master is not None and not job.busy:
                    questions.setdefault(master, []).append(job_id)
        for master, job_ids in questions.items():
            for start in range(0, len(job_ids), JOBS_PER_QUESTION_MAX):
                batch = job_ids[start : start + JOBS_PER_QUESTION_MAX]
                self._around.senders.run(partial(self._ask, master, batch))

    def _see_to(self, job_id: str, job: _Watched, now_s: float) -> None:
        step = job.watch.step(now_s, self._rank(job_id, job.watch.lease.master))
        if step is Step.READ:
            self._start(job_id, job, self._look)
        elif step is Step.TAKE:
            master, epoch = job.watch.lease.master, job.watch.lease.epoch
            log.info("job %s: its master %s is silent, epoch %d", job_id, master, epoch)
            self._take_over(job_id, job.spec, epoch)

    def _see_to_ended(self, job_id: str, job: _Watched, now_s: float) -> None:
        assert job.ended_s is not None
        if job.birth is None and now_s - job.ended_s > TTL_STAGGER_S:
            self._start(job_id, job, self._look)  # how long is it to be kept?
            return
        ttl_s = job.result_ttl_s or self._result_ttl_s
        turn_s = ttl_s + TTL_STAGGER_S * (1 + self._rank(job_id, None))
        if job.release or now_s - job.ended_s > turn_s:
            self._around.tell_nodes(EndJob(job_id, blocks=True))
            job.ended_s = now_s  # this node hears it, too, and forgets the job; if not, again
            job.release = False

    def _rank(self, job_id: str, silent: Member | None) -> int:
        """How many of the nodes known come before this one, from the job's place on the ring on."""
        place, me = identifier_of(job_id), self._around.peers.member
        mine = distance(place, me.identifier)
        return sum(
            distance(place, node.member.identifier) < mine
            for node in self._around.nodes()
            if node.member not in (me, silent)
        )

    def _note_changes(self) -> None:
        while self._changed:
            try:
                job_id = self._changed.popleft()
            except IndexError:  # another thread was quicker
                return
            ref = self._store.ref_of(job_id)
            with self._lock:
                if ref is None:
                    self._jobs.pop(job_id, None)
                elif job_id not in self._jobs:
                    watch = JobWatch(self._around.lease_s, self._around.clock.now_s())
                    self._jobs[job_id] = _Watched(ref, watch)

    # ------------------------------------------------------------------ threads

    def _start(
        self, job_id: str, job: _Watched, call: Callable[[str, _Watched, Birth], None]
    ) -> None:
        """Have a thread do it, unless one is at the job already. With the lock held."""
        if not job.busy:
            job.busy = True
            self._around.writers.run(partial(self._work, job_id, job, call))

    def _work(
        self, job_id: str, job: _Watched, call: Callable[[str, _Watched, Birth], None]
    ) -> None:
        try:
            call(job_id, job, self._birth(job_id, job))
        except MapReduceError as error:
            log.info("job %s cannot be watched now: %s", job_id, error)
            silent = () if job.birth is None else self._around.records.silent(job.birth.record())
            with self._lock:
                job.waiting_for = silent
        finally:
            with self._lock:
                job.busy = False

    def _birth(self, job_id: str, job: _Watched) -> Birth:
        if job.birth is None:
            spec = read_specification(self._around.blocks, job.spec)
            job.name, job.result_ttl_s = spec.name, spec.rules.result_ttl_s
            job.birth = Birth.decode(spec.birth, job_id)
        return job.birth

    def _look(self, job_id: str, job: _Watched, birth: Birth) -> None:
        """Read the job's record."""
        state = self._around.records.read(birth.record(), within_s=WITHIN_S)
        lease = Lease.decode(state.value)
        if state.deleted:
            self._around.tell(self._around.peers.member, EndJob(job_id, blocks=True))
            return
        found = JobState.decode(lease.payload)
        ending = None if found.ending is None else self._with_parts(found.ending)
        now_s = self._around.clock.now_s()
        with self._lock:
            job.waiting_for = ()
            job.watch.read(lease, state.version, now_s)
            if ending is None:
                return
            job.ended_s = now_s if job.ended_s is None else job.ended_s
            self._views[job_id] = ending
            while len(self._views) > VIEWS_MAX:
                self._views.popitem(last=False)

    def _with_parts(self, ending: JobEnd) -> JobEnd:
        if ending.parts_ref is None:
            return ending
        parts = decode_parts(self._around.blocks.get(ending.parts_ref))
        return msgspec.structs.replace(ending, parts=parts, parts_ref=None)

    def _leave_word(self, job_id: str, job: _Watched, birth: Birth) -> None:
        """Tell the master, present or future, that the job is to end."""
        reason = job.cancel

        def payload(found: bytes) -> bytes | None:
            state = JobState.decode(found)
            if state.cancel or state.ending is not None:
                return None
            return msgspec.structs.replace(state, cancel=reason).encode()

        self._around.records.change(birth.record(), remarked(payload), within_s=WITHIN_S)
        with self._lock:
            job.cancel = ""

    def _ask(self, master: Member, job_ids: list[str]) -> None:
        """Ask a master which of these jobs it sees to."""
        message = WatchJobs(tuple(job_ids))
        epochs: Iterable[int | None]
        try:
            epochs = self._around.peers.request(master.address, message, JobsWatched).epochs
        except ClusterError:
            epochs = [None] * len(job_ids)
        now_s = self._around.clock.now_s()
        with self._lock:
            for job_id, epoch in zip(job_ids, epochs, strict=False):
                job = self._jobs.get(job_id)
                if job is None or job.watch.lease.master != master:
                    continue
                if epoch == OVER:
                    job.ended_s = now_s if job.ended_s is None else job.ended_s
                elif epoch:
                    job.watch.heard(epoch, now_s)
                else:
                    job.watch.unheard(denied=epoch is not None)
