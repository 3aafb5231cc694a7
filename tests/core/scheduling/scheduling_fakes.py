"""A cluster in a few dictionaries, for tests of the scheduler.

Nodes run nothing: a map output is the list of its split's sizes, and a reduce output names every
(split, partition) that it was made of, so that a finished job can be checked for pieces that are
missing, repeated or out of order. After every event the invariants are checked.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import chain

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import (
    AttemptId,
    BadRecord,
    Counts,
    Failed,
    Failure,
    FileText,
    FileTexts,
    Functions,
    InlineItems,
    JobSpec,
    MapOutput,
    MapWork,
    Outcome,
    OutputPart,
    ReduceOutput,
    ReduceWork,
    Running,
    Skipping,
    SmallFile,
    Split,
    Suspect,
    Tally,
    TextFormat,
    Work,
)
from map_reduce.core.scheduling.effects import Commit, Effect, Fail, Finish, Start, Stop
from map_reduce.core.scheduling.events import (
    AttemptEnded,
    AttemptRefused,
    AttemptTaken,
    Committed,
    Event,
    Holding,
    NodesKnown,
    NodeSlots,
    StillRunning,
    TakenOver,
    Tick,
)
from map_reduce.core.scheduling.invariants import Watch
from map_reduce.core.scheduling.plan import partitions_for
from map_reduce.core.scheduling.scheduler import JobScheduler

MIB = 1 << 20
SILENCE_S_MAX = 4.0
NO_NODE_S_MAX = 30.0
UNLISTED_S_MAX = 40.0
SLOTS = 4
"""What whoever submits a job sees; two nodes of two slots are usual here."""


def member(port: int, incarnation: int = 1) -> Member:
    return Member(Address("10.0.0.1", port), incarnation)


def items(index: int) -> Split:
    return InlineItems(b"", 10, index, False)


def lines(index: int, path: str = "/data/big.txt") -> Split:
    return FileText(path, index * 100, index * 100 + 100, index, 10**6, 0, TextFormat())


def small_files(*names: str) -> Split:
    return FileTexts("/data/", "", "", tuple(SmallFile(name, 10, 0, "") for name in names))


def job(
    *splits: Split, readers: tuple[Address, ...] = (), input_bytes: int | None = None
) -> JobSpec:
    total = 100 * len(splits) if input_bytes is None else input_bytes
    functions = Functions(b"", None, b"")
    return JobSpec(
        job_id="job",
        birth=b"",
        name="a job",
        functions=functions,
        combines=False,
        splits=splits,
        partitions=partitions_for(len(splits), SLOTS, total),
        readers=readers,
        input_bytes=total,
        python="3.11",
        submitted_at_s=0.0,
    )


def scheduler_of(spec: JobSpec, epoch: int = 1, now_s: float = 0.0, **settings: float):
    bounds = {
        "attempts_max": 3,
        "node_silence_s_max": SILENCE_S_MAX,
        "no_node_s_max": NO_NODE_S_MAX,
        "unlisted_s_max": UNLISTED_S_MAX,
        **settings,
    }
    return JobScheduler(spec, epoch=epoch, now_s=now_s, **bounds)


def sizes_of(split: int, partitions: int) -> tuple[int, ...]:
    """Some empty, none equal to its neighbours."""
    return tuple((split * 7 + partition * 3) % 4 * MIB for partition in range(partitions))


@dataclass
class FakeNode:
    slots: int
    running: dict[AttemptId, Work] = field(default_factory=dict)
    skipping: dict[AttemptId, Skipping] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)  # name -> split
    kept: dict[AttemptId, Outcome] = field(default_factory=dict)  # for another master


class FakeCluster:
    """``starts`` and ``events`` are on their way; the test decides when they arrive.

    A batch is written at once, unless the test sets ``writes_at_once`` to False and calls
    :meth:`write` when it wants. Where it is ``mixed``, two maps of three add up where they may, and
    reduce has no use for that after one that did not.
    """

    def __init__(self, scheduler: JobScheduler) -> None:
        self.scheduler = scheduler
        self.watch = Watch(scheduler)
        self.now_s = 0.0
        self.nodes: dict[Member, FakeNode] = {}
        self.starts: list[Start] = []
        self.all_starts: list[Start] = []
        self.stops: list[Stop] = []
        self.events: list[Event] = []
        self.ending: Finish | Fail | None = None
        self.backups = 0
        self.writes_at_once = True
        self.mixed = False
        self.added: set[str] = set()  # names of map outputs
        self.batches: list[Commit] = []  # to be written
        self.all_batches: list[Commit] = []

    # ------------------------------------------------------------ the scheduler's side

    def feed(self, event: Event) -> tuple[Effect, ...]:
        effects = self.scheduler.handle(event, self.now_s)
        self.watch.step(effects, self.now_s)
        for effect in effects:
            if isinstance(effect, Start):
                self.backups += self.scheduler.attempts[effect.attempt].backup
                self.starts.append(effect)
                self.all_starts.append(effect)
            elif isinstance(effect, Stop):
                self.stops.append(effect)
                node = self.nodes.get(effect.node)
                if node is not None:
                    node.running.pop(effect.attempt, None)
            elif isinstance(effect, Commit):
                self.batches.append(effect)
                self.all_batches.append(effect)
            else:
                self.ending = effect
        told = tuple(effect for effect in effects if not isinstance(effect, Commit))
        return told + self.write() if self.batches and self.writes_at_once else told

    def write(self) -> tuple[Effect, ...]:
        """The batch under way reaches the ledger; what the scheduler does then."""
        batch = self.batches.pop()
        self.watch.written(batch)
        return self.feed(Committed(batch.number))

    def tick(self, seconds: float = 1.0, signs: bool = True) -> None:
        self.now_s += seconds
        if signs:
            for at in self.nodes:
                self.feed(self.sign_of(at))
        self.feed(Tick())

    def wait(self, seconds: float, signs: bool = False) -> None:
        """Let so much time pass, tick by tick."""
        for _ in range(int(seconds)):
            if self.ending is None:
                self.tick(1.0, signs)

    def sign_of(self, at: Member) -> StillRunning:
        running = self.nodes[at].running
        return StillRunning(at, tuple(Running(attempt, 3, 30) for attempt in running))

    # ------------------------------------------------------------ another master

    def take_over(self, deaf: Collection[Member] = ()) -> None:
        """The master dies, and another goes on from the ledger and from what the nodes say.

        Those that are ``deaf`` don't answer, and go on for the master that was.
        """
        ledger, old = self.watch.ledger, self.scheduler
        if ledger.ending is not None:
            return  # nothing is left to be taken over
        bounds = {"attempts_max": old.attempts_max, "losses_max": old.losses_max}
        self.scheduler = scheduler_of(old.spec, old.epoch + 1, self.now_s, **bounds)
        self.watch = Watch(self.scheduler, ledger)
        self.starts.clear()
        self.batches.clear()
        self.events.clear()
        holdings = tuple(self._holding(at) for at in self.nodes if at not in deaf)
        listed = tuple(NodeSlots(at, node.slots) for at, node in self.nodes.items())
        maps, finals = tuple(ledger.maps.values()), tuple(ledger.finals.values())
        troubles = tuple(chain.from_iterable(ledger.troubles.values()))
        self.feed(
            TakenOver(listed, ledger.cuts, maps, finals, holdings, troubles, adds=ledger.adds)
        )

    def _holding(self, at: Member) -> Holding:
        node, ledger = self.nodes[at], self.watch.ledger
        useful = {task for task, win in ledger.maps.items() if ledger.adds or not win.added}
        unwritten = {
            attempt: outcome
            for attempt, outcome in node.kept.items()
            if attempt.task not in (useful if attempt.phase == "map" else ledger.finals)
            and not (isinstance(outcome, MapOutput) and outcome.name not in node.outputs)
            and not (isinstance(outcome, MapOutput) and outcome.added and not ledger.adds)
        }
        self.events += [AttemptEnded(attempt, at, made) for attempt, made in unwritten.items()]
        wins = [win for win in ledger.maps.values() if win.node == at]
        lost = tuple(win.task for win in wins if win.name not in node.outputs)
        return Holding(at, (*node.running, *unwritten), lost)

    # ------------------------------------------------------------ the nodes' side

    def know(self) -> None:
        listed = (NodeSlots(at, node.slots) for at, node in self.nodes.items())
        self.feed(NodesKnown(tuple(listed)))

    def join(self, *members: Member, slots: int = 2) -> None:
        self.nodes.update({at: FakeNode(slots) for at in members})
        self.know()

    def crash(self, at: Member, noticed: bool = True) -> None:
        del self.nodes[at]
        if noticed:
            self.know()

    def take(self, start: Start) -> Event:
        """The start arrives at its node; what the node answers."""
        self.starts.remove(start)
        node = self.nodes.get(start.node)
        if node is None:
            return AttemptRefused(start.attempt, start.node, False, "no reply")
        node.running[start.attempt] = start.work
        node.skipping[start.attempt] = start.skipping or Skipping()
        return AttemptTaken(start.attempt, start.node)

    def take_all(self) -> None:
        while self.starts:
            self.feed(self.take(self.starts[0]))

    def end(self, at: Member, attempt: AttemptId, outcome: Outcome | None = None) -> AttemptEnded:
        """The attempt ends, so or well; what its node reports."""
        node = self.nodes[at]
        work = node.running.pop(attempt)
        node.kept[attempt] = outcome or self._made(node, attempt, work)
        return AttemptEnded(attempt, at, node.kept[attempt])

    def _made(self, node: FakeNode, attempt: AttemptId, work: Work) -> Outcome:
        if isinstance(work, MapWork):
            name = f"{attempt.task}-{attempt.epoch}.{attempt.number}"
            node.outputs[name] = attempt.task
            sizes = sizes_of(attempt.task, work.partitions)
            tally = tally_of(attempt, node.skipping[attempt])
            added = self.mixed and work.adds and attempt.task % 3 > 0
            self.added |= {name} if added else set()
            return MapOutput(name, sizes, Counts(10, 100), tally, added)
        pieces: list[tuple[int, int]] = [(0, 0)]
        if isinstance(work, ReduceWork):
            pieces, others = [], False
            for source in work.sources:
                holders = [n for m, n in self.nodes.items() if m.address == source.node]
                if not holders or source.name not in holders[0].outputs:
                    failure = Failure("Unreachable", f"cannot fetch {source.name}")
                    return Failed(failure, True, source)
                if source.name in self.added and others:
                    return Failed(Failure("ClusterError", "sums"), True, source, lost_sums=True)
                others = others or source.name not in self.added
                split = holders[0].outputs[source.name]
                pieces += self._cut(split, work, source.offset, source.length_bytes)
        part = OutputPart(len(pieces), json.dumps(pieces).encode(), None)
        return ReduceOutput(part, Counts(10, 100), tally_of(attempt, node.skipping[attempt]))

    @staticmethod
    def _cut(split: int, work: ReduceWork, offset: int, length: int) -> list[tuple[int, int]]:
        sizes = sizes_of(split, work.partitions)
        first, last = work.first_partition, work.last_partition
        assert offset == sum(sizes[:first])
        assert length == sum(sizes[first:last])
        return [(split, partition) for partition in range(first, last) if sizes[partition]]

    def running(self) -> list[tuple[Member, AttemptId]]:
        return [(at, attempt) for at, node in self.nodes.items() for attempt in node.running]

    def end_one(self, phase: str, task: int, outcome: Outcome | None = None) -> None:
        """Let the newest attempt at a task end and be heard of."""
        at, attempt = [
            (at, id_) for at, id_ in self.running() if (id_.phase, id_.task) == (phase, task)
        ][-1]
        self.feed(self.end(at, attempt, outcome))

    def settle(self, phase: str = "", rounds: int = 500) -> None:
        """From now on all goes well: until the job ends, or reaches a phase."""
        for _ in range(rounds):
            self.take_all()
            for at, attempt in self.running():
                if self.ending is not None or self.scheduler.phase.value == phase:
                    return
                if attempt in self.nodes[at].running:
                    self.feed(self.end(at, attempt))
            while self.events:
                self.feed(self.events.pop(0))
            if self.ending is not None or self.scheduler.phase.value == phase:
                return
            self.tick()
        raise AssertionError("the job does not end")

    def check_counters(self) -> None:
        """Each task has counted once, as whichever attempt it was that counts."""
        ledger = self.scheduler.ledger
        counters = dict(ledger.tally.shown().counters)
        tasks = [*ledger.maps, *ledger.finals]
        for phase in ("map", "reduce", "whole"):
            assert counters.pop(phase, 0) == sum(task.phase == phase for task in tasks)
        assert counters == {name_of(task.winner): 1 for task in tasks if task.winner}

    def check_result(self) -> None:
        """Every piece of map output is in the result once, in the order of the splits."""
        assert isinstance(self.ending, Finish), self.ending
        self.check_counters()
        partitions = self.scheduler.ledger.partitions
        found = [[tuple(piece) for piece in json.loads(part.inline)] for part in self.ending.parts]
        splits = len(self.scheduler.spec.splits)
        if splits == 1:
            assert found == [[(0, 0)]]
            return
        for pieces in found:
            assert pieces == sorted(pieces), "sources are not in the order of the splits"
        flat = sorted(piece for pieces in found for piece in pieces)
        assert flat == [
            (split, partition)
            for split in range(splits)
            for partition, size in enumerate(sizes_of(split, partitions))
            if size
        ]


def name_of(attempt: AttemptId) -> str:
    return f"{attempt.phase} {attempt.task}.{attempt.number}"


def tally_of(attempt: AttemptId, skipping: Skipping) -> Tally:
    """As a worker tells it that leaves out what is known to be bad."""
    counters = (attempt.phase, 1), (name_of(attempt), 1)
    bad = tuple(known.bad for known in skipping.known)
    records = sum(known.phase == "map" for known in skipping.known)
    return Tally(counters, records, len(bad) - records, bad)


def died(text: str = "the worker process died") -> Failed:
    return Failed(Failure("WorkerDiedError", text), retry=True)


def raised(text: str = "map raised ValueError") -> Failed:
    return Failed(Failure("MapError", text, b"exception"), retry=False)


def failed_at(
    phase: str, position: int, cause: str = "ValueError", sure: bool = False, kind: str = "MapError"
) -> Failed:
    """It raised, or died, at a record."""
    bad = BadRecord(f"record {position}", repr(position), cause or "it may pass")
    suspect = Suspect(phase, position, bad, cause, sure)
    return Failed(Failure(kind, f"at record {position}: {cause}"), retry=True, suspect=suspect)
