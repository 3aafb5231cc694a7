"""The master of one job: a thread that feeds the job's scheduler and does what it says.

The scheduler (``core/scheduling``) is the only one that decides. Its events come from the node's
handlers, which put them in the job's queue and return; from the replies to StartAttempt; from
the directory of nodes; and from the clock.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import msgspec

from map_reduce.core.identifiers import Member
from map_reduce.core.messages import (
    BlockRef,
    Busy,
    Done,
    EndJob,
    Failure,
    JobLine,
    JobSpec,
    JobStatus,
    OutputPart,
    Progress,
    StartAttempt,
    StopAttempt,
    Tally,
)
from map_reduce.core.scheduling import events
from map_reduce.core.scheduling.effects import Effect, Fail, Finish, Start, Stop
from map_reduce.core.scheduling.events import Event, NodeSlots
from map_reduce.core.scheduling.scheduler import JobScheduler
from map_reduce.errors import ClusterError, MapReduceError
from map_reduce.ports import Clock
from map_reduce.runtime.blocks import RingBlocks
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.threads import Threads, run_guarded

log = logging.getLogger(__name__)

EVENTS_MAX = 100_000
TICK_S = 0.5
FIRST_EPOCH = 1
STATUS_BYTES_MAX = 1 << 20
COUNTERS_IN_LINE_MAX = 20
PART_BYTES = 200
"""What an output part takes in a message besides its inline data, generously."""


@dataclass(frozen=True)
class Surroundings:
    """What the masters of one node share.

    Args:
        nodes: the usable nodes now.
        senders: threads for messages to nodes, so that a silent one delays no decision.
        attempts_max: see ClusterConfig.
        task_timeout_s: of each attempt, where its job does not say.
        backups: whether tasks that lag are begun a second time, where their job does not say.
        node_silence_s_max: without a sign of life a node's attempts count as lost.
    """

    peers: Peers
    blocks: RingBlocks
    clock: Clock
    nodes: Callable[[], tuple[NodeSlots, ...]]
    senders: Threads
    attempts_max: int
    task_timeout_s: float
    backups: bool
    node_silence_s_max: float

    def tell(self, member: Member, message: EndJob | StopAttempt) -> None:
        """Send a message that may be lost."""
        try:
            self.peers.request(member.address, message, Done)
        except ClusterError as error:
            log.info("%s did not take %s: %s", member, type(message).__name__, error)

    def tell_nodes(self, message: EndJob) -> None:
        """Send to every node, once; a node that misses it finds out by asking for the job."""
        for node in self.nodes():
            self.senders.run(partial(self.tell, node.member, message))


class JobMaster:
    """One job: its queue, its thread, and what can be asked of it meanwhile."""

    def __init__(self, around: Surroundings, job_id: str, spec: BlockRef) -> None:
        self.job_id = job_id
        self.ended_s: float | None = None
        self.thread = threading.Thread(
            target=partial(run_guarded, self._run, f"master of job {job_id}"),
            name=f"map-reduce-master-{job_id[:8]}",
            daemon=True,
        )
        self._around = around
        self._spec_ref = spec
        self._queue: queue.Queue[Event | None] = queue.Queue(EVENTS_MAX)
        self._lock = threading.Lock()
        self._spec: JobSpec | None = None
        self._scheduler: JobScheduler | None = None
        self._parts: tuple[OutputPart, ...] = ()
        self._failure: Failure | None = None

    def put(self, event: Event | None) -> bool:
        """Whether there was room for the event."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            log.error("job %s: %d events wait; one was dropped", self.job_id, EVENTS_MAX)
            return False
        return True

    def status(self, first_part: int = 0, tally: bool = False) -> JobStatus:
        with self._lock:
            ended = self._scheduler is not None and self._scheduler.phase.ended
            return JobStatus(
                job_id=self.job_id,
                name="" if self._spec is None else self._spec.name,
                progress=self._progress(),
                parts=_as_many_as_fit(self._parts[first_part:]),
                parts_total=len(self._parts),
                failure=self._failure,
                master=self._around.peers.member,
                tally=self._tally() if tally or (ended and not first_part) else Tally(),
            )

    def line(self, counters: bool = True) -> JobLine:
        with self._lock:
            tally = self._tally()
            return JobLine(
                self.job_id,
                "" if self._spec is None else self._spec.name,
                self._progress(),
                tally.counters[:COUNTERS_IN_LINE_MAX] if counters else (),
                tally.records_skipped + tally.keys_skipped,
            )

    def _tally(self) -> Tally:
        return Tally() if self._scheduler is None else self._scheduler.ledger.tally.shown()

    def _progress(self) -> Progress:
        if self._scheduler is None:
            return Progress("failed" if self._failure else "waiting")
        progress = self._scheduler.progress(self._around.clock.now_s())
        if self._failure is not None and not self._scheduler.phase.ended:
            progress = msgspec.structs.replace(progress, phase="failed")
        return progress

    def close(self) -> None:
        """End without a result, where there is none yet."""
        self.put(None)
        if self.thread is not threading.current_thread():
            self.thread.join(TICK_S * 4)
        with self._lock:
            if self.ended_s is None:
                self._failure = Failure(
                    "JobLostError",
                    f"job {self.job_id}: its master, {self._around.peers.member}, was closed",
                )

    # ------------------------------------------------------------------ the job's thread

    def _run(self) -> None:
        try:
            self._master(JobSpec.decode(self._around.blocks.get(self._spec_ref)))
        except MapReduceError as error:
            self._fail(f"the job's specification could not be read: {error}")
        except Exception as error:  # a defect of ours must not leave a client waiting for ever
            log.exception("job %s: unexpected error", self.job_id)
            self._fail(
                f"its master {self._around.peers.member} failed: {type(error).__name__}: {error}"
            )

    def _fail(self, message: str) -> None:
        with self._lock:
            self._failure = Failure("JobLostError", f"job {self.job_id}: {message}")
        self._end()

    def _master(self, spec: JobSpec) -> None:
        around = self._around
        scheduler = JobScheduler(
            spec,
            epoch=FIRST_EPOCH,
            attempts_max=around.attempts_max,
            node_silence_s_max=around.node_silence_s_max,
            now_s=around.clock.now_s(),
            timeout_s=around.task_timeout_s,
            backups=around.backups,
        )
        with self._lock:
            self._spec, self._scheduler = spec, scheduler
        event: Event | None = events.NodesKnown(around.nodes())
        next_tick_s = around.clock.now_s() + TICK_S
        while event is not None:
            self._handle(scheduler, event)
            if self.ended_s is not None:
                return
            wait_s = next_tick_s - around.clock.now_s()
            try:
                if wait_s <= 0:
                    raise queue.Empty
                event = self._queue.get(timeout=wait_s)
            except queue.Empty:
                event = events.Tick()
                next_tick_s = around.clock.now_s() + TICK_S

    def _handle(self, scheduler: JobScheduler, event: Event) -> None:
        with self._lock:
            effects = scheduler.handle(event, self._around.clock.now_s())
            for effect in effects:  # under the same lock: status never shows half an end
                if isinstance(effect, Finish):
                    self._parts = effect.parts
                elif isinstance(effect, Fail):
                    self._failure = effect.failure
        for effect in effects:
            self._do(effect)

    def _do(self, effect: Effect) -> None:
        around = self._around
        if isinstance(effect, Start):
            around.senders.run(partial(self._start, effect))
        elif isinstance(effect, Stop):
            message = StopAttempt(effect.attempt)
            around.senders.run(partial(around.tell, effect.node, message))
        else:
            self._end()

    def _start(self, effect: Start) -> None:
        around = self._around
        scheduler = self._scheduler
        assert scheduler is not None, "effects come from a scheduler"
        order = StartAttempt(
            attempt=effect.attempt,
            epoch=FIRST_EPOCH,
            master=around.peers.member.address,
            functions=scheduler.spec.functions,
            work=effect.work,
            timeout_s=scheduler.timeout_s,
            careful=effect.careful,
            skipping=effect.skipping,
            memory_mb_max=scheduler.spec.rules.memory_mb_max,
        )
        try:
            reply = around.peers.request(effect.node.address, order, Done, Busy)
        except ClusterError as error:
            log.info("%s did not take %s: %s", effect.node, effect.attempt, error)
            self.put(
                events.AttemptRefused(effect.attempt, effect.node, busy=False, reason=str(error))
            )
        else:
            if isinstance(reply, Busy):
                self.put(events.AttemptRefused(effect.attempt, effect.node, busy=True))
            else:
                self.put(events.AttemptTaken(effect.attempt, effect.node))

    def _end(self) -> None:
        self.ended_s = self._around.clock.now_s()
        self._around.tell_nodes(EndJob(self.job_id, blocks=False))


def _as_many_as_fit(parts: tuple[OutputPart, ...]) -> tuple[OutputPart, ...]:
    """The first ones, at least one, that are small enough for one message together."""
    sizes = itertools.accumulate(PART_BYTES + len(part.inline) for part in parts)
    count = sum(1 for size in sizes if size <= STATUS_BYTES_MAX)
    return parts[: max(1, count)]
