"""A node at work for the masters of jobs: takes attempts, feeds the workers, reports back.

The way of an attempt:

    StartAttempt ──▶ accepted ──▶ fetching ──▶ queued or running ──▶ keeping ──▶ reported
       handler                    a thread     the worker pool       a thread    the post

*Fetching* brings what the work needs into local files: blocks of the ring, and for a reduce the
map outputs of other nodes. It happens before the attempt takes a slot, so slots never wait for
the network. *Keeping* makes the output available: a map output is served by this node, a large
result goes to its replica group. *Reports* go by a post (runtime/post.py): those to one master
together, as they come up while the one before is answered.

Masters come and go. Each of their messages carries an epoch, and one with a lower epoch than was
seen is refused. A new master *adopts* what is here: attempts go on and are reported to it, and
those that ended without its knowing are reported again. Reports and signs of life go to the latest
master; where that one is silent or knows nothing of the job, the node asks those who watch over it
who is master now. Only who says that the job is *over* has it ended here; a job of which nobody
has known anything for ``give_up_s`` is given up, and its data here with it.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import msgspec

from map_reduce.core import names
from map_reduce.core.chord.placement import CHOICES
from map_reduce.core.identifiers import Address
from map_reduce.core.jobs.service import Services
from map_reduce.core.messages import (
    AdoptJob,
    Answer,
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
    InlineItems,
    JobOver,
    JobStatus,
    MapOutput,
    Message,
    No,
    NoJob,
    Order,
    OrderAttempts,
    Outcome,
    ReduceOutput,
    ReduceWork,
    ReportAttempts,
    Running,
    Sampled,
    StartAttempt,
    StopAttempt,
)
from map_reduce.errors import ClusterError, MapReduceError
from map_reduce.ports import BlockStore, Clock, LocalInput, Made, WorkerPool
from map_reduce.runtime.blocks import RingBlocks
from map_reduce.runtime.fetching import Fetcher
from map_reduce.runtime.links import Links
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.post import Post, answer_each
from map_reduce.runtime.shuffling import LostSource
from map_reduce.runtime.threads import Threads

log = logging.getLogger(__name__)

CHECK_TIMEOUT_S = 30.0
CHECKS_KEPT_MAX = 128
CHECK_INLINE_BYTES_MAX = 64 << 10
"""Of functions to check that came inline: they are kept in memory until a worker takes them."""
INLINE_BYTES_MAX = 8 << 10
"""Larger outputs of reduce tasks are stored as blocks: what is inline goes into the job's ledger,
which travels as a whole."""

Inquire = Callable[[str], JobStatus | JobOver | None]
"""Ask who watches over a job; None where nobody knows anything of it."""


class Attempts:
    """See the module's text.

    Args:
        links: for map outputs; their owner closes them, after the transport.
        scratch: a folder for fetched files; its owner deletes it.
        attempts_max: attempts taken at a time; more are answered with Busy.
        give_up_s: how long nobody may know anything of a job.
        inquire: called from the thread that sends signs of life.
        is_over: whether a job is known to have ended.
        checked: called with a check's name when there is a verdict.
    """

    def __init__(
        self,
        *,
        peers: Peers,
        blocks: RingBlocks,
        store: BlockStore,
        pool: WorkerPool,
        clock: Clock,
        links: Links,
        scratch: Path,
        attempts_max: int,
        give_up_s: float,
        inquire: Inquire,
        is_over: Callable[[str], bool] = lambda job_id: False,
        checked: Callable[[str], None] = lambda check_id: None,
    ) -> None:
        self._peers = peers
        self._blocks = blocks
        self._store = store
        self._pool = pool
        self._clock = clock
        self._inquire = inquire
        self._checked = checked
        self._fetcher = Fetcher(peers, blocks, store, links, scratch, self._wanted, clock.now_s)
        # Each their own: attempts whose sources come slowly must keep nobody's output waiting, and
        # what clients have checked must not keep attempts waiting.
        self._feeders = Threads("map-reduce-fetching", threads_max=8)
        self._threads = Threads("map-reduce-attempts", threads_max=8)
        self._reports = Post(peers, ReportAttempts, "map-reduce-reports")
        self._check_threads = Threads("map-reduce-checks", threads_max=2)
        self._lock = threading.Lock()
        self._services = Services(
            now_s=clock.now_s,
            attempts_max=attempts_max,
            give_up_s=give_up_s,
            is_over=is_over,
            holds=lambda name: store.bytes_of(name) is not None or store.path_of(name) is not None,
        )
        self._checks: OrderedDict[str, CheckVerdict] = OrderedDict()

    # ------------------------------------------------------------------ requests

    def ordered(self, message: OrderAttempts) -> Message:
        return answer_each(message.orders, self._obey)

    def _obey(self, order: Order) -> Answer:
        return self.start(order) if isinstance(order, StartAttempt) else self.stop(order)

    def start(self, order: StartAttempt) -> Answer:
        with self._lock:
            answer, begin = self._services.take(order)
        if begin:
            local = self._fetcher.at_hand(order)
            if local is None:
                self._feeders.run(lambda: self._feed(order))
            else:
                self._submit(order, local)
        return answer

    def adopt(self, message: AdoptJob) -> Message:
        """Go on for a new master, and report to it again what is not in its ledger."""
        with self._lock:
            answer, again = self._services.adopt(message)
        if again:
            self._threads.run(partial(self._report, again))
        return answer

    def stop(self, order: StopAttempt) -> Answer:
        attempt = order.attempt
        with self._lock:
            master = self._services.masters().get(attempt.job_id)
            refusal = self._services.stop(order)
        if refusal is not None:
            return refusal
        if master is not None:
            self._reports.withdraw(master, attempt)
        self._fetcher.stop(attempt)
        self._pool.stop(attempt.job_id, attempt.phase, attempt.task, attempt.number, attempt.epoch)
        return Done()

    def end_job(self, job_id: str, *, blocks: bool) -> None:
        """Stop the job's attempts and delete what is kept for it here."""
        with self._lock:
            self._services.end_job(job_id)
        self._pool.stop(job_id)
        for prefix in [names.of_job(job_id)] if blocks else names.while_running(job_id):
            self._store.delete_prefix(prefix)
        self._fetcher.forget_job(job_id)

    def check(self, message: CheckFunctions) -> Message:
        """Unpickle functions in a worker; the verdict is to be asked for."""
        sample = message.sample
        inline = [len(message.functions.inline)]
        for split in () if sample is None else sample.splits:
            if isinstance(split, InlineItems):
                inline.append(len(split.data))
        if max(inline[0], sum(inline[1:])) > CHECK_INLINE_BYTES_MAX:
            return No(f"what has over {CHECK_INLINE_BYTES_MAX} bytes is to be stored first")
        with self._lock:
            if message.check_id in self._checks:
                return Done()
            if len(self._checks) >= CHECKS_KEPT_MAX:
                ready = (check for check, verdict in self._checks.items() if verdict.ready)
                if (oldest := next(ready, None)) is None:
                    return Busy()
                del self._checks[oldest]
            self._checks[message.check_id] = CheckVerdict(False, None)
        order = StartAttempt(
            attempt=AttemptId(message.check_id, "check", 0, 0),
            epoch=0,
            master=self._me,
            functions=message.functions,
            work=CheckWork() if sample is None else sample,
            timeout_s=CHECK_TIMEOUT_S,
            careful=False,
        )
        self._check_threads.run(lambda: self._feed_check(order))
        return Done()

    def verdict(self, check_id: str) -> Message:
        with self._lock:
            return self._checks.get(check_id) or No(f"check {check_id} is not known here")

    def has_verdict(self, check_id: str) -> bool:
        """Whether the verdict is not to be waited for: it is ready, or will never be."""
        with self._lock:
            check = self._checks.get(check_id)
        return check is None or check.ready

    # ------------------------------------------------------------------ the way of an attempt

    @property
    def _me(self) -> Address:
        return self._peers.member.address

    def _wanted(self, order: StartAttempt) -> bool:
        with self._lock:
            return self._services.wants(order)

    def _feed(self, order: StartAttempt) -> None:
        try:
            local = self._fetcher.fetch(order)
        except Exception as error:  # noqa: BLE001  # a full disk, a defect: the master must hear
            self._settle(order, self._not_fetched(order, error), None)
            return
        if self._wanted(order):
            self._submit(order, local)
        else:
            self._fetcher.forget(order)

    def _submit(self, order: StartAttempt, local: LocalInput) -> None:
        def ended(outcome: Outcome, made: Made) -> None:
            if isinstance(made, bytes) or (made is None and not isinstance(outcome, ReduceOutput)):
                # No file and no other node is involved: a thread would cost more than this does.
                self._settle(order, outcome, made)
            else:
                self._threads.run(lambda: self._settle(order, outcome, made))

        try:
            self._pool.submit(order, local, ended)
        except Exception as error:  # noqa: BLE001  # the node closes, a defect: as above
            failed = self._not_fetched(order, error)
            self._threads.run(lambda: self._settle(order, failed, None))

    def _not_fetched(self, order: StartAttempt, error: Exception) -> Failed:
        if not isinstance(error, MapReduceError | OSError):
            log.exception("%s could not be started", order.attempt)
        source = error.source if isinstance(error, LostSource) else None
        kind = "BlockMissingError" if isinstance(error, MapReduceError) else "ClusterError"
        message = f"node {self._me} could not fetch what {order.attempt} needs: {error}"
        return Failed(Failure(kind, message), retry=True, lost_source=source)

    def _feed_check(self, order: StartAttempt) -> None:
        def ended(outcome: Outcome, made: Made) -> None:
            failure = outcome.failure if isinstance(outcome, Failed) else None
            sampled = outcome if isinstance(outcome, Sampled) else None
            with self._lock:
                self._checks[order.attempt.job_id] = CheckVerdict(True, failure, sampled)
            self._checked(order.attempt.job_id)
            self._fetcher.forget_job(order.attempt.job_id)

        try:
            self._pool.submit(order, self._fetcher.fetch(order), ended)
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for it
            ended(self._not_fetched(order, error), None)

    def _settle(self, order: StartAttempt, outcome: Outcome, made: Made) -> None:
        """Keep the output of an attempt that ended, and report."""
        self._fetcher.forget(order)
        if not self._wanted(order):
            if isinstance(made, Path):
                made.unlink(missing_ok=True)
            return
        try:
            outcome = self._keep(order, outcome, made)
        except Exception as error:  # a full disk, or a defect: the master must hear of it
            if not isinstance(error, MapReduceError | OSError):
                log.exception("the output of %s could not be kept", order.attempt)
            failure = Failure("ClusterError", f"node {self._me} could not store a result: {error}")
            outcome = Failed(failure, retry=True)
        with self._lock:
            self._services.ended(order, outcome)
        self._report([order])

    def _keep(self, order: StartAttempt, outcome: Outcome, made: Made) -> Outcome:
        if isinstance(order.work, ReduceWork) and isinstance(outcome, ReduceOutput):
            part = outcome.part
            if len(part.inline) > INLINE_BYTES_MAX:
                ref = self._blocks.put(names.result(order.attempt), part.inline)
                part = msgspec.structs.replace(part, inline=b"", ref=ref)
                return msgspec.structs.replace(outcome, part=part)
        if made is None:
            return outcome
        if isinstance(outcome, MapOutput):
            name = names.map_output(order.attempt)
            if isinstance(made, bytes):
                self._store.adopt_bytes(BlockRef(name, len(made), b""), made)
            else:
                self._store.adopt_file(BlockRef(name, made.stat().st_size, b""), made)
            return msgspec.structs.replace(outcome, name=name)
        if isinstance(made, bytes):
            return outcome  # only of a map can there be any
        if isinstance(outcome, ReduceOutput) and outcome.part.ref is not None:
            choices = [names.result(order.attempt, choice) for choice in range(CHOICES)]
            name = self._blocks.choose(choices, outcome.part.ref.size_bytes)
            ref = msgspec.structs.replace(outcome.part.ref, name=name)
            self._blocks.put_file(ref, made)
            return msgspec.structs.replace(
                outcome, part=msgspec.structs.replace(outcome.part, ref=ref)
            )
        made.unlink(missing_ok=True)
        return outcome

    def _report(self, orders: Iterable[StartAttempt]) -> None:
        """Tell the masters that these have ended. Where one does not take it, it is told again
        with the signs of life."""
        for order in orders:
            with self._lock:
                report = self._services.report(order, self._peers.member)
            if report is not None:
                master, message = report
                answered = partial(self._answered, order, message)
                self._reports.put(master, order.attempt, message, answered)
        self._reports.flush()

    def _answered(
        self, order: StartAttempt, report: AttemptEnded, answer: Answer | ClusterError
    ) -> None:
        if isinstance(answer, Done):
            with self._lock:
                self._services.reported(order, report)
        elif isinstance(answer, JobOver):
            # In a thread, since there may be much to delete.
            self._threads.run(partial(self.end_job, order.attempt.job_id, blocks=False))
        else:  # NoJob: a master that was restarted, or has been superseded
            log.info("%s is still to be reported: %s", order.attempt, answer)

    # ------------------------------------------------------------------ signs of life

    def send_signs_of_life(self) -> None:
        """Tell each master what was not reported yet, and how far its attempts here are.

        Also where none is here any more: that its job has ended, the node may not have heard.
        """
        progress = {running.attempt: running for running in self._pool.running()}
        with self._lock:
            orders = list(self._services.orders.values())
            masters = self._services.masters()
            unreported = [o for o in orders if o.attempt in self._services.unreported]
        self._report(
            order
            for order in unreported
            if not self._reports.has(masters[order.attempt.job_id], order.attempt)
        )
        silent: set[Address] = set()  # each is waited for once in a round, whatever its jobs
        for job_id, master in masters.items():
            mine = [order.attempt for order in orders if order.attempt.job_id == job_id]
            running = tuple(progress.get(id_, Running(id_, 0, 0)) for id_ in mine)
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
            with self._lock:
                self._services.heard_of(job_id)
        return True

    def _bear_with(self, job_id: str, problem: str) -> None:
        """The master does not see to the job: ask who does. Nobody, for long: give the job up."""
        with self._lock:
            if not self._services.inquires(job_id):
                return
        known = self._inquire(job_id)
        with self._lock:
            given_up = self._services.learnt(job_id, known)
        if given_up:
            if known is None:
                log.warning("nobody sees to job %s any more. %s", job_id, problem)
            self.end_job(job_id, blocks=False)

    def close(self) -> None:
        with self._lock:
            self._services.orders.clear()
        self._fetcher.close()
        self._check_threads.close()
        self._feeders.close()
        self._threads.close()
        self._reports.close()
