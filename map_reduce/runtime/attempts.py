"""A node at work for the masters of jobs: takes attempts, feeds the workers, reports back.

The way of an attempt:

    StartAttempt ──▶ accepted ──▶ fetching ──▶ queued or running ──▶ keeping ──▶ reported
       handler                    a thread     the worker pool       a thread    a thread

*Fetching* brings what the work needs into local files: blocks of the ring, and for a reduce the
map outputs of other nodes. It happens before the attempt takes a slot, so slots never wait for
the network. *Keeping* makes the output available: a map output is served by this node, a large
result goes to its replica group.

Masters come and go. Each of their messages carries an epoch, and one with a lower epoch than was
seen is refused. A new master *adopts* what is here: attempts go on and are reported to it, and
those that ended without its knowing are reported again. Reports and signs of life go to the latest
master; where that one is silent or knows nothing of the job, the node asks those who watch over it
who is master now. Only who says that the job is *over* has it ended here; a job of which nobody
has known anything for ``give_up_s`` is given up, and its data here with it.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from map_reduce.core import names
from map_reduce.core.chord.placement import CHOICES
from map_reduce.core.identifiers import Address
from map_reduce.core.messages import (
    AdoptJob,
    AttemptEnded,
    AttemptId,
    AttemptsRunning,
    BlockRef,
    Busy,
    CheckFunctions,
    CheckVerdict,
    CheckWork,
    Done,
    Failed,
    Failure,
    JobAdopted,
    JobOver,
    JobStatus,
    MapOutput,
    Message,
    No,
    NoJob,
    Outcome,
    ReduceOutput,
    ReduceWork,
    Running,
    StartAttempt,
    StopAttempt,
)
from map_reduce.errors import ClusterError, MapReduceError
from map_reduce.ports import BlockStore, Clock, WorkerPool
from map_reduce.runtime.blocks import RingBlocks
from map_reduce.runtime.fetching import Fetcher, LostSource
from map_reduce.runtime.kept import KeptOutcomes
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.threads import Threads

log = logging.getLogger(__name__)

CHECK_TIMEOUT_S = 30.0
CHECKS_KEPT_MAX = 128
INQUIRE_S = 2.0
"""Silence of a master after which, and intervals at which, others are asked who is master now."""

INLINE_BYTES_MAX = 8 << 10
"""Larger outputs of reduce tasks are stored as blocks: what is inline goes into the job's ledger,
which travels as a whole."""

Inquire = Callable[[str], JobStatus | JobOver | None]
"""Ask who watches over a job; None where nobody knows anything of it."""


@dataclass
class _Service:
    """A job that this node works for."""

    epoch: int
    master: Address
    heard_s: float  # when the master last answered, or somebody knew of the job
    inquired_s: float


class Attempts:
    """See the module's text.

    Args:
        scratch: a folder for fetched files; its owner deletes it.
        attempts_max: attempts taken at a time; more are answered with Busy.
        give_up_s: how long nobody may know anything of a job.
        inquire: called from the thread that sends signs of life.
        is_over: whether a job is known to have ended.
    """

    def __init__(
        self,
        *,
        peers: Peers,
        blocks: RingBlocks,
        store: BlockStore,
        pool: WorkerPool,
        clock: Clock,
        scratch: Path,
        attempts_max: int,
        give_up_s: float,
        inquire: Inquire,
        is_over: Callable[[str], bool] = lambda job_id: False,
    ) -> None:
        self._peers = peers
        self._blocks = blocks
        self._store = store
        self._pool = pool
        self._clock = clock
        self._scratch = scratch
        self._attempts_max = attempts_max
        self._give_up_s = give_up_s
        self._inquire = inquire
        self._is_over = is_over
        self._fetcher = Fetcher(peers, blocks, store, scratch)
        self._threads = Threads("map-reduce-attempts", threads_max=8)
        self._lock = threading.Lock()
        self._orders: dict[AttemptId, StartAttempt] = {}
        self._services: dict[str, _Service] = {}
        self._unreported: dict[AttemptId, Outcome] = {}
        self._kept = KeptOutcomes()
        self._checks: OrderedDict[str, CheckVerdict] = OrderedDict()

    # ------------------------------------------------------------------ requests

    def start(self, order: StartAttempt) -> Message:
        with self._lock:
            refusal = self._serve(order.attempt.job_id, order.epoch, order.master)
            if refusal is not None:
                return refusal
            if order.attempt in self._orders:
                return Done()
            if len(self._orders) >= self._attempts_max and self._has_its_share(order):
                return Busy()
            self._orders[order.attempt] = order
        self._threads.run(lambda: self._feed(order))
        return Done()

    def _has_its_share(self, order: StartAttempt) -> bool:
        """Whether its job has as many attempts here as others, so that it is not kept waiting."""
        jobs = Counter(attempt.job_id for attempt in self._orders)
        job_id = order.attempt.job_id
        share = self._attempts_max // len(jobs.keys() | {job_id})
        return jobs[job_id] >= share or len(self._orders) >= 2 * self._attempts_max

    def _serve(self, job_id: str, epoch: int, master: Address) -> No | None:
        """Work for this master from now on, unless there is a later one. With the lock held."""
        if self._is_over(job_id):
            return No(f"job {job_id} has ended")
        now_s = self._clock.now_s()
        service = self._services.setdefault(job_id, _Service(epoch, master, now_s, now_s))
        if epoch < service.epoch:
            return No(
                f"{service.master} has taken over job {job_id} with the newer epoch "
                f"{service.epoch}; yours is {epoch}"
            )
        service.epoch, service.master = epoch, master
        service.heard_s = service.inquired_s = now_s
        return None

    def adopt(self, message: AdoptJob) -> Message:
        """Go on for a new master, and report to it again what is not in its ledger."""
        with self._lock:
            refusal = self._serve(message.job_id, message.epoch, message.master)
            if refusal is not None:
                return refusal
            running = [a for a in self._orders if a.job_id == message.job_id]
            for order, outcome in self._kept.take(message.job_id):
                attempt = order.attempt
                done = (
                    message.committed_maps if attempt.phase == "map" else message.committed_finals
                )
                if _has_bit(done, attempt.task) or not self._is_there(outcome):
                    continue
                self._orders[attempt] = order
                self._unreported[attempt] = outcome
                running.append(attempt)
                self._threads.run(partial(self._report, order, outcome))
        lost = [
            key.task
            for key in message.outputs
            if not self._holds(AttemptId(message.job_id, "map", key.task, key.number, key.epoch))
        ]
        return JobAdopted(tuple(running), tuple(lost))

    def _holds(self, attempt: AttemptId) -> bool:
        return self._store.path_of(names.map_output(attempt)) is not None

    def _is_there(self, outcome: Outcome) -> bool:
        """Whether what the outcome tells of can be had; failures are not worth telling twice."""
        if isinstance(outcome, MapOutput):
            return self._store.path_of(outcome.name) is not None
        return isinstance(outcome, ReduceOutput)

    def stop(self, message: StopAttempt) -> Message:
        attempt = message.attempt
        with self._lock:
            service = self._services.get(attempt.job_id)
            if service is not None and message.epoch < service.epoch:
                return No(f"{service.master} has taken over job {attempt.job_id}")
            self._orders.pop(attempt, None)
            self._unreported.pop(attempt, None)
        self._pool.stop(attempt.job_id, attempt.phase, attempt.task, attempt.number, attempt.epoch)
        return Done()

    def end_job(self, job_id: str, *, blocks: bool) -> Message:
        """Stop the job's attempts and delete what is kept for it here."""
        with self._lock:
            for attempt in [a for a in self._orders if a.job_id == job_id]:
                del self._orders[attempt]
                self._unreported.pop(attempt, None)
            self._services.pop(job_id, None)
            self._kept.forget(job_id)
        self._pool.stop(job_id)
        for prefix in [names.of_job(job_id)] if blocks else names.while_running(job_id):
            self._store.delete_prefix(prefix)
        shutil.rmtree(self._scratch / job_id, ignore_errors=True)
        return Done()

    def check(self, message: CheckFunctions) -> Message:
        """Unpickle functions in a worker; the verdict is to be asked for."""
        with self._lock:
            if message.check_id in self._checks:
                return Done()
            self._checks[message.check_id] = CheckVerdict(False, None)
            while len(self._checks) > CHECKS_KEPT_MAX:
                self._checks.popitem(last=False)
        order = StartAttempt(
            attempt=AttemptId(message.check_id, "check", 0, 0),
            epoch=0,
            master=self._me,
            functions=message.functions,
            work=CheckWork(),
            timeout_s=CHECK_TIMEOUT_S,
            careful=False,
        )
        self._threads.run(lambda: self._feed_check(order))
        return Done()

    def verdict(self, check_id: str) -> Message:
        with self._lock:
            return self._checks.get(check_id) or No(f"check {check_id} is not known here")

    # ------------------------------------------------------------------ the way of an attempt

    @property
    def _me(self) -> Address:
        return self._peers.member.address

    def _wanted(self, order: StartAttempt) -> bool:
        with self._lock:
            return self._orders.get(order.attempt) is order

    def _feed(self, order: StartAttempt) -> None:
        def ended(outcome: Outcome, path: Path | None) -> None:
            self._threads.run(lambda: self._settle(order, outcome, path))

        try:
            local = self._fetcher.fetch(order)
            if self._wanted(order):
                self._pool.submit(order, local, ended)
            else:
                shutil.rmtree(self._fetcher.folder(order), ignore_errors=True)
        except Exception as error:  # noqa: BLE001  # a full disk, a defect: the master must hear
            self._settle(order, self._not_fetched(order, error), None)

    def _not_fetched(self, order: StartAttempt, error: Exception) -> Failed:
        if not isinstance(error, MapReduceError | OSError):
            log.exception("%s could not be started", order.attempt)
        source = error.source if isinstance(error, LostSource) else None
        kind = "BlockMissingError" if isinstance(error, MapReduceError) else "ClusterError"
        message = f"node {self._me} could not fetch what {order.attempt} needs: {error}"
        return Failed(Failure(kind, message), retry=True, lost_source=source)

    def _feed_check(self, order: StartAttempt) -> None:
        def ended(outcome: Outcome, path: Path | None) -> None:
            failure = outcome.failure if isinstance(outcome, Failed) else None
            with self._lock:
                self._checks[order.attempt.job_id] = CheckVerdict(True, failure)
            shutil.rmtree(self._scratch / order.attempt.job_id, ignore_errors=True)

        try:
            self._pool.submit(order, self._fetcher.fetch(order), ended)
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for it
            ended(self._not_fetched(order, error), None)

    def _settle(self, order: StartAttempt, outcome: Outcome, path: Path | None) -> None:
        """Keep the output of an attempt that ended, and report."""
        shutil.rmtree(self._fetcher.folder(order), ignore_errors=True)
        if not self._wanted(order):
            if path is not None:
                path.unlink(missing_ok=True)
            return
        try:
            outcome = self._keep(order, outcome, path)
        except Exception as error:  # a full disk, or a defect: the master must hear of it
            if not isinstance(error, MapReduceError | OSError):
                log.exception("the output of %s could not be kept", order.attempt)
            failure = Failure("ClusterError", f"node {self._me} could not store a result: {error}")
            outcome = Failed(failure, retry=True)
        self._report(order, outcome)

    def _keep(self, order: StartAttempt, outcome: Outcome, path: Path | None) -> Outcome:
        if isinstance(order.work, ReduceWork) and isinstance(outcome, ReduceOutput):
            part = outcome.part
            if len(part.inline) > INLINE_BYTES_MAX:
                ref = self._blocks.put(names.result(order.attempt), part.inline)
                part = msgspec.structs.replace(part, inline=b"", ref=ref)
                return msgspec.structs.replace(outcome, part=part)
        if path is None:
            return outcome
        if isinstance(outcome, MapOutput):
            name = names.map_output(order.attempt)
            self._store.adopt_file(BlockRef(name, path.stat().st_size, b""), path)
            return msgspec.structs.replace(outcome, name=name)
        if isinstance(outcome, ReduceOutput) and outcome.part.ref is not None:
            choices = [names.result(order.attempt, choice) for choice in range(CHOICES)]
            name = self._blocks.choose(choices, outcome.part.ref.size_bytes)
            ref = msgspec.structs.replace(outcome.part.ref, name=name)
            self._blocks.put_file(ref, path)
            return msgspec.structs.replace(
                outcome, part=msgspec.structs.replace(outcome.part, ref=ref)
            )
        path.unlink(missing_ok=True)
        return outcome

    def _report(self, order: StartAttempt, outcome: Outcome) -> None:
        """Tell the master, now or, where it does not answer, with the next signs of life."""
        with self._lock:
            if self._orders.get(order.attempt) is order:
                self._unreported[order.attempt] = outcome
        self._try_to_report(order, outcome)

    def _try_to_report(self, order: StartAttempt, outcome: Outcome) -> bool:
        """Whether the master answered."""
        job_id = order.attempt.job_id
        with self._lock:
            service = self._services.get(job_id)
            if service is None or self._orders.get(order.attempt) is not order:
                return True
            master, epoch = service.master, service.epoch
        message = AttemptEnded(order.attempt, epoch, self._peers.member, outcome)
        try:
            reply = self._peers.request(master, message, Done, JobOver, NoJob)
        except ClusterError as error:
            log.info("%s is still to be reported: %s", order.attempt, error)
            return False
        if isinstance(reply, NoJob):
            return False  # a master that was restarted, or has been superseded
        if isinstance(reply, JobOver):
            self.end_job(job_id, blocks=False)
            return True
        with self._lock:
            if self._orders.get(order.attempt) is order:
                del self._orders[order.attempt]
                self._unreported.pop(order.attempt, None)
                self._kept.keep(order, outcome)
        return True

    # ------------------------------------------------------------------ signs of life

    def send_signs_of_life(self) -> None:
        """Tell each master what was not reported yet, and how far its attempts here are.

        Also where none is here any more: that its job has ended, the node may not have heard.
        """
        progress = {running.attempt: running for running in self._pool.running()}
        with self._lock:
            orders = list(self._orders.values())
            masters = {job_id: service.master for job_id, service in self._services.items()}
            unreported = dict(self._unreported)
        silent: set[Address] = set()  # each is waited for once in a round, whatever its jobs
        for job_id, master in masters.items():
            mine = [order for order in orders if order.attempt.job_id == job_id]
            for order in mine:
                if (
                    order.attempt in unreported
                    and master not in silent
                    and not self._try_to_report(order, unreported[order.attempt])
                ):
                    silent.add(master)
            running = tuple(progress.get(o.attempt, Running(o.attempt, 0, 0)) for o in mine)
            if master in silent:
                self._bear_with(job_id, "")
            elif not self._send_sign_of_life(job_id, master, running):
                silent.add(master)

    def _send_sign_of_life(
        self, job_id: str, master: Address, running: tuple[Running, ...]
    ) -> bool:
        """Whether the master answered."""
        message = AttemptsRunning(job_id, self._peers.member, running)
        try:
            reply = self._peers.request(master, message, Done, JobOver, NoJob)
        except ClusterError as error:
            self._bear_with(job_id, str(error))
            return False
        if isinstance(reply, JobOver):
            self.end_job(job_id, blocks=False)
        elif isinstance(reply, NoJob):
            self._bear_with(job_id, f"{master} does not know it")
        else:
            self._heard_of(job_id)
        return True

    def _heard_of(self, job_id: str) -> None:
        with self._lock:
            if (service := self._services.get(job_id)) is not None:
                service.heard_s = service.inquired_s = self._clock.now_s()

    def _bear_with(self, job_id: str, problem: str) -> None:
        """The master does not see to the job: ask who does. Nobody, for long: give the job up."""
        now_s = self._clock.now_s()
        with self._lock:
            service = self._services.get(job_id)
            if service is None or now_s - service.inquired_s < INQUIRE_S:
                return
            service.inquired_s = now_s
        known = self._inquire(job_id)
        if isinstance(known, JobOver):
            self.end_job(job_id, blocks=False)
        elif known is not None:
            with self._lock:
                service.heard_s = now_s
                if known.master is not None and known.epoch > service.epoch:
                    service.epoch, service.master = known.epoch, known.master.address
        elif now_s - service.heard_s >= self._give_up_s:
            log.warning("nobody sees to job %s any more. %s", job_id, problem)
            self.end_job(job_id, blocks=False)

    def close(self) -> None:
        with self._lock:
            self._orders.clear()
        self._threads.close()


def _has_bit(bits: bytes, number: int) -> bool:
    byte = number // 8
    return byte < len(bits) and bool(bits[byte] >> number % 8 & 1)
