"""A simulated node: its replica of records, its attempts, and its watch over jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.jobs.service import Services
from map_reduce.core.jobs.state import JobState
from map_reduce.core.jobs.watch import JobWatch, Step
from map_reduce.core.messages import (
    OVER,
    AdoptJob,
    Answer,
    Answers,
    AttemptEnded,
    AttemptId,
    AttemptsRunning,
    Busy,
    Done,
    EndJob,
    Failed,
    Failure,
    GetJob,
    JobOver,
    JobStatus,
    JobsWatched,
    MapOutput,
    MapWork,
    Message,
    NoJob,
    Order,
    OrderAttempts,
    Outcome,
    Progress,
    ReduceWork,
    ReportAttempts,
    Running,
    StartAttempt,
    StopAttempt,
    WatchJobs,
)
from map_reduce.core.messages.records import Replica
from map_reduce.core.registers.acceptor import Acceptor, Persist
from map_reduce.core.registers.birth import Birth
from map_reduce.core.registers.lease import Lease
from map_reduce.core.registers.proposer import Proposer
from map_reduce.core.scheduling.events import AttemptEnded as Ended
from map_reduce.core.scheduling.events import NodeSlots, StillRunning
from map_reduce.errors import ClusterError
from map_reduce.simulation.draws import Draws
from map_reduce.simulation.jobs.master import LEASE_S, Master
from map_reduce.simulation.jobs.post import Post
from map_reduce.simulation.jobs.work import Life, Work
from map_reduce.simulation.jobs.world import Ask, Process, Sleep, World

ROUND_S = 0.25
GIVE_UP_S = 30.0
WORK_MS = (40, 900)


@dataclass(frozen=True)
class Fetch:
    """What a reduce attempt asks a node for."""

    name: str


@dataclass
class Run:
    """An attempt that was begun: for the judge."""

    attempt: AttemptId
    node: int
    began_s: float
    ended_s: float | None = None
    failed: bool = False
    useless_sums: bool = False  # what maps had added up was of no use to it
    bounds: bytes = b""  # of the partitions, as a map was told


@dataclass
class Cluster:
    """What all nodes of a run share: the job, and what is noted of it."""

    world: World
    work: Work
    spec: Any = None
    birth: Birth | None = None
    listed: Callable[[], tuple[NodeSlots, ...]] = tuple
    runs: list[Run] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    takeovers: int = 0


class Node:
    """One node, through all its lives."""

    def __init__(self, cluster: Cluster, number: int, slots: int, draws: Draws) -> None:
        self.number = number
        self.slots = slots
        self.life = 0
        self.paused_until_s = 0.0
        self.cluster = cluster
        self._world = cluster.world
        self._draws = draws
        self.replica = Replica(Address("node", number), number)
        self.begin(1)

    @property
    def member(self) -> Member:
        """This life, or the last one."""
        return Member(Address("node", self.number), abs(self.life))

    def begin(self, life: int) -> None:
        """A new life, without memory: another replica, no attempts, no outputs."""
        self.life = life
        self.replica = Replica(Address("node", self.number), 100 * life + self.number)
        self._acceptor = Acceptor(self.replica)
        self.proposer = Proposer(self.member)
        self.services = Services(
            now_s=lambda: self._world.now_s,
            attempts_max=8 * self.slots,
            give_up_s=GIVE_UP_S,
            is_over=lambda job_id: self.over,
            holds=lambda name: name in self.outputs,
        )
        self.outputs: dict[str, int] = {}
        self.over = False
        self.master: Master | None = None
        self.watch = JobWatch(LEASE_S, self._world.now_s)
        self.orders = Post(self._world, self, OrderAttempts)
        self._reports = Post(self._world, self, ReportAttempts)
        self._looking = False
        self._waiting: list[StartAttempt] = []
        self._running: dict[AttemptId, Run] = {}
        self._world.at(self, self._draws.within(0, 250) / 1000, self._round)

    def crash(self) -> None:
        self.life = -abs(self.life)

    # ------------------------------------------------------------------ requests

    def handle(self, message: Any) -> Message | None:
        match message:
            case OrderAttempts():
                return Answers(tuple(map(self._obey, message.orders)))
            case AdoptJob():
                adopted, again = self.services.adopt(message)
                self._report(again)
                return adopted
            case ReportAttempts():
                told = (Ended(one.attempt, one.node, one.outcome) for one in message.reports)
                return Answers(tuple(map(self._tell, told)))
            case AttemptsRunning():
                return self._tell(StillRunning(message.node, message.running))
            case WatchJobs():
                epoch = 0 if self.master is None else self.master.epoch_in_force
                return JobsWatched((OVER if self.over else epoch,))
            case GetJob():
                return self._status()
            case EndJob():
                self._end()
                return Done()
            case Fetch():
                return Done() if message.name in self.outputs else NoJob("")
        effects = self._acceptor.handle(message) or ()
        return next((e.message for e in effects if not isinstance(e, Persist)), None)

    def _obey(self, order: Order) -> Answer:
        if isinstance(order, StopAttempt):
            master = self.services.masters().get(order.attempt.job_id)
            if (refusal := self.services.stop(order)) is not None:
                return refusal
            if master is not None:
                self._reports.withdraw(master.port, order.attempt)
            return Done()
        answer, begin = self.services.take(order)
        if begin:
            self._waiting.append(order)
            self._fill_slots()
        return answer

    def _tell(self, event: Any) -> Answer:
        job_id = self.cluster.spec.job_id
        if self.over:
            return JobOver(job_id)
        if self.master is None or not self.master.put(event):
            return NoJob(job_id)
        return Done()

    def _status(self) -> Message:
        spec = self.cluster.spec
        if self.over:
            return JobOver(spec.job_id)
        lease = self.watch.lease
        master, epoch = lease.master, lease.epoch
        if self.master is not None and self.master.epoch_in_force:
            master, epoch = self.member, self.master.epoch_in_force
        return JobStatus(spec.job_id, "", Progress(), (), 0, None, master, epoch=epoch)

    def _end(self) -> None:
        self.over = True
        self.services.end_job(self.cluster.spec.job_id)
        self.outputs.clear()
        self._waiting.clear()
        self.master = None

    # ------------------------------------------------------------------ attempts

    def _fill_slots(self) -> None:
        while self._waiting and len(self._running) < self.slots:
            order = self._waiting.pop(0)
            if self.services.wants(order):
                run = Run(order.attempt, self.number, self._world.now_s)
                if isinstance(order.work, MapWork):
                    run.bounds = order.work.bounds
                self._running[order.attempt] = run
                self.cluster.runs.append(run)
                self._world.start(self, self._run(order, run))

    def _run(self, order: StartAttempt, run: Run) -> Process[None]:
        outcome: Outcome | None = None
        if isinstance(order.work, ReduceWork):
            outcome = yield from self._fetch(order.work)
        outcome = outcome or self.cluster.work.outcome(order, Life(self.number, self.life))
        yield Sleep(self._draws.within(*WORK_MS) / 1000)
        self._running.pop(order.attempt, None)
        if self.services.wants(order):
            if isinstance(outcome, MapOutput):
                self.outputs[outcome.name] = order.attempt.task
            run.ended_s, run.failed = self._world.now_s, isinstance(outcome, Failed)
            run.useless_sums = isinstance(outcome, Failed) and outcome.lost_sums
            self.services.ended(order, outcome)
            self._report([order])
        self._fill_slots()

    def _fetch(self, work: ReduceWork) -> Process[Outcome | None]:
        for source in work.sources:
            replies = yield Ask({0: (source.node.port, Fetch(source.name))})
            if not isinstance(replies.get(0), Done):
                failure = Failure("Unreachable", f"cannot fetch {source.name}")
                return Failed(failure, True, source)
        return None

    def _report(self, orders: Iterable[StartAttempt]) -> None:
        for order in orders:
            report = self.services.report(order, self.member)
            if report is not None:
                master, message = report
                answered = partial(self._answered, order, message)
                self._reports.put(master.port, order.attempt, message, answered)
        self._reports.flush()

    def _answered(
        self, order: StartAttempt, report: AttemptEnded, answer: Answer | ClusterError
    ) -> None:
        if isinstance(answer, JobOver):
            self._end()
        elif isinstance(answer, Done):
            self.services.reported(order, report)

    # ------------------------------------------------------------------ the loops

    def _round(self) -> None:
        self._world.at(self, ROUND_S, self._round)
        if self.over:
            return
        for job_id, master in self.services.masters().items():
            self._world.start(self, self._sign(job_id, master))
        if self.master is None or self.master.left:
            self.master = None
            self._watch_over()

    def _sign(self, job_id: str, master: Address) -> Process[None]:
        orders = list(self.services.orders.values())
        ended = [order for order in orders if order.attempt in self.services.unreported]
        self._report(o for o in ended if not self._reports.has(master.port, o.attempt))
        running = tuple(Running(order.attempt, 0, 0) for order in orders)
        message = AttemptsRunning(job_id, self.member, running)
        reply = (yield Ask({0: (master.port, message)})).get(0)
        if isinstance(reply, JobOver):
            self._end()
        elif isinstance(reply, Done):
            self.services.heard_of(job_id)
        elif not isinstance(reply, Busy) and self.services.inquires(job_id):
            replies = yield Ask({n: (n, GetJob(job_id)) for n in range(len(self._world.hosts))})
            overs = [one for one in replies.values() if isinstance(one, JobOver)]
            others = [one for one in replies.values() if isinstance(one, JobStatus)]
            latest = max(others, key=lambda one: one.epoch, default=None)
            known = overs[0] if overs else latest
            if self.services.learnt(job_id, known):
                self._end() if isinstance(known, JobOver) else self.services.end_job(job_id)

    def _watch_over(self) -> None:
        silent = self.watch.lease.master
        others = [node.member for node in self.cluster.listed()]
        rank = sum(m.address.port < self.number and m != silent for m in others)
        step = self.watch.step(self._world.now_s, rank)
        if step is Step.TAKE:
            self.take(self.watch.lease.epoch)
        elif step is Step.READ and not self._looking:
            self._looking = True
            self._world.start(self, self._look())
        elif silent is not None:
            self._world.start(self, self._ask_master(silent))

    def take(self, seen_epoch: int) -> None:
        """Try to be the job's master."""
        self.cluster.takeovers += bool(seen_epoch)
        self.master = Master(self, seen_epoch)
        self._world.start(self, self.master.run())

    def _look(self) -> Process[None]:
        assert self.cluster.birth is not None
        try:
            read = self.proposer.read(self.cluster.birth.record())
            state = yield from self._world.perform(read)
        except ClusterError:
            self._looking = False
            return
        self._looking = False
        lease = Lease.decode(state.value)
        self.watch.read(lease, state.version, self._world.now_s)
        if JobState.decode(lease.payload).ending is not None:
            self._end()

    def _ask_master(self, master: Member) -> Process[None]:
        job_id = self.cluster.spec.job_id
        reply = (yield Ask({0: (master.address.port, WatchJobs((job_id,)))})).get(0)
        if self.watch.lease.master != master:
            return
        epoch = reply.epochs[0] if isinstance(reply, JobsWatched) else None
        if epoch == OVER:
            self._world.start(self, self._look())
        elif epoch:
            self.watch.heard(epoch, self._world.now_s)
        else:
            self.watch.unheard(denied=epoch is not None)
