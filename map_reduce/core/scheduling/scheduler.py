"""The scheduling of one job: who runs what, what counts, and when it is over.

Theory of operation
===================

A :class:`JobScheduler` is a value with one operation, ``handle(event, now_s) -> effects``. It
never waits, reads no clock, and sees ids, sizes and times but no user data. Whoever drives it
(``runtime`` over the network, ``simulation`` over a seeded one) feeds it what happens and does
what it says.

    NodesKnown, AttemptTaken/Refused/Ended,        ┌──────────────┐     Start, Stop,
    StillRunning, Tick, Cancel            ───────▶ │ JobScheduler │ ──▶ then Finish or Fail
                                                   └──────────────┘

The rules:

1.  **Cut.** A job of one split is one task that maps and reduces on the spot. Any other gets its
    number of partitions when the first slots are known, a map task for each split, and its
    reduce tasks when all map output is measured (``plan``).
2.  **Give.** A node with a free slot is given a task at once, the least loaded node first, and
    those that were slow last. While tasks are plenty, one more waits at each node that is not
    slow, so that no worker waits for the network; it goes elsewhere where it waits in vain.
    As long as a map output is missing, only map tasks are given: every reduce task needs it.
3.  **Commit.** The first attempt of a task that succeeds counts; no other ever does. What is
    reported by an attempt that is not in flight (a repeat, a late one, one given up) is ignored.
4.  **Whose fault.** An attempt that fails for good fails the job. One that fails by its own doing
    (user code raised, its process died, its time ran out) is repeated, with care and if possible
    elsewhere, until that is hopeless or a record is found guilty (``blame``). One lost by no
    fault of its own (its node is gone or silent, a map output could not be fetched) is repeated
    too, up to ``losses_max``. One that was not taken does not count; its node is left alone for a
    while.
5.  **Lost output.** A map output is gone with its node, or when a reduce attempt could not fetch
    it. If a reduce task still needs it, the map task runs again, in the middle of the reduce
    phase if need be; reduce tasks that were committed stay so. A node whose outputs cannot be
    fetched time and again is taken to have lost them all.
6.  **End.** Every wait has an end: a silent node's attempts are lost after
    ``node_silence_s_max``, an attempt that its node keeps failing to mention after
    ``unlisted_s_max``; a job of which no node takes a task, or whose input no node can read,
    fails after ``no_node_s_max``. A node that says it is busy is waited for: it works.
7.  **Back up.** When no task waits any more, one that lags far behind what is to be expected is
    begun a second time on another node, where the job and the cluster have it so (``backups``).
    The first of the two that succeeds counts, the other is stopped.
8.  **Whose clock.** These spans are measured in time during which the scheduler itself was awake:
    a pause of its own process counts for little, so it does not take all others for dead.

The cost of an event does not grow with the number of tasks, but for these: all maps are done,
a node is lost (its tasks), a reduce task starts (its message names every map output).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from map_reduce.core.identifiers import Member
from map_reduce.core.messages import (
    AttemptId,
    Counts,
    Failed,
    Failure,
    JobSpec,
    MapOutput,
    Progress,
    ReduceOutput,
    Running,
    Source,
)
from map_reduce.core.scheduling import failures
from map_reduce.core.scheduling.account import Account
from map_reduce.core.scheduling.backups import Backups
from map_reduce.core.scheduling.blame import Blame
from map_reduce.core.scheduling.effects import Effect, Fail, Finish, Start, Stop
from map_reduce.core.scheduling.events import (
    AttemptEnded,
    AttemptRefused,
    AttemptTaken,
    Cancel,
    Event,
    NodesKnown,
    StillRunning,
    Tick,
)
from map_reduce.core.scheduling.ledger import Ledger
from map_reduce.core.scheduling.nodes import BUSY_REST_S, QUEUED_MAX, REST_S_MAX, Nodes, NodeState
from map_reduce.core.scheduling.pending import Pending
from map_reduce.core.scheduling.states import JOB_TRANSITIONS, JobPhase, JobStep, TaskStep, after
from map_reduce.core.scheduling.tasks import (
    Attempt,
    FinalTask,
    MapTask,
    ReduceTask,
    Task,
)

FETCHES_FAILED_MAX = 3
"""Map outputs that could not be fetched from one node, until all of that node's are given up."""


class JobScheduler:
    """The scheduler of one job. Attributes are for reading (tests, invariants), not for setting.

    Args:
        spec: the job.
        epoch: of this master in the job's record; for whoever performs the effects.
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
        self.no_node_s_max = no_node_s_max
        self.losses_max = losses_max
        self.unlisted_s_max = unlisted_s_max
        self.sources_per_event_max = sources_per_event_max

        self.phase = JobPhase.WAITING
        self.ledger = Ledger()
        self.blame = Blame(spec.rules, attempts_max, self.ledger)
        self.nodes = Nodes(spec.readers)
        self.attempts: dict[AttemptId, Attempt] = {}  # in flight
        self.map_queue = Pending()
        self.final_queue = Pending()

        on = backups if spec.rules.backups is None else spec.rules.backups
        self.backups = Backups(self.timeout_s, on)
        self._account = Account(spec.input_bytes, now_s)
        self._effects: list[Effect] = []
        self._last_refusal: tuple[Member, str] | None = None
        self._real_s = now_s
        self._now_s = now_s  # without the scheduler's own pauses: rule 8
        self._served_s = now_s  # when some node last took, ran or ended an attempt, or was busy
        self._readable_s = now_s  # when the input that is still needed could last be read

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
            case _ if self.phase.ended:
                pass
            case NodesKnown():
                self._nodes_known(event)
            case AttemptRefused():
                self._refused(event)
            case AttemptEnded():
                self._ended(event)
            case Tick():
                self._tick()
            case Cancel():
                self._fail(failures.cancelled(event.reason), JobStep.CANCELLED)
        if not self.phase.ended:
            self._advance()
        effects = tuple(self._effects)
        self._effects.clear()
        return effects

    def progress(self, now_s: float) -> Progress:
        """How far the job is; never less far than in the answer before."""
        return self._account.show(self.phase, self.ledger, now_s)

    # -------------------------------------------------------------- the job moves on

    def _advance(self) -> None:
        ledger, slots = self.ledger, self.nodes.slots_total
        splits = self.spec.splits
        if self.phase is JobPhase.WAITING and splits:
            if not slots:
                return
            ledger.cut(splits, slots, self.spec.input_bytes)
            self.map_queue = Pending(ledger.maps)
            self.final_queue = Pending(ledger.finals)
            self._job_step(JobStep.PLANNED)
        elif not (ledger.maps_missing or ledger.reduce_planned) and splits:
            self.final_queue = Pending(ledger.plan_reduce(slots))
            if ledger.finals:
                self._job_step(JobStep.ALL_MAPPED)
        if ledger.maps_missing or ledger.finals_missing:
            self._give()
            self._back_up()
        else:
            self._effects.append(Finish(ledger.parts()))
            self._end(JobStep.ALL_COMMITTED)

    def _fail(self, failure: Failure, step: JobStep = JobStep.FAILED) -> None:
        if self.phase.ended:
            return
        for attempt in list(self.attempts.values()):
            self._drop(attempt, stop=True)
        self._effects.append(Fail(failure))
        self._end(step)

    def _end(self, step: JobStep) -> None:
        self._job_step(step)
        self._account.close(self._real_s)

    def _job_step(self, step: JobStep) -> None:
        self.phase = after(JOB_TRANSITIONS, self.phase, step)

    # -------------------------------------------------------------- tasks go out

    def _give(self) -> None:
        queue = self._queue
        if not queue:
            return
        slots = self.nodes.slots_total
        found = self.nodes.with_room(queue.readers_only, queueing=len(queue) > slots)
        rooms = [(node.is_slow, node.load, order, node) for order, node in enumerate(found)]
        heapq.heapify(rooms)
        sources = 0
        while rooms and queue and sources < self.sources_per_event_max:
            slow, _, order, node = heapq.heappop(rooms)
            if node.queued >= 0 and (slow or len(queue) <= slots):
                continue  # no task is to wait behind a slow one, nor where they are not plenty
            task = queue.take(node, self.nodes)
            if task is None:
                continue
            self._start(task, node)
            if isinstance(task, ReduceTask):
                sources += len(self.ledger.maps)
            if node.queued < QUEUED_MAX:
                heapq.heappush(rooms, (slow, node.load, order, node))

    def _back_up(self) -> None:
        """Once no task waits and slots are free: move what waits behind others to them, and begin
        tasks that lag a second time."""
        if not self._queue:
            kind = MapTask if self.ledger.maps_missing else FinalTask
            for attempt, node in self.backups.to_move(self.attempts, kind, self.nodes, self._now_s):
                self._drop(attempt, stop=True)
                attempt.task.step(TaskStep.ALL_ATTEMPTS_GONE)
                self._start(attempt.task, node)
            for task, node in self.backups.wanted(self.attempts, kind, self.nodes, self._now_s):
                self._start(task, node)

    @property
    def _queue(self) -> Pending:
        """The tasks that may be given now."""
        return self.map_queue if self.ledger.maps_missing else self.final_queue

    def _start(self, task: Task, node: NodeState) -> None:
        id_ = AttemptId(self.spec.job_id, task.phase, task.index, task.attempts_begun)
        attempt = Attempt(
            id_,
            task,
            node,
            heard_s=self._now_s,
            size_bytes=self.ledger.size_bytes(task),
            since_s=self._now_s,
            progressed_s=self._now_s,
            waits=node.queued >= 0,
            backup=bool(task.attempts),
        )
        task.attempts_begun += 1
        task.attempts += (attempt,)
        task.step(TaskStep.STARTED)
        if not node.attempts:
            node.heard_s = self._now_s
        node.attempts[id_] = self.attempts[id_] = attempt
        self.nodes.place(node)
        work, careful = self.ledger.work(task), bool(task.endings or task.known_bad)
        self._effects.append(Start(node.member, id_, work, careful, self.blame.skipping(task)))

    # -------------------------------------------------------------- attempts end

    def _taken(self, attempt_id: AttemptId, member: Member) -> None:
        attempt = self._in_flight(attempt_id, member)
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
            attempt = self._in_flight(one.attempt, member)
            if attempt is None:
                self._stop_unwanted(one.attempt, member)
                continue
            attempt.taken = True
            attempt.heard_s = self._now_s
            if one.bytes_in > attempt.bytes_done:
                attempt.bytes_done, attempt.progressed_s = one.bytes_in, self._now_s
            if not isinstance(attempt.task, ReduceTask):
                self._account.take_back(attempt.counts)
                attempt.counts = Counts(
                    max(attempt.counts.records_in, one.records),
                    max(attempt.counts.bytes_in, one.bytes_in),
                )
                self._account.add(attempt.counts)

    def _refused(self, event: AttemptRefused) -> None:
        attempt = self._in_flight(event.attempt, event.node)
        if attempt is None:
            return
        node = attempt.node
        self._drop(attempt, stop=not event.busy)
        if event.busy:
            node.heard_s = self._served_s = self._now_s
            self.nodes.rest(node, BUSY_REST_S, self._now_s)
        else:
            self._last_refusal = node.member, event.reason
            self.nodes.rest(node, node.refused(), self._now_s)
        self._back_to_pending(attempt.task)

    def _ended(self, event: AttemptEnded) -> None:
        attempt = self._in_flight(event.attempt, event.node)
        if attempt is None:
            return
        self._served(attempt.node)
        self._drop(attempt)
        self.nodes.wake(attempt.node)
        task, outcome = attempt.task, event.outcome
        if isinstance(outcome, Failed):
            self._attempt_failed(attempt, outcome)
        elif isinstance(outcome, MapOutput | ReduceOutput) and self.ledger.fits(task, outcome):
            self.backups.note(attempt, self._now_s)
            self.ledger.commit(task, attempt.id, attempt.node, outcome)
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
            self._source_lost(attempt, outcome.lost_source)
        elif (failure := self.blame.verdict(attempt, outcome)) is not None:
            self._fail(failure)
        else:
            self._back_to_pending(task)

    # -------------------------------------------------------------- losses

    def _nodes_known(self, event: NodesKnown) -> None:
        slots_before = self.nodes.slots_total
        for node in self.nodes.update(event.nodes, self._now_s):
            for attempt in list(node.attempts.values()):
                self._lose(attempt, f"{node.member} is gone", stop=False)
            self._lose_outputs(node, list(node.outputs))
        if not slots_before and self.nodes.slots_total:
            self._served_s = self._now_s  # those who come now are given their time

    def _tick(self) -> None:
        now_s = self._now_s
        self.nodes.wake_rested(now_s)
        for node in self.nodes:
            if node.attempts and now_s - node.heard_s > self.node_silence_s_max:
                self.nodes.rest(node, REST_S_MAX, now_s)
                why = f"{node.member} gave no sign of life for {self.node_silence_s_max:g} s"
                for attempt in list(node.attempts.values()):
                    self._lose(attempt, why, stop=True)
        for attempt in list(self.attempts.values()):
            if now_s - attempt.heard_s > self.unlisted_s_max:
                why = f"{attempt.node.member} did not run it for {self.unlisted_s_max:g} s"
                self._lose(attempt, why, stop=True)
        self._check_waiting()

    def _check_waiting(self) -> None:
        """Fail the job if nobody can read its input, or nobody takes its tasks."""
        now_s, bound_s = self._now_s, self.no_node_s_max
        slots = self.nodes.slots_total
        unreadable = None if self.nodes.readers_alive else self._queue.path_needed()
        if unreadable is None:
            self._readable_s = now_s
        elif slots and now_s - self._readable_s > bound_s:
            self._fail(failures.no_reader(bound_s, unreadable, self.spec.readers))
        if (slots and unreadable is not None) or any(one.taken for one in self.attempts.values()):
            self._served_s = now_s
        elif now_s - self._served_s > bound_s:
            refused = failures.all_refuse(bound_s, self._last_refusal)
            self._fail(refused if slots else failures.no_node(bound_s))

    def _source_lost(self, attempt: Attempt, source: Source) -> None:
        """A reduce attempt could not fetch a map output. The output's node is at fault, or the
        attempt's own: after a second time the reduce task goes elsewhere too."""
        task = attempt.task
        if task.losses:
            task.avoid |= {attempt.node.member}
        self._count_loss(
            task, f"{attempt.node.member} could not fetch {source.name} from {source.node}"
        )
        self._back_to_pending(task)
        holder = self.nodes.at(source.node)
        if holder is None or not (lost := holder.outputs_named(source.name)):
            return  # it has been given up since
        holder.fetches_failed += 1
        if holder.fetches_failed >= FETCHES_FAILED_MAX:
            holder.fetches_failed = 0
            lost = list(holder.outputs)
        self._lose_outputs(holder, lost)

    def _lose_outputs(self, node: NodeState, tasks: Iterable[MapTask]) -> None:
        """These outputs cannot be had from the node: make again what is still needed."""
        for task in tasks:
            if self.ledger.needs(task):
                output = self.ledger.lose_output(task)
                del node.outputs[task]
                self._account.take_back(output.counts)
                if self.nodes.get(node.member):
                    task.avoid |= {node.member}
                self._count_loss(task, f"its output on {node.member} is gone")
                self.map_queue.put_back(task)

    def _lose(self, attempt: Attempt, why: str, stop: bool) -> None:
        """An attempt is given up by no fault of its own."""
        if self.phase.ended:
            return
        self._account.attempts_failed += 1
        self._drop(attempt, stop)
        self._count_loss(attempt.task, why)
        self._back_to_pending(attempt.task)

    def _count_loss(self, task: Task, why: str) -> None:
        task.losses += 1
        if task.losses > self.losses_max:
            self._fail(failures.lost_too_often(task, why))

    # -------------------------------------------------------------- small steps

    def _in_flight(self, attempt_id: AttemptId, member: Member) -> Attempt | None:
        attempt = self.attempts.get(attempt_id)
        return attempt if attempt is not None and attempt.node.member == member else None

    def _served(self, node: NodeState) -> None:
        """The node took or ended an attempt, so it is well."""
        node.heard_s = self._served_s = self._now_s
        node.refusals = 0

    def _drop(self, attempt: Attempt, stop: bool = False) -> None:
        """The attempt is no longer in flight."""
        task, node = attempt.task, attempt.node
        del self.attempts[attempt.id], node.attempts[attempt.id]
        task.attempts = tuple(other for other in task.attempts if other is not attempt)
        self._account.take_back(attempt.counts)
        if (next_one := node.next_to_run()) is not None:
            next_one.waits, next_one.since_s = False, self._now_s
        self.nodes.place(node)
        if stop:
            self._effects.append(Stop(node.member, attempt.id))

    def _back_to_pending(self, task: Task) -> None:
        if task.attempts or self.phase.ended:
            return
        task.step(TaskStep.ALL_ATTEMPTS_GONE)
        (self.map_queue if isinstance(task, MapTask) else self.final_queue).put_back(task)

    def _stop_unwanted(self, attempt_id: AttemptId, member: Member) -> None:
        """A node runs what nobody waits for. An output that counts is not touched."""
        if attempt_id.job_id == self.spec.job_id and not self.ledger.is_winner(attempt_id):
            self._effects.append(Stop(member, attempt_id))
