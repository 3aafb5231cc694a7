"""The master of one job: a thread that feeds the job's scheduler and does what it says.

The scheduler (``core/scheduling``) is the only one that decides. Its events come from the node's
handlers, which put them in the job's queue and return; from the answers to its orders; from
the directory of nodes; from the journal, when a batch is written; and from the clock.

    claim the epoch ──▶ the first master? ── no ─▶ read the ledger, ask all nodes what they run
          │                   │ yes                     │
       somebody else's        ▼                         ▼
          │             NodesKnown ──▶ the loop ◀── TakenOver
          ▼                              │ │
        Fenced ◀── a write is refused ───┘ └──▶ the end is written: tell all nodes

The thread itself never waits for a record, so that a slow ledger delays no decision: batches are
written by other threads, one at a time, and again as long as the record's members cannot be
reached. Meanwhile the lease is not renewed, so who can reach them may take over.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.jobs.state import JobEnd
from map_reduce.core.messages import (
    AdoptJob,
    BlockRef,
    EndJob,
    Failure,
    Figures,
    JobAdopted,
    JobLine,
    JobStatus,
    OutputKey,
    Progress,
    Tally,
)
from map_reduce.core.registers.birth import Birth
from map_reduce.core.registers.lease import Lease
from map_reduce.core.scheduling import events
from map_reduce.core.scheduling.effects import Commit, Effect, Fail, Finish, Start, Stop
from map_reduce.core.scheduling.events import Event
from map_reduce.core.scheduling.plan import check_cut
from map_reduce.core.scheduling.scheduler import JobScheduler
from map_reduce.errors import ClusterError, MapReduceError, ProtocolError
from map_reduce.runtime.journal import Fenced, Journal, Written
from map_reduce.runtime.orders import Orders
from map_reduce.runtime.specification import read_specification
from map_reduce.runtime.surroundings import Surroundings, bits_of, status_of
from map_reduce.runtime.threads import run_guarded

log = logging.getLogger(__name__)

T = TypeVar("T")

EVENTS_MAX = 100_000
EVENTS_TOGETHER_MAX = 32
"""Of those that wait, so many are handled before the orders that follow from them are sent."""

TICK_S = 0.25
COUNTERS_IN_LINE_MAX = 20
RETRY_S = 0.25
"""Between two tries to become master while the record's members can't be reached."""

ADOPTION_S = 0.5
"""For the nodes' answers to a new master. Who answers later goes on in vain."""


class _Superseded:
    """Put in the queue when a write was refused."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease


class JobMaster:
    """One job: its queue, its thread, and what can be asked of it meanwhile.

    Args:
        seen_epoch: of the master before; 0 where there was none.
        left: called, from the job's thread, when this is not the master, or no longer.
    """

    def __init__(
        self,
        around: Surroundings,
        job_id: str,
        spec: BlockRef,
        seen_epoch: int,
        left: Callable[[JobMaster, Lease | None], None],
    ) -> None:
        self.job_id = job_id
        self.spec_ref = spec
        self.ended_s: float | None = None
        self.result_ttl_s = 0.0  # 0: as the node has it
        self.thread = threading.Thread(
            target=partial(run_guarded, self._run, f"master of job {job_id}"),
            name=f"map-reduce-master-{job_id[:8]}",
            daemon=True,
        )
        self._around = around
        self._seen_epoch = seen_epoch
        self._left = left
        # Not a Queue, which takes twice as long over each event, and there are two for each task.
        self._queue: queue.SimpleQueue[Event | _Superseded | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._name = ""
        self._journal: Journal | None = None
        self._scheduler: JobScheduler | None = None
        self._started_s = around.clock.now_s()
        self._writing = False
        self._unwritten: Commit | None = None
        self._cancel = ""
        self._waiting_for: tuple[Address, ...] = ()
        self._ending: JobEnd | None = None

    # ------------------------------------------------------------------ for handlers

    def put(self, event: Event | _Superseded | None) -> bool:
        """Whether there was room for the event."""
        if self._queue.qsize() >= EVENTS_MAX:
            log.error("job %s: %d events wait; one was dropped", self.job_id, EVENTS_MAX)
            return False
        self._queue.put(event)
        return True

    @property
    def epoch_in_force(self) -> int:
        """The epoch in which this is the master, or about to be; 0 if it cannot act as such."""
        with self._lock:
            alive_s = self._started_s if self._journal is None else self._journal.wrote_s
            quiet_s = self._around.clock.now_s() - alive_s
            alive = quiet_s < self._around.lease_s or self.ended_s is not None
            return self._seen_epoch + 1 if alive else 0

    @property
    def is_claimed(self) -> bool:
        """Whether this is, or was, the master: before that, what nodes report is not for it."""
        with self._lock:
            return self._journal is not None and self._journal.epoch > 0

    @property
    def was_master(self) -> bool:
        return self._scheduler is not None

    def status(self, first_part: int = 0, tally: bool = False) -> JobStatus:
        with self._lock:
            ending = self._ending
            told = tally or (ending is not None and not first_part)
            return status_of(
                self.job_id,
                self._name,
                self._progress(),
                first_part,
                ending.parts if ending is not None else (),
                failure=None if ending is None else ending.failure,
                master=self._around.peers.member,
                epoch=0 if self._journal is None else self._journal.epoch,
                waiting_for=self._waiting_for,
                tally=self._tally() if told else Tally(),
                figures=self._figures() if told else Figures(),
            )

    def line(self, counters: bool = True) -> JobLine:
        with self._lock:
            tally = self._tally()
            return JobLine(
                self.job_id,
                self._name,
                self._progress(),
                tally.counters[:COUNTERS_IN_LINE_MAX] if counters else (),
                tally.records_skipped + tally.keys_skipped,
                0 if self._journal is None else self._journal.epoch,
                self._waiting_for,
                figures=Figures() if self._ending is None else self._ending.figures,
            )

    def _tally(self) -> Tally:
        if self._ending is not None:
            return self._ending.tally
        return Tally() if self._scheduler is None else self._scheduler.ledger.tally.shown()

    def _figures(self) -> Figures:
        if self._ending is not None:
            return self._ending.figures
        return Figures() if self._scheduler is None else self._scheduler.figures()

    def _progress(self) -> Progress:
        if self._ending is not None:
            return self._ending.progress
        if self._scheduler is None:
            return Progress("waiting")
        return self._scheduler.progress(self._around.clock.now_s())

    def drop(self) -> None:
        """Let the thread end, soon: nobody wants the job any more."""
        self._closing.set()
        self.put(None)

    def close(self) -> None:
        """End the thread. Where the job has not ended, another node may take it over at once."""
        self._closing.set()
        self.put(None)
        if self.thread is not threading.current_thread():
            self.thread.join(TICK_S * 8)
        if self.ended_s is None and self._journal is not None and self._scheduler is not None:
            try:
                self._journal.resign()
            except ClusterError as error:
                log.info("job %s is left without a word: %s", self.job_id, error)

    # ------------------------------------------------------------------ becoming master

    def _run(self) -> None:
        lease: Lease | None = None
        try:
            self._master()
        except Fenced as fenced:
            lease = fenced.lease
            epoch = 0 if self._scheduler is None else self._scheduler.epoch
            if epoch:
                log.warning(
                    "job %s: this node was its master in epoch %d; %s has taken over with epoch "
                    "%d, and nothing that is done here counts any more",
                    *(self.job_id, epoch, lease.master, lease.epoch),
                )
        except MapReduceError as error:
            log.warning("job %s: its master here gives up: %s", self.job_id, error)
        except Exception as error:  # a defect of ours, which the next master would have as well
            log.exception("job %s: unexpected error in its master", self.job_id)
            self._fail(f"its master failed: {type(error).__name__}: {error}")
        if self.ended_s is None:
            self._left(self, lease)

    def _master(self) -> None:
        around = self._around
        spec = read_specification(around.blocks, self.spec_ref)
        birth = Birth.decode(spec.birth, self.job_id)
        me = around.peers.member
        journal = Journal(around.records, around.blocks, around.clock, birth, me, around.lease_s)
        with self._lock:
            self._name, self._journal = spec.name, journal
            self.result_ttl_s = spec.rules.result_ttl_s
        if not self._patiently(partial(journal.claim, self._seen_epoch)):
            return
        around.changes.note(self.job_id)
        self._cancel = journal.state.cancel
        if journal.state.ending is not None:
            raise Fenced(self.job_id, Lease(journal.epoch, None))
        if spec.job_id != self.job_id:
            self._fail(f"its specification is that of job {spec.job_id[:80]!r}")
            return
        try:
            check_cut(len(spec.splits), spec.partitions)
        except ProtocolError as error:
            self._fail(str(error))  # or else one node after the other would try
            return
        journal.expect(spec)
        first: Event = events.NodesKnown(around.nodes())
        if journal.epoch > 1:
            log.info("job %s: taken over with epoch %d", self.job_id, journal.epoch)
            written = self._patiently(partial(journal.read_ledger, spec))
            if written is None:
                return
            first = self._taken_over(journal, written)
        scheduler = JobScheduler(
            spec,
            epoch=journal.epoch,
            attempts_max=around.attempts_max,
            node_silence_s_max=around.node_silence_s_max,
            now_s=around.clock.now_s(),
            timeout_s=around.task_timeout_s,
            backups=around.backups,
        )
        with self._lock:
            self._scheduler = scheduler
        orders = Orders(
            around.orders, me.address, spec, journal.epoch, around.task_timeout_s, self.put
        )
        self._loop(scheduler, journal, orders, first)

    def _fail(self, problem: str) -> None:
        """End the job for a reason that the scheduler knows nothing of."""
        failure = Failure("JobLostError", f"job {self.job_id}: {problem}")
        with self._lock:
            journal = self._journal
            ending = JobEnd(msgspec.structs.replace(self._progress(), phase="failed"), (), failure)
        if journal is None or not journal.epoch:
            return
        try:
            journal.write(Commit(0, (), None, ending, (), ()))
        except ClusterError as error:
            log.warning("job %s: its failure could not be written: %s", self.job_id, error)
            return
        with self._lock:
            self._ending = ending
        self._end()

    def _end(self) -> None:
        self.ended_s = self._around.clock.now_s()
        self._around.changes.note(self.job_id)
        self._around.tell_nodes(EndJob(self.job_id, blocks=False))

    def _patiently(self, call: Callable[[], T]) -> T | None:
        """Call it until the records' members can be reached; None when this node closes."""
        while not self._closing.is_set():
            try:
                result = call()
            except Fenced:
                raise
            except ClusterError as error:
                log.info("job %s waits for its record: %s", self.job_id, error)
                self._note_silent()
            else:
                with self._lock:
                    self._waiting_for = ()
                return result
            self._closing.wait(RETRY_S)
        return None

    def _note_silent(self) -> None:
        assert self._journal is not None
        silent = self._journal.silent()
        with self._lock:
            self._waiting_for = silent

    def _taken_over(self, journal: Journal, written: Written) -> events.TakenOver:
        """Ask every node what it has of the job, all at once."""
        around, nodes = self._around, self._around.nodes()
        outputs: dict[Member, list[OutputKey]] = {}
        for win in written.maps:
            key = OutputKey(win.task, win.number, win.epoch)
            outputs.setdefault(win.node, []).append(key)
        listed = {node.member for node in nodes}
        # What is of no use any more, or lay on a node that is gone, may have been made again, and
        # told to nobody.
        useful = [win for win in written.maps if written.adds or not win.added]
        maps = bits_of(win.task for win in useful if win.node in listed)
        finals = bits_of(won.task for won in written.finals)
        master = around.peers.member.address
        messages = {
            node.member: AdoptJob(
                self.job_id,
                journal.epoch,
                master,
                maps,
                finals,
                tuple(outputs.get(node.member, ())),
                written.adds,
            )
            for node in nodes
        }
        replies = around.parallel.ask(messages, ADOPTION_S, lambda replies: False)
        holdings = tuple(
            events.Holding(member, reply.attempts, reply.lost)
            for member, reply in replies.items()
            if isinstance(reply, JobAdopted)
        )
        cuts, done, reduced, troubles, adds = written
        return events.TakenOver(nodes, cuts, done, reduced, holdings, troubles, adds)

    # ------------------------------------------------------------------ the loop

    def _loop(
        self, scheduler: JobScheduler, journal: Journal, orders: Orders, first: Event
    ) -> None:
        around = self._around
        event: Event | _Superseded | None = first
        next_tick_s = around.clock.now_s() + TICK_S
        together = 0
        while event is not None:
            if isinstance(event, _Superseded):
                raise Fenced(self.job_id, event.lease)
            self._handle(scheduler, journal, orders, event)
            together += 1
            if self.ended_s is not None or self._queue.empty() or together == EVENTS_TOGETHER_MAX:
                orders.flush()
                together = 0
            if self.ended_s is not None:
                return
            wait_s = next_tick_s - around.clock.now_s()
            try:
                if wait_s <= 0:
                    raise queue.Empty
                event = self._queue.get(timeout=wait_s)
            except queue.Empty:
                event = events.Cancel(self._cancel) if self._cancel else events.Tick()
                self._see_to_the_journal(journal)
                next_tick_s = around.clock.now_s() + TICK_S

    def _handle(
        self, scheduler: JobScheduler, journal: Journal, orders: Orders, event: Event
    ) -> None:
        with self._lock:
            effects = scheduler.handle(event, self._around.clock.now_s())
            for effect in effects:  # under the same lock: status never shows half an end
                if isinstance(effect, Finish | Fail):
                    self._ending = scheduler.ending
        if log.isEnabledFor(logging.DEBUG):
            told = "; ".join(map(_told, effects)) or "nothing"
            log.debug("job %s: %s, so: %s", self.job_id, _told(event), told)
        for effect in effects:
            self._do(effect, journal, orders)

    def _do(self, effect: Effect, journal: Journal, orders: Orders) -> None:
        if isinstance(effect, Start):
            orders.start(effect)
        elif isinstance(effect, Stop):
            orders.stop(effect)
        elif isinstance(effect, Commit):
            with self._lock:
                self._unwritten = effect
            self._see_to_the_journal(journal)
        else:
            self._end()

    # ------------------------------------------------------------------ the journal

    def _see_to_the_journal(self, journal: Journal) -> None:
        """Have the batch under way written, or the lease renewed, if it is time for that."""
        renew_s = self._around.lease_s / 3
        with self._lock:
            due = self._around.clock.now_s() - journal.wrote_s >= renew_s
            if self._writing or not (due or self._unwritten):
                return
            self._writing = True
            batch = self._unwritten
        self._around.writers.run(partial(self._write, journal, batch))

    def _write(self, journal: Journal, batch: Commit | None) -> None:
        try:
            if batch is None:
                self._cancel = journal.renew().cancel
            else:
                journal.write(batch)
        except Fenced as fenced:
            self.put(_Superseded(fenced.lease))
            return  # and nothing is written any more
        except ClusterError as error:
            log.info("job %s waits for its record: %s", self.job_id, error)
            self._note_silent()
            with self._lock:
                self._writing = False
            return  # it is tried again with the next tick
        except Exception as error:  # a defect of ours: without an end nobody could cancel the job
            log.exception("job %s: what its master would write cannot be", self.job_id)
            self._fail(f"its master cannot write down how it is: {type(error).__name__}: {error}")
            return
        with self._lock:
            self._writing = False
            self._waiting_for = ()
            if batch is not None:
                self._unwritten = None
            waiting = self._unwritten is not None
        if batch is not None:
            self.put(events.Committed(batch.number))
        if waiting:
            self._see_to_the_journal(journal)


def _told(said: Event | Effect) -> str:
    """An event or effect for the log: what it is about, and nothing of the user's."""
    about = [getattr(said, name, "") for name in ("number", "attempt", "node", "reason")]
    if isinstance(said, events.AttemptEnded):
        about.append(type(said.outcome).__name__)
    if isinstance(said, events.NodesKnown | events.TakenOver):
        about += [f"{node.member} {node.slots}" for node in said.nodes]
    if isinstance(said, events.TakenOver):
        counted = (len(said.maps), len(said.finals))
        running = [str(id_) for holding in said.holdings for id_ in holding.attempts]
        about += [f"{counted[0]} maps and {counted[1]} finals done", *running]
    return " ".join([type(said).__name__, *(str(one) for one in about if one != "")])
