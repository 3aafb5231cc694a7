"""The scheduling of one job: who runs what, what counts, and when it is over.

Theory of operation
===================

A :class:`JobScheduler` is a value with one operation, ``handle(event, now_s) -> effects``. It
never waits, reads no clock, and sees ids, sizes and times but no user data. Whoever drives it
(``runtime`` over the network, ``simulation`` over a seeded one) feeds it what happens and does
what it says.

    NodesKnown, AttemptTaken/Refused/Ended,        ┌──────────────┐     Start, Stop, Commit,
    StillRunning, Committed, Tick, Cancel ───────▶ │ JobScheduler │ ──▶ then Finish or Fail
    (first TakenOver, after another master)        └──────────────┘

The rules:

1.  **Cut.** A job of one split is one task that maps and reduces on the spot. Any other has a map
    task for each split, and gets its reduce tasks when all map output is measured (``plan``).
2.  **Give.** A node with a free slot is given a task at once, the least loaded node first, and
    those that were slow last. While tasks are plenty, one more waits at each node that is not
    slow, so that no worker waits for the network, and two for each slot where tasks take no
    longer than an order's way; they go elsewhere where they wait in vain.
    As long as a map output is missing, only map tasks are given: every reduce task needs it.
3.  **Commit.** The first attempt of a task that succeeds counts; no other ever does. What is
    reported by an attempt that is not in flight (a repeat, a late one, one given up) is ignored.
    What counts is written to the job's ledger in the ring, in batches, and before anything that
    others can see follows from it (``commits``): a reduce task that reads the output, the end.
4.  **Whose fault.** An attempt that fails for good fails the job. One that fails by its own doing
    (user code raised, its process died, its time ran out) is repeated, with care and if possible
    elsewhere, until that is hopeless or a record is found guilty (``blame``). One lost by no
    fault of its own (its node is gone or silent, a map output could not be fetched) is repeated
    too, up to ``losses_max``. One that was not taken does not count; its node is left alone for a
    while.
5.  **Lost output.** A map output is gone with its node, or when a reduce attempt could not fetch
    it. If a reduce task still needs it, the map task runs again, in the middle of the reduce
    phase if need be; reduce tasks that were committed stay so. A node whose outputs cannot be
    fetched time and again is taken to have lost them all. Ints that were added up, and for which
    a reduce attempt has no use, are as good as lost, all of them, and not added up any more.
6.  **End.** Every wait has an end: a silent node's attempts are lost after
    ``node_silence_s_max``, an attempt that its node keeps failing to mention after
    ``unlisted_s_max``; a job of which no node takes a task, or whose input no node can read,
    fails after ``no_node_s_max``. A node that says it is busy is waited for: it works.
7.  **Back up.** Where slots are free and no task waits for them, one that lags far behind what is
    to be expected is begun a second time on another node, if the job and the cluster have it so
    (``backups``). The first of the two that succeeds counts, the other is stopped.
8.  **Take over.** A scheduler that begins with TakenOver goes on where another was: what the ledger
    says is committed, what the nodes say they run is in flight (``restoring``). It begins with as
    many attempts and losses in hand as the first one did.
9.  **Whose clock.** These spans are measured in time during which the scheduler itself was awake:
    a pause of its own process counts for little, so it does not take all others for dead.

The cost of an event does not grow with the number of tasks, but for these: all maps are done,
a node is lost (its tasks), a reduce task starts (its message names every map output).
"""

from __future__ import annotations

from collections.abc import Iterable

from map_reduce.core.identifiers import Member
from map_reduce.core.jobs.state import JobEnd
from map_reduce.core.messages import (
    AttemptId,
    Failed,
    Failure,
    Figures,
    JobSpec,
    MapOutput,
    OutputPart,
    Progress,
    ReduceOutput,
    Running,
    Source,
)
from map_reduce.core.scheduling import failures
from map_reduce.core.scheduling.account import Account
from map_reduce.core.scheduling.backups import Backups, Idle
from map_reduce.core.scheduling.blame import Blame
from map_reduce.core.scheduling.commits import Commits
from map_reduce.core.scheduling.effects import Effect, Fail, Finish, Start, Stop
from map_reduce.core.scheduling.events import (
    AttemptEnded,
    AttemptRefused,
    AttemptTaken,
    Cancel,
    Committed,
    Event,
    NodesKnown,
    StillRunning,
    TakenOver,
    Tick,
)
from map_reduce.core.scheduling.figures import ended, figures_of
from map_reduce.core.scheduling.flights import Flights
from map_reduce.core.scheduling.giving import given
from map_reduce.core.scheduling.ledger import Ledger
from map_reduce.core.scheduling.losses import ADDED, Losses
from map_reduce.core.scheduling.nodes import BUSY_REST_S, Nodes, NodeState
from map_reduce.core.scheduling.patience import Patience
from map_reduce.core.scheduling.pending import Pending
from map_reduce.core.scheduling.restoring import adopt, restore
from map_reduce.core.scheduling.states import (
    JOB_TRANSITIONS,
    LAST_STEP,
    JobPhase,
    JobStep,
    TaskStep,
    after,
)
from map_reduce.core.scheduling.tasks import (
    Attempt,
    FinalTask,
    MapTask,
    ReduceTask,
    Task,
    still_pending,
)

NOTHING = Pending()


class JobScheduler:
    """The scheduler of one job. Attributes are for reading (tests, invariants), not for setting.

    Args:
        spec: the job.
        epoch: of this master in the job's record; its attempts are named by it.
        attempts_max: attempts at a task that may fail by their own doing.
        node_silence_s_max: how long a node with attempts may give no sign of life.
        now_s: any clock that does not run backwards; the same as is handed to :meth:`handle`.
        timeout_s: after which a node ends an attempt, where the job does not say.
        backups: whether tasks that lag are begun a second time, where the job does not say.
        no_node_s_max: how long to wait for a node that takes tasks, or that reads the input.
        losses_max: times a task may be lost by no fault of its own.
        unlisted_s_max: how long a node may keep an attempt without naming it in a sign of life.
        sources_per_event_max: map outputs named in the reduce tasks given at one event, where
            they are several: to name them takes time. The answers to those that were given are
            the events at which the next are.
    """

    def __init__(
        self,
        spec: JobSpec,
        *,
        epoch: int,
        attempts_max: int,
        node_silence_s_max: float,
        now_s: float,
        timeout_s: float = 300.0,
        backups: bool = True,
        no_node_s_max: float = 30.0,
        losses_max: int = 20,
        unlisted_s_max: float = 600.0,
        sources_per_event_max: int = 1 << 17,
    ) -> None:
        self.spec = spec
        self.epoch = epoch
        self.attempts_max = attempts_max
        self.node_silence_s_max = node_silence_s_max
        self.timeout_s = spec.rules.timeout_s or timeout_s
        self.losses_max = losses_max
        self.unlisted_s_max = unlisted_s_max
        self.sources_per_event_max = sources_per_event_max

        self.phase = JobPhase.WAITING
        self.ledger = Ledger()
        self.blame = Blame(spec.rules, attempts_max, self.ledger)
        self.nodes = Nodes(spec.readers)
        self.map_queue = Pending()
        self.final_queue = Pending()
        self.commits = Commits()
        self.ending: JobEnd | None = None  # decided, and perhaps not written yet

        on = backups if spec.rules.backups is None else spec.rules.backups
        self.backups = Backups(self.timeout_s, on)
        self._account = Account(spec.input_bytes, now_s)
        self._flights = Flights(self.nodes, self._account)
        self._losses = Losses(self.ledger, self.nodes, self.commits, self._account, losses_max)
        self.attempts = self._flights.attempts
        self._effects: list[Effect] = []
        self._patience = Patience(spec, no_node_s_max, now_s)
        self._real_s = now_s
        self._now_s = now_s  # without the scheduler's own pauses: rule 9

    def handle(self, event: Event, now_s: float) -> tuple[Effect, ...]:
        """Take note of the event and say what is to be done now, in this order.

        Events may come late, repeatedly, in any order, and after the end.
        """
        awake_s_max = self.node_silence_s_max / 4
        self._now_s += min(max(0.0, now_s - self._real_s), awake_s_max)
        self._real_s = max(self._real_s, now_s)
        match event:
            case AttemptTaken():
                self._taken(event.attempt, event.node)
            case StillRunning():
                self._still_running(event.node, event.running)
            case Committed():
                self._committed(event.number)
            case _ if self.ending is not None:
                pass
            case TakenOver():
                self._taken_over(event)
            case NodesKnown():
                self._nodes_known(event)
            case AttemptRefused():
                self._refused(event)
            case AttemptEnded():
                self._ended(event)
            case Tick():
                self._tick()
            case Cancel():
                self._fail(failures.cancelled(event.reason), JobPhase.CANCELLED)
        if self.ending is None:
            # A look at all idle nodes is for when something has changed, or for the next tick: a
            # thousand signs of life a second are not to take a thousand of them.
            self._advance(backs_up=not isinstance(event, StillRunning | AttemptTaken))
        self._commit()
        effects = tuple(self._effects)
        self._effects.clear()
        return effects

    def progress(self, now_s: float) -> Progress:
        """How far the job is; never less far than in the answer before."""
        return self._account.show(self.phase, self.ledger, now_s)

    def figures(self) -> Figures:
        """What the tasks that are committed have cost; takes time in proportion to their number."""
        return figures_of(self.spec, self.ledger, self.nodes)

    # -------------------------------------------------------------- the job moves on

    def _advance(self, backs_up: bool) -> None:
        ledger, slots, splits = self.ledger, self.nodes.slots_total, self.spec.splits
        if self.phase is JobPhase.WAITING and splits:
            if not slots:
                return
            ledger.cut(self.spec)
            self._queue_up()
            self._job_step(JobStep.PLANNED)
        elif not (ledger.maps_missing or ledger.reduce_planned) and splits:
            ledger.plan_reduce(slots)
            self._queue_up()
            if ledger.finals:
                self.commits.cut()
                self._job_step(JobStep.ALL_MAPPED)
        if ledger.maps_missing or ledger.finals_missing:
            self._give()
            if backs_up:
                self._back_up()
        else:
            self._end(JobPhase.DONE, parts=ledger.parts())

    def _taken_over(self, event: TakenOver) -> None:
        """Rule 8. Attempts in flight first, so that nobody is given what somebody runs."""
        self.nodes.update(event.nodes, self._now_s)
        if self.spec.splits:
            restore(self.ledger, self.nodes, self._account, self.spec, event)
            for unwanted in adopt(self.ledger, self.nodes, self._flights, event, self._now_s):
                self._stop_unwanted(*unwanted)
            self._queue_up()
            self._job_step(JobStep.PLANNED)
            if event.cuts:
                self._job_step(JobStep.ALL_MAPPED)

    def _queue_up(self) -> None:
        """Have all tasks wait that are to be given out."""
        self.map_queue = Pending(still_pending(self.ledger.maps))
        self.final_queue = Pending(still_pending(self.ledger.finals_in_order()))

    def _fail(self, failure: Failure, phase: JobPhase = JobPhase.FAILED) -> None:
        if self.ending is not None:
            return
        for attempt in list(self.attempts.values()):
            self._drop(attempt, stop=True)
        self._end(phase, failure=failure)

    def _end(
        self, phase: JobPhase, parts: tuple[OutputPart, ...] = (), failure: Failure | None = None
    ) -> None:
        """From here on nothing is decided any more; it is told once it is written."""
        self._account.close(self._real_s)
        self.commits.ended()
        progress = self._account.show(phase, self.ledger, self._real_s)
        self.ending = ended(progress, parts, failure, self.spec, self.ledger, self.nodes)

    def _commit(self) -> None:
        """Put a batch under way, if one is due."""
        if not self.phase.ended and self.commits.is_due(self.ledger, self.ending, self._now_s):
            self._effects.append(self.commits.batch(self.ledger, self.ending))

    def _committed(self, number: int) -> None:
        batch = self.commits.written(number)
        if batch is None or batch.ending is None:
            return
        failure = batch.ending.failure
        self._effects.append(Finish(batch.ending.parts) if failure is None else Fail(failure))
        self._job_step(LAST_STEP[JobPhase(batch.ending.progress.phase)])

    def _job_step(self, step: JobStep) -> None:
        self.phase = after(JOB_TRANSITIONS, self.phase, step)

    # -------------------------------------------------------------- tasks go out

    def _give(self) -> None:
        maps = len(self.ledger.maps)
        for task, node in given(self._queue, self.nodes, maps, self.sources_per_event_max):
            self._start(task, node)

    def _back_up(self) -> None:
        """On free slots that no task waits for: take over what waits behind the slots of others,
        and begin tasks that lag a second time."""
        if self._queue is NOTHING:
            return  # reduce tasks may not begin yet, nor a second time
        free = self.nodes.with_room(readers_only=False, queueing=False)
        if not (free := [n for n in free if not self._queue.has_for(n, self.nodes)]):
            return
        idle = Idle(free, self.nodes.slots_total)
        kind = MapTask if self.ledger.maps_missing else FinalTask
        for attempt, node in self.backups.to_move(self.attempts, kind, idle, self._now_s):
            self._drop(attempt, stop=True)
            attempt.task.step(TaskStep.ALL_ATTEMPTS_GONE)
            self._start(attempt.task, node)
        for task, node in self.backups.wanted(self.attempts, kind, idle, self._now_s):
            self._start(task, node)

    @property
    def _queue(self) -> Pending:
        """The tasks that may be given now."""
        if self.ledger.maps_missing:
            return self.map_queue if self.commits.adding_written else NOTHING
        return self.final_queue if self.commits.maps_written else NOTHING

    def _start(self, task: Task, node: NodeState) -> None:
        number = task.attempts_begun
        task.attempts_begun += 1
        id_ = AttemptId(self.spec.job_id, task.phase, task.index, number, self.epoch)
        self._flights.begin(id_, task, node, self.ledger.size_bytes(task), self._now_s)
        work, careful = self.ledger.work(task), bool(task.endings or task.known_bad)
        self._effects.append(Start(node.member, id_, work, careful, self.blame.skipping(task)))

    # -------------------------------------------------------------- attempts end

    def _taken(self, attempt_id: AttemptId, member: Member) -> None:
        attempt = self._flights.find(attempt_id, member)
        if attempt is None:
            self._stop_unwanted(attempt_id, member)
            return
        attempt.taken = True
        self._served(attempt.node)

    def _still_running(self, member: Member, running: tuple[Running, ...]) -> None:
        node = self.nodes.get(member)
        if node is not None:
            node.heard_s = self._now_s
        for one in running:
            attempt = self._flights.find(one.attempt, member)
            if attempt is None:
                self._stop_unwanted(one.attempt, member)
                continue
            self._flights.note(attempt, one, self._now_s)

    def _refused(self, event: AttemptRefused) -> None:
        attempt = self._flights.find(event.attempt, event.node)
        if attempt is None:
            return
        node = attempt.node
        self._drop(attempt, stop=not event.busy)
        if event.busy:
            node.heard_s = self._now_s
            self._patience.served(self._now_s)
            self.nodes.rest(node, BUSY_REST_S, self._now_s)
        else:
            self._patience.refused(node.member, event.reason)
            self.nodes.rest(node, node.refused(), self._now_s)
        self._back_to_pending(attempt.task)

    def _ended(self, event: AttemptEnded) -> None:
        attempt = self._flights.find(event.attempt, event.node)
        if attempt is None:
            return
        self._served(attempt.node)
        self._drop(attempt)
        self.nodes.wake(attempt.node)
        task, outcome = attempt.task, event.outcome
        if isinstance(outcome, Failed):
            self._attempt_failed(attempt, outcome)
        elif isinstance(outcome, MapOutput) and outcome.added and not self.ledger.adds:
            self._count_loss(task, ADDED)
            self._back_to_pending(task)
        elif isinstance(outcome, MapOutput | ReduceOutput) and self.ledger.fits(task, outcome):
            self.backups.note(attempt, self._now_s)
            self.nodes.paced(self._now_s - attempt.since_s)
            self.ledger.commit(task, attempt.id, attempt.node.member, outcome)
            if isinstance(task, MapTask):
                attempt.node.outputs[task] = None
            self.commits.won(task, self._now_s)
            for other in task.attempts:
                self._drop(other, stop=True)
            if not isinstance(task, ReduceTask):
                self._account.add(outcome.counts)
            if (failure := self.blame.excess()) is not None:
                self._fail(failure)
        else:
            failure = failures.wrong_output(attempt.id, event.node, outcome)
            self._attempt_failed(attempt, Failed(failure, retry=True))

    def _attempt_failed(self, attempt: Attempt, outcome: Failed) -> None:
        task = attempt.task
        self._account.attempts_failed += 1
        if outcome.lost_source is not None and isinstance(task, ReduceTask):
            self._source_lost(attempt, outcome.lost_source, outcome.lost_sums)
        elif (failure := self.blame.verdict(attempt, outcome)) is not None:
            self._fail(failure)
        else:
            self.commits.failed(task, self._now_s)
            self._back_to_pending(task)

    # -------------------------------------------------------------- losses

    def _nodes_known(self, event: NodesKnown) -> None:
        slots_before = self.nodes.slots_total
        for node in self.nodes.update(event.nodes, self._now_s):
            for attempt in list(node.attempts.values()):
                self._lose(attempt, f"{node.member} is gone", stop=False)
            self._lose_outputs(node, list(node.outputs))
        if not slots_before and self.nodes.slots_total:
            self._patience.served(self._now_s)

    def _tick(self) -> None:
        now_s = self._now_s
        self.nodes.wake_rested(now_s)
        for attempt, why in self._flights.overdue(
            now_s, self.node_silence_s_max, self.unlisted_s_max
        ):
            self._lose(attempt, why, stop=True)
        # A batch that cannot be written is the ledger's trouble, and no node's fault.
        at_work = self.commits.in_flight is not None or any(
            attempt.taken for attempt in self.attempts.values()
        )
        failure = self._patience.ends_with(now_s, self.nodes, self._queue, at_work)
        if failure is not None:
            self._fail(failure)

    def _source_lost(self, attempt: Attempt, source: Source, sums: bool) -> None:
        """A reduce attempt could not fetch a map output, or has no use for its ``sums``."""
        self._count_loss(attempt.task, self._losses.told(attempt, source, sums))
        self._back_to_pending(attempt.task)
        lost = self._losses.added(source) if sums else self._losses.unfetched(source)
        for node, tasks in lost:
            self._lose_outputs(node, tasks, sums)

    def _lose_outputs(self, node: NodeState, tasks: Iterable[MapTask], sums: bool = False) -> None:
        """These outputs cannot be had from the node: make again what is still needed."""
        for task in self._losses.give_up(node, tasks, sums):
            self._count_loss(task, ADDED if sums else f"its output on {node.member} is gone")
            self.map_queue.put_back(task)

    def _lose(self, attempt: Attempt, why: str, stop: bool) -> None:
        """An attempt is given up by no fault of its own."""
        if self.ending is not None:
            return
        self._account.attempts_failed += 1
        self._drop(attempt, stop)
        self._count_loss(attempt.task, why)
        self._back_to_pending(attempt.task)

    def _count_loss(self, task: Task, why: str) -> None:
        if (failure := self._losses.count(task, why)) is not None:
            self._fail(failure)

    # -------------------------------------------------------------- small steps

    def _served(self, node: NodeState) -> None:
        """The node took or ended an attempt, so it is well."""
        node.heard_s = self._now_s
        self._patience.served(self._now_s)
        node.refusals = 0

    def _drop(self, attempt: Attempt, stop: bool = False) -> None:
        """The attempt is no longer in flight."""
        node = self._flights.end(attempt, self._now_s)
        if stop:
            self._effects.append(Stop(node.member, attempt.id))

    def _back_to_pending(self, task: Task) -> None:
        if task.attempts or self.ending is not None:
            return
        task.step(TaskStep.ALL_ATTEMPTS_GONE)
        (self.map_queue if isinstance(task, MapTask) else self.final_queue).put_back(task)

    def _stop_unwanted(self, attempt_id: AttemptId, member: Member) -> None:
        """A node runs what nobody waits for. An output that counts is not touched."""
        if attempt_id.job_id == self.spec.job_id and not self.ledger.is_winner(attempt_id):
            self._effects.append(Stop(member, attempt_id))
