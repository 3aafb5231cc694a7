"""What is true of a scheduler after every event, checked from outside.

For tests and simulation: :func:`check` looks at one moment and recounts everything, so it costs
as much as the job has tasks; a :class:`Watch` looks at what changes from one event to the next.
Both raise AssertionError and say what is wrong with which task or node.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain

from map_reduce.core.identifiers import Member
from map_reduce.core.jobs.state import FinalWin, JobEnd, MapWin, Trouble
from map_reduce.core.messages import AttemptId, MapWork, OutputPart, Progress, ReduceWork
from map_reduce.core.scheduling.backups import backups_max
from map_reduce.core.scheduling.effects import Commit, Effect, Fail, Finish, Start, Stop
from map_reduce.core.scheduling.pending import Needs
from map_reduce.core.scheduling.scheduler import JobScheduler
from map_reduce.core.scheduling.states import JobPhase, TaskState
from map_reduce.core.scheduling.tasks import Attempt, FinalTask, MapTask, ReduceTask, Task

PROGRESS_OF_PHASE = {
    JobPhase.WAITING.value: 0,
    JobPhase.MAP.value: 1,
    JobPhase.REDUCE.value: 2,
    JobPhase.DONE.value: 3,
    JobPhase.FAILED.value: 3,
    JobPhase.CANCELLED.value: 3,
}


def check(scheduler: JobScheduler) -> None:
    """All that must hold of a scheduler between two events.

    Raises:
        AssertionError: something does not; says what.
    """
    _check_tasks(scheduler)
    _check_attempts(scheduler)
    _check_outputs(scheduler)
    _check_tally(scheduler)
    if scheduler.ending is not None:
        assert not scheduler.attempts, "attempts are in flight after the end"
    else:
        _check_slots_used(scheduler)
    if scheduler.phase is JobPhase.DONE:
        missing = [task for task in _tasks(scheduler) if task.state is not TaskState.COMMITTED]
        assert not missing, f"the job is done without {missing[0].phase} task {missing[0].index}"


def _tasks(scheduler: JobScheduler) -> list[Task]:
    return [*scheduler.ledger.maps, *scheduler.ledger.finals]


def _check_tasks(scheduler: JobScheduler) -> None:
    ledger = scheduler.ledger
    waiting = list(chain(scheduler.map_queue, scheduler.final_queue))
    assert len(waiting) == len(set(waiting)), "a task waits twice"
    assert len(waiting) == len(scheduler.map_queue) + len(scheduler.final_queue)
    for task in _tasks(scheduler):
        name = f"{task.phase} task {task.index}"
        running = [attempt for attempt in scheduler.attempts.values() if attempt.task is task]
        assert tuple(running) == task.attempts, f"{name} has other attempts than are in flight"
        on = [attempt.node for attempt in running]
        assert len(set(on)) == len(on) <= 2, f"{name} has more than a backup, or on its own node"
        if task.state is TaskState.RUNNING:
            assert scheduler.ending or running, f"{name} runs without an attempt"
        else:
            assert not running, f"{name} is {task.state.value} and has attempts"
        if scheduler.ending is None:
            assert (task in waiting) == (task.state is TaskState.PENDING), f"{name} is misplaced"
        failed = [ending.attempt for ending in task.endings]
        assert len(set(failed)) == len(failed), f"a failure of {name} counts twice"
        committed = task.state is TaskState.COMMITTED
        made = task.output if isinstance(task, MapTask) else getattr(task, "part", None)
        assert committed == (task.winner is not None) == (made is not None), f"{name}: no output"
        assert len(task.endings) <= scheduler.attempts_max, f"{name} was tried too often"
        assert task.losses <= scheduler.losses_max or scheduler.ending, f"{name}: livelock"
    assert ledger.maps_missing == _missing(ledger.maps), "maps_missing is miscounted"
    assert ledger.finals_missing == _missing(ledger.finals), "finals_missing is miscounted"
    reduces = [task for task in ledger.finals if isinstance(task, ReduceTask)]
    if reduces:
        cuts = [0, *(task.last for task in reduces)]
        assert [task.first for task in reduces] == cuts[:-1], "partitions are left out"
        assert cuts[-1] == ledger.partitions, "the last partitions are left out"


def _missing(tasks: list[MapTask] | list[FinalTask]) -> int:
    return sum(task.state is not TaskState.COMMITTED for task in tasks)


def _check_attempts(scheduler: JobScheduler) -> None:
    on_nodes = [attempt for node in scheduler.nodes for attempt in node.attempts.values()]
    assert len(on_nodes) == len(scheduler.attempts), "an attempt is in flight on no known node"
    for attempt in on_nodes:
        assert scheduler.attempts.get(attempt.id) is attempt, f"{attempt.id} is not in flight"
        node = attempt.node
        assert node.reader or not attempt.task.readers_only, f"{node.member} can't read the input"


def _check_outputs(scheduler: JobScheduler) -> None:
    ledger = scheduler.ledger
    sizes = [0] * ledger.partitions
    for task in ledger.maps:
        output = task.output
        if output is None:
            continue
        sizes = [one + other for one, other in zip(sizes, output.sizes(), strict=True)]
        node = scheduler.nodes.get(output.node)
        if node is not None:
            assert task in node.outputs, f"the output of map task {task.index} is on no node"
        elif scheduler.ending is None:
            assert not ledger.needs(task), f"the output of map task {task.index} is gone"
    if ledger.maps:
        assert sizes == ledger.partition_bytes, "the partitions' sizes are miscounted"
    for node in scheduler.nodes:
        for task in node.outputs:
            assert task.output is not None, f"{node.member} holds no output of task {task.index}"
            assert task.output.node == node.member


def _check_tally(scheduler: JobScheduler) -> None:
    ledger = scheduler.ledger
    tallies = [task.output.tally for task in ledger.maps if task.output is not None]
    tallies += [task.tally for task in ledger.finals]
    counters: Counter[str] = Counter()
    for tally in tallies:
        for name, count in tally.counters:
            counters[name] += count
    assert counters == ledger.tally.counters, "the counters are not those of what is committed"
    assert sum(tally.records_skipped for tally in tallies) == ledger.tally.records_skipped
    assert sum(tally.keys_skipped for tally in tallies) == ledger.tally.keys_skipped


def _check_slots_used(scheduler: JobScheduler) -> None:
    ledger = scheduler.ledger
    queue = scheduler.map_queue if ledger.maps_missing else scheduler.final_queue
    commits = scheduler.commits
    if not (commits.adding_written if ledger.maps_missing else commits.maps_written):
        assert commits.in_flight, "tasks wait for a batch that nobody writes"
        return
    if len(ledger.maps) * scheduler.nodes.slots_total >= scheduler.sources_per_event_max:
        return
    for node in scheduler.nodes.awake():
        if node.queued < 0:
            for task in queue:
                needs = Needs.of(task)
                assert not needs.met_by(node, scheduler.nodes), (
                    f"{node.member} has a free slot and {task.phase} task {task.index} waits"
                )


class WrittenLedger:
    """What was written of a job, for another master to go on from."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()
        self.maps: dict[int, MapWin] = {}
        self.finals: dict[int, FinalWin] = {}
        self.troubles: dict[str, tuple[Trouble, ...]] = {}  # by shard
        self.cuts: tuple[int, ...] | None = None
        self.adds = True
        self.ending: JobEnd | None = None

    def write(self, batch: Commit) -> None:
        """As whoever keeps the records does: a shard takes the place of the one before."""
        assert self.ending is None, "a batch is written after the end"
        self.numbers.add(batch.number)
        for label, shard in batch.shards:
            self.troubles[label] = shard.troubles
            self.maps.update((win.task, win) for win in shard.maps)
            self.finals.update((won.task, won) for won in shard.finals)
        if batch.cuts is not None:
            assert self.cuts in (None, batch.cuts), "the job is cut twice"
            self.cuts = batch.cuts
        self.adds = self.adds and batch.adds
        self.ending = batch.ending


class Watch:
    """Call :meth:`step` after every event with what it led to, and :meth:`written` before it hears
    that a batch was written; :attr:`ledger` is then what another master would find."""

    def __init__(self, scheduler: JobScheduler, ledger: WrittenLedger | None = None) -> None:
        self._scheduler = scheduler
        self._started: dict[tuple[str, int], int] = {}  # attempts begun at each task
        self._finals: dict[int, tuple[AttemptId | None, OutputPart | None]] = {}
        self._shown = Progress()
        self._over = False
        self._batch: Commit | None = None
        self.ledger = WrittenLedger() if ledger is None else ledger
        self.ledger.numbers.clear()  # each master counts its own

    def written(self, batch: Commit) -> None:
        self.ledger.write(batch)

    def step(self, effects: tuple[Effect, ...], now_s: float) -> None:
        for effect in effects:
            match effect:
                case Start():
                    self._check_start(effect)
                case Stop():
                    assert effect.attempt.job_id == self._scheduler.spec.job_id
                    winner = self._scheduler.ledger.is_winner(effect.attempt)
                    assert not winner, f"{effect.attempt} is stopped, and its output counts"
                case Commit():
                    assert not self._over, "a batch after the end"
                    assert self._batch is None or self._batch.number in self.ledger.numbers, (
                        "a batch is under way, and another comes"
                    )
                    self._batch = effect
                case Finish() | Fail():
                    assert not self._over, "the job ended twice"
                    self._over = True
                    self._check_end(effect)
                    finished = isinstance(effect, Finish)
                    assert finished == (self._scheduler.phase is JobPhase.DONE)
                    if isinstance(effect, Finish):
                        given = tuple(task.part for task in self._scheduler.ledger.finals)
                        assert effect.parts == given, "the parts are not those of all tasks"
        assert self._over == self._scheduler.phase.ended, "the end was not told"
        self._check_commits()
        self._check_progress(now_s)
        check(self._scheduler)

    def _check_end(self, effect: Finish | Fail) -> None:
        ending = self.ledger.ending
        assert ending is not None, "the end is told before it is written"
        told = effect.parts if isinstance(effect, Finish) else effect.failure
        assert told == (ending.parts if isinstance(effect, Finish) else ending.failure)

    def _check_start(self, start: Start) -> None:
        id_ = start.attempt
        assert not self._over, f"{id_} is started after the end"
        expected = self._started.get((id_.phase, id_.task), 0)
        assert id_.number == expected, f"{id_} is not the next, which is {expected + 1}"
        self._started[id_.phase, id_.task] = id_.number + 1
        node = self._scheduler.nodes.get(start.node)
        assert node is not None, f"{id_} is started on {start.node}, which is not known"
        room = node.slots + self._scheduler.nodes.queued_max(node)
        assert len(node.attempts) <= room, f"{start.node} has too much to do"
        attempt = self._scheduler.attempts.get(id_)
        if attempt is not None and attempt.backup:
            self._check_backup(attempt)
        if isinstance(start.work, MapWork):
            agreed = start.work.adds == self.ledger.adds
            assert agreed, f"{id_} is told of adding otherwise than the ledger says"
        if isinstance(start.work, ReduceWork):
            self._check_sources(start.work)

    def _check_backup(self, backup: Attempt) -> None:
        """A backup is for idle slots that no task waits for, and there are not many of them."""
        scheduler = self._scheduler
        assert scheduler.backups.on, "backups are switched off"
        queue = scheduler.map_queue if scheduler.ledger.maps_missing else scheduler.final_queue
        waits = queue.has_for(backup.node, scheduler.nodes)
        assert not waits, "a backup is started where a task waits"
        assert not backup.waits, "a backup waits behind the slots"
        backups = sum(attempt.backup for attempt in scheduler.attempts.values())
        assert backups <= backups_max(scheduler.nodes.slots_total), "too many backups"

    def _check_sources(self, work: ReduceWork) -> None:
        wanted: list[tuple[Member, str, int]] = []
        for task in self._scheduler.ledger.maps:
            assert task.output is not None, f"reduce begins without map task {task.index}"
            length = task.output.length_bytes(work.first_partition, work.last_partition)
            if length:
                win = self.ledger.maps.get(task.index)
                written = None if win is None else (win.node, win.name)
                assert written == (task.output.node, task.output.name), (
                    f"reduce begins before the ledger has the output of map task {task.index}"
                )
                unused = self.ledger.adds or not task.output.added
                assert unused, f"the output of map task {task.index} was added up"
                wanted.append((task.output.node, task.output.name, length))
        assert work.last_partition in (self.ledger.cuts or ()), "a cut that is not in the ledger"
        given = [(source.node, source.name, source.length_bytes) for source in work.sources]
        assert given == [(node.address, name, length) for node, name, length in wanted]

    def _check_commits(self) -> None:
        for task in self._scheduler.ledger.finals:
            if task.state is TaskState.COMMITTED:
                now = (task.winner, task.part)
                before = self._finals.setdefault(task.index, now)
                assert before == now, f"{task.phase} task {task.index} was committed twice"

    def _check_progress(self, now_s: float) -> None:
        before, shown = self._shown, self._scheduler.progress(now_s)
        self._shown = shown
        assert PROGRESS_OF_PHASE[before.phase] <= PROGRESS_OF_PHASE[shown.phase]
        for name in shown.__struct_fields__:
            if name != "phase":
                assert getattr(before, name) <= getattr(shown, name), f"{name} went back"
        assert shown.map_tasks_done <= shown.map_tasks_total
        assert shown.reduce_tasks_done <= shown.reduce_tasks_total
        if shown.input_bytes_total:
            assert shown.input_bytes_done <= shown.input_bytes_total
