"""The jobs that a node is master of, and what it says to who asks for a job.

A job that has ended is kept, with its result, until the client releases it or ``result_ttl_s``
have passed. What this node is not master of, its watcher may know about.
"""

from __future__ import annotations

import logging
import threading

from map_reduce.core.messages import (
    OVER,
    Answer,
    AttemptEnded,
    AttemptsRunning,
    BlockRef,
    Busy,
    Done,
    EndJob,
    GetJob,
    JobLine,
    JobOver,
    JobsWatched,
    Message,
    No,
    NoJob,
    ReleaseJob,
    ReportAttempts,
    WatchJobs,
)
from map_reduce.core.registers.lease import Lease
from map_reduce.core.scheduling import events
from map_reduce.core.scheduling.events import Event, NodeSlots
from map_reduce.ports import BlockStore
from map_reduce.runtime.master import JobMaster
from map_reduce.runtime.post import answer_each
from map_reduce.runtime.surroundings import Surroundings
from map_reduce.runtime.watcher import Watcher

log = logging.getLogger(__name__)

COUNTING_JOBS_MAX = 100
"""Jobs, the latest ones, whose lines tell their counters: a reply has its bounds."""
CANCELLED = "the job was cancelled"
RELEASED = "the job was released before its end"


class Masters:
    """The jobs that this node is master of.

    Args:
        result_ttl_s: how long an ended job is kept for its client.
    """

    def __init__(self, around: Surroundings, store: BlockStore, *, result_ttl_s: float) -> None:
        self._around = around
        self._result_ttl_s = result_ttl_s
        self._lock = threading.Lock()
        self._jobs: dict[str, JobMaster] = {}
        self._released: set[str] = set()  # to be forgotten as soon as they have ended
        self._closed = False
        self.watcher = Watcher(
            around,
            store,
            result_ttl_s=result_ttl_s,
            is_mine=lambda job_id: self._job(job_id) is not None,
            take_over=self._begin,
        )

    # ------------------------------------------------------------------ requests

    def submit(self, job_id: str, spec: BlockRef) -> Message:
        if self._closed:
            return No("this node is leaving")
        if not self.watcher.over_here(job_id):
            self._begin(job_id, spec, 0)
        return Done()

    def _begin(self, job_id: str, spec: BlockRef, seen_epoch: int) -> None:
        """Try to be the master of a job, in a thread of its own."""
        with self._lock:
            if job_id in self._jobs or self._closed:
                return
            job = JobMaster(self._around, job_id, spec, seen_epoch, self._left)
            self._jobs[job_id] = job
            job.thread.start()

    def _left(self, job: JobMaster, lease: Lease | None) -> None:
        """This node is not that job's master."""
        with self._lock:
            if self._jobs.get(job.job_id) is job:
                del self._jobs[job.job_id]
        note = ""
        if lease is not None and job.was_master:
            note = f"was master in epoch {lease.epoch - 1}; {lease.master} has taken over"
        self.watcher.left(job.job_id, lease, note)
        self._around.changes.note(job.job_id)

    def status(self, message: GetJob) -> Message:
        job = self._job(message.job_id)
        if job is None:
            return self.watcher.status(message)
        return job.status(message.first_part, message.tally)

    def has_news(self, message: GetJob) -> bool:
        """Whether the answer is not to be waited for: see the message."""
        job = self._job(message.job_id)
        return job is None or job.ended_s is not None or (job.is_claimed and not message.begun)

    def cancel(self, job_id: str) -> Message:
        """An ended job stays as it is."""
        job = self._job(job_id)
        # By way of the record, too: this node may not be the master yet, or no longer.
        known = self.watcher.cancel(job_id, CANCELLED)
        if job is not None:
            return Done() if job.put(events.Cancel(CANCELLED)) else Busy()
        return Done() if known else NoJob(job_id)

    def release(self, message: ReleaseJob) -> Message:
        """Forget a job; one that still runs is cancelled first.

        One that has no master yet is forgotten at once, for it may never have one.
        """
        job_id = message.job_id
        job = self._job(job_id)
        if job is None:
            begun = self.watcher.has_begun(job_id)
            if not (begun and self.watcher.cancel(job_id, RELEASED, release=True)):
                self._forget(job_id)  # perhaps somebody has blocks of it
            return Done()
        if job.ended_s is None and job.is_claimed:
            with self._lock:
                self._released.add(job_id)
            self.watcher.cancel(job_id, RELEASED, release=True)
            return Done() if job.put(events.Cancel(RELEASED)) else Busy()
        self._forget(job_id)
        return Done()

    def _forget(self, job_id: str) -> None:
        with self._lock:
            job = self._jobs.pop(job_id, None)
            self._released.discard(job_id)
        if job is not None:
            self._drop(job)
        self._around.tell_nodes(EndJob(job_id, blocks=True))

    def _drop(self, job: JobMaster) -> None:
        job.drop()
        self._around.changes.note(job.job_id)

    def reported(self, message: ReportAttempts) -> Message:
        return answer_each(message.reports, self._attempt_ended)

    def _attempt_ended(self, report: AttemptEnded) -> Answer:
        event = events.AttemptEnded(report.attempt, report.node, report.outcome)
        return self._put(report.attempt.job_id, event)

    def attempts_running(self, message: AttemptsRunning) -> Message:
        return self._put(message.job_id, events.StillRunning(message.node, message.running))

    def watched(self, message: WatchJobs) -> Message:
        return JobsWatched(tuple(map(self._epoch_of, message.job_ids)))

    def _epoch_of(self, job_id: str) -> int:
        job = self._job(job_id)
        if job is None:
            return OVER if self.watcher.over_here(job_id) else 0
        return job.epoch_in_force if job.ended_s is None else OVER

    def lines(self) -> tuple[JobLine, ...]:
        with self._lock:
            jobs = list(self._jobs.values())
        oldest = len(jobs) - COUNTING_JOBS_MAX
        return tuple(job.line(counters=at >= oldest) for at, job in enumerate(jobs))

    def _job(self, job_id: str) -> JobMaster | None:
        with self._lock:
            return self._jobs.get(job_id)

    def _put(self, job_id: str, event: Event) -> Answer:
        job = self._job(job_id)
        if job is None:
            return JobOver(job_id) if self.watcher.over_here(job_id) else NoJob(job_id)
        if job.ended_s is not None:
            return JobOver(job_id)
        if not job.is_claimed:
            return NoJob(job_id)
        return Done() if job.put(event) else Busy()

    # ------------------------------------------------------------------ the node's own events

    def nodes_changed(self, nodes: tuple[NodeSlots, ...]) -> None:
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.put(events.NodesKnown(nodes))

    def over(self, job_id: str, *, blocks: bool) -> None:
        """A job has ended, as this node was told; with ``blocks`` it is to be forgotten."""
        self.watcher.over(job_id, blocks=blocks)
        if blocks:
            with self._lock:
                job = self._jobs.pop(job_id, None)
            if job is not None:
                self._drop(job)

    def forget_expired(self) -> None:
        """Release jobs whose results nobody fetched in time, or that were to be released."""
        now_s = self._around.clock.now_s()
        with self._lock:
            jobs = list(self._jobs.values())
            released = set(self._released)
        for job in jobs:
            if job.ended_s is None:
                continue
            if job.job_id in released:
                self._forget(job.job_id)
            elif now_s - job.ended_s > (ttl_s := job.result_ttl_s or self._result_ttl_s):
                log.info("results of job %s were kept for %g s", job.job_id, ttl_s)
                self._forget(job.job_id)

    def close(self) -> None:
        """End all jobs' threads; other nodes take over those that have not ended."""
        with self._lock:
            self._closed = True
            jobs = list(self._jobs.values())
        for job in jobs:
            job.close()
        self._around.close()
