"""A node at work for the masters of jobs: takes attempts, feeds the workers, reports back.

The way of an attempt:

    StartAttempt ──▶ accepted ──▶ fetching ──▶ queued or running ──▶ keeping ──▶ reported
       handler                    a thread     the worker pool       a thread    a thread

*Fetching* brings what the work needs into local files: blocks of the ring, and for a reduce the
map outputs of other nodes. It happens before the attempt takes a slot, so slots never wait for
the network. *Keeping* makes the output available: a map output is served by this node, a large
result goes to its replica group. An attempt is forgotten only once its master has taken the
report, or says that it knows no such job; a master that stays silent for ``give_up_s`` is given
up, and the job's data here with it.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections import OrderedDict
from pathlib import Path

import msgspec

from map_reduce.core import names
from map_reduce.core.chord.placement import CHOICES
from map_reduce.core.identifiers import Address
from map_reduce.core.messages import (
    AttemptEnded,
    AttemptId,
    AttemptsRunning,
    BlockItems,
    BlockRef,
    BlockText,
    Busy,
    CheckFunctions,
    CheckVerdict,
    CheckWork,
    Done,
    Failed,
    Failure,
    MapOutput,
    MapWork,
    Message,
    No,
    NoJob,
    Outcome,
    ReduceOutput,
    ReduceWork,
    Running,
    Source,
    StartAttempt,
    WholeWork,
)
from map_reduce.errors import ClusterError, MapReduceError
from map_reduce.ports import BlockStore, Clock, LocalInput, LocalSource, WorkerPool
from map_reduce.runtime.blocks import RingBlocks, read_range
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.threads import Threads

log = logging.getLogger(__name__)

CHECK_TIMEOUT_S = 30.0
CHECKS_KEPT_MAX = 128


class _LostSource(MapReduceError):
    def __init__(self, source: Source, why: MapReduceError) -> None:
        super().__init__(str(why))
        self.source = source


class Attempts:
    """See the module's text.

    Args:
        scratch: a folder for fetched files; its owner deletes it.
        attempts_max: attempts taken at a time; more are answered with Busy.
        give_up_s: how long a master may stay silent.
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
    ) -> None:
        self._peers = peers
        self._blocks = blocks
        self._store = store
        self._pool = pool
        self._clock = clock
        self._scratch = scratch
        self._attempts_max = attempts_max
        self._give_up_s = give_up_s
        self._threads = Threads("map-reduce-attempts", threads_max=8)
        self._lock = threading.Lock()
        self._orders: dict[AttemptId, StartAttempt] = {}
        self._epochs: dict[str, int] = {}
        self._masters: dict[str, Address] = {}
        self._heard_of_master_s: dict[str, float] = {}
        self._unreported: dict[AttemptId, Outcome] = {}
        self._checks: OrderedDict[str, CheckVerdict] = OrderedDict()

    # ------------------------------------------------------------------ requests

    def start(self, order: StartAttempt) -> Message:
        job_id = order.attempt.job_id
        with self._lock:
            epoch = self._epochs.get(job_id, 0)
            if order.epoch < epoch:
                return No(f"a master with the newer epoch {epoch} has taken over the job")
            self._epochs[job_id] = order.epoch
            self._heard_of_master_s[job_id] = self._clock.now_s()
            if order.attempt in self._orders:
                return Done()
            if len(self._orders) >= self._attempts_max:
                return Busy()
            self._orders[order.attempt] = order
            self._masters[job_id] = order.master
        self._threads.run(lambda: self._feed(order))
        return Done()

    def stop(self, attempt: AttemptId) -> Message:
        with self._lock:
            self._orders.pop(attempt, None)
            self._unreported.pop(attempt, None)
        self._pool.stop(attempt.job_id, attempt.phase, attempt.task, attempt.number)
        return Done()

    def end_job(self, job_id: str, *, blocks: bool) -> Message:
        """Stop the job's attempts and delete what is kept for it here."""
        with self._lock:
            for attempt in [a for a in self._orders if a.job_id == job_id]:
                del self._orders[attempt]
                self._unreported.pop(attempt, None)
            self._epochs.pop(job_id, None)
            self._masters.pop(job_id, None)
            self._heard_of_master_s.pop(job_id, None)
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
            local = self._fetch(order)
            if self._wanted(order):
                self._pool.submit(order, local, ended)
            else:
                shutil.rmtree(self._folder(order), ignore_errors=True)
        except Exception as error:  # noqa: BLE001  # a full disk, a defect: the master must hear
            self._settle(order, self._not_fetched(order, error), None)

    def _not_fetched(self, order: StartAttempt, error: Exception) -> Failed:
        if not isinstance(error, MapReduceError | OSError):
            log.exception("%s could not be started", order.attempt)
        source = error.source if isinstance(error, _LostSource) else None
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
            self._pool.submit(order, self._fetch(order), ended)
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for it
            ended(self._not_fetched(order, error), None)

    def _settle(self, order: StartAttempt, outcome: Outcome, path: Path | None) -> None:
        """Keep the output of an attempt that ended, and report."""
        shutil.rmtree(self._folder(order), ignore_errors=True)
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
        if not self._wanted(order):
            return True
        message = AttemptEnded(order.attempt, order.epoch, self._peers.member, outcome)
        try:
            reply = self._peers.request(order.master, message, Done, NoJob)
        except ClusterError as error:
            log.info("%s is still to be reported: %s", order.attempt, error)
            return False
        with self._lock:
            self._orders.pop(order.attempt, None)
            self._unreported.pop(order.attempt, None)
        if isinstance(reply, NoJob):
            self.end_job(order.attempt.job_id, blocks=False)
        return True

    # ------------------------------------------------------------------ fetching

    def _folder(self, order: StartAttempt) -> Path:
        attempt = order.attempt
        return self._scratch / attempt.job_id / f"{attempt.phase}-{attempt.task}.{attempt.number}"

    def _fetch(self, order: StartAttempt) -> LocalInput:
        """Bring all the work needs into local files.

        Raises:
            _LostSource: a map output can't be fetched.
            MapReduceError: a block can't be.
        """
        functions = self._fetch_functions(order)
        work = order.work
        if isinstance(work, ReduceWork):
            return LocalInput(functions, None, self._fetch_sources(order, work))
        if isinstance(work, MapWork | WholeWork) and isinstance(work.split, BlockItems | BlockText):
            folder = self._folder(order)
            folder.mkdir(parents=True, exist_ok=True)
            return LocalInput(functions, self._blocks.fetch(work.split.ref, folder / "split"))
        return LocalInput(functions)

    def _fetch_functions(self, order: StartAttempt) -> Path | None:
        if order.functions.ref is None:
            return None
        path = self._scratch / order.attempt.job_id / "functions"
        if path.exists():
            return path
        folder = self._folder(order)
        folder.mkdir(parents=True, exist_ok=True)
        fetched = self._blocks.fetch(order.functions.ref, folder / "functions")
        if fetched.parent == folder:  # not this node's own copy of the block
            fetched = fetched.replace(path)  # attempts that fetched it at once overwrite equals
        return fetched

    def _fetch_sources(self, order: StartAttempt, work: ReduceWork) -> tuple[LocalSource, ...]:
        found = []
        folder = self._folder(order)
        for number, source in enumerate(work.sources):
            here = self._store.path_of(source.name) if source.node == self._me else None
            if here is not None:
                found.append(LocalSource(here, source.offset, source.length_bytes))
                continue
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / str(number)
            try:
                with open(path, "wb") as file:  # buffered: a short write must be an error
                    for data in read_range(
                        self._peers, source.node, source.name, source.offset, source.length_bytes
                    ):
                        file.write(data)
            except MapReduceError as error:
                raise _LostSource(source, error) from error
            found.append(LocalSource(path, 0, source.length_bytes))
        return tuple(found)

    # ------------------------------------------------------------------ signs of life

    def send_signs_of_life(self) -> None:
        """Tell each master what was not reported yet, and how far its attempts here are.

        Also where none is here any more: that its job has ended, the node may not have heard.
        """
        progress = {running.attempt: running for running in self._pool.running()}
        with self._lock:
            orders = list(self._orders.values())
            masters = dict(self._masters)
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
            reply = self._peers.request(master, message, Done, NoJob)
        except ClusterError as error:
            self._bear_with(job_id, str(error))
            return False
        if isinstance(reply, NoJob):
            self.end_job(job_id, blocks=False)
        with self._lock:
            if job_id in self._heard_of_master_s:
                self._heard_of_master_s[job_id] = self._clock.now_s()
        return True

    def _bear_with(self, job_id: str, problem: str) -> None:
        """Give up the job of a silent master, but not soon."""
        now_s = self._clock.now_s()
        with self._lock:
            silence_s = now_s - self._heard_of_master_s.get(job_id, now_s)
        if silence_s >= self._give_up_s:
            log.warning("the master of job %s has been silent for too long. %s", job_id, problem)
            self.end_job(job_id, blocks=False)

    def close(self) -> None:
        with self._lock:
            self._orders.clear()
        self._threads.close()
