"""The jobs that a node is master of.

A job that has ended is kept, with its result, until the client releases it or
``result_ttl_s`` have passed.
"""

from __future__ import annotations

import logging
import threading

from map_reduce.core.messages import (
    AttemptEnded,
    AttemptsRunning,
    BlockRef,
    Busy,
    Done,
    EndJob,
    GetJob,
    JobLine,
    Message,
    No,
    NoJob,
    ReleaseJob,
)
from map_reduce.core.scheduling import events
from map_reduce.core.scheduling.events import Event, NodeSlots
from map_reduce.runtime.master import JobMaster, Surroundings

log = logging.getLogger(__name__)

COUNTING_JOBS_MAX = 100
"""Jobs, the latest ones, whose lines tell their counters: a reply has its bounds."""


class Masters:
    """The jobs that this node is master of.

    Args:
        result_ttl_s: how long an ended job is kept for its client.
    """

    def __init__(self, around: Surroundings, *, result_ttl_s: float) -> None:
        self._around = around
        self._result_ttl_s = result_ttl_s
        self._lock = threading.Lock()
        self._jobs: dict[str, JobMaster] = {}
        self._closed = False

    # ------------------------------------------------------------------ requests

    def submit(self, job_id: str, spec: BlockRef) -> Message:
        with self._lock:
            if self._closed:
                return No("this node is leaving")
            if job_id not in self._jobs:
                job = JobMaster(self._around, job_id, spec)
                job.thread.start()
                self._jobs[job_id] = job
        return Done()

    def status(self, message: GetJob) -> Message:
        job = self._job(message.job_id)
        return (
            NoJob(message.job_id) if job is None else job.status(message.first_part, message.tally)
        )

    def cancel(self, job_id: str) -> Message:
        """An ended job stays as it is."""
        return self._put(job_id, events.Cancel("the job was cancelled"))

    def release(self, message: ReleaseJob) -> Message:
        """Forget a job; one that still runs is cancelled first."""
        with self._lock:
            job = self._jobs.pop(message.job_id, None)
        if job is not None:
            job.put(events.Cancel("the job was released before its end"))
            self._around.tell_nodes(EndJob(message.job_id, blocks=True))
        return Done()

    def attempt_ended(self, message: AttemptEnded) -> Message:
        event = events.AttemptEnded(message.attempt, message.node, message.outcome)
        return self._put(message.attempt.job_id, event)

    def attempts_running(self, message: AttemptsRunning) -> Message:
        return self._put(message.job_id, events.StillRunning(message.node, message.running))

    def lines(self) -> tuple[JobLine, ...]:
        with self._lock:
            jobs = list(self._jobs.values())
        oldest = len(jobs) - COUNTING_JOBS_MAX
        return tuple(job.line(counters=at >= oldest) for at, job in enumerate(jobs))

    def _job(self, job_id: str) -> JobMaster | None:
        with self._lock:
            return self._jobs.get(job_id)

    def _put(self, job_id: str, event: Event) -> Message:
        job = self._job(job_id)
        if job is None or job.ended_s is not None:
            return NoJob(job_id)  # to a node this says: stop working for it
        return Done() if job.put(event) else Busy()

    # ------------------------------------------------------------------ the node's own events

    def nodes_changed(self, nodes: tuple[NodeSlots, ...]) -> None:
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.put(events.NodesKnown(nodes))

    def forget_expired(self) -> None:
        """Release jobs whose results nobody fetched in time."""
        now_s = self._around.clock.now_s()
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            if job.ended_s is not None and now_s - job.ended_s > self._result_ttl_s:
                log.info("results of job %s were kept for %g s", job.job_id, self._result_ttl_s)
                self.release(ReleaseJob(job.job_id))

    def close(self) -> None:
        """End all jobs' threads; their attempts end with the node that runs them."""
        with self._lock:
            self._closed = True
            jobs = list(self._jobs.values())
        for job in jobs:
            job.close()
        self._around.senders.close()
