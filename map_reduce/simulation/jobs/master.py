"""A simulated master: as ``runtime/master.py``, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from map_reduce.core.identifiers import Member
from map_reduce.core.jobs.state import JobState, Shard, labels
from map_reduce.core.messages import (
    AdoptJob,
    Answer,
    Busy,
    Done,
    EndJob,
    JobAdopted,
    OutputKey,
    StartAttempt,
    StopAttempt,
)
from map_reduce.core.registers.lease import (
    Lease,
    ValueChange,
    fenced,
    owned,
    sealed,
    taken_over,
)
from map_reduce.core.scheduling import events
from map_reduce.core.scheduling.effects import Commit, Effect, Fail, Finish, Start, Stop
from map_reduce.core.scheduling.invariants import Watch, WrittenLedger
from map_reduce.core.scheduling.scheduler import JobScheduler
from map_reduce.errors import ClusterError
from map_reduce.simulation.jobs.world import Ask, Process, Sleep

if TYPE_CHECKING:
    from map_reduce.simulation.jobs.node import Node

LEASE_S = 1.5
TICK_S = 0.25
SILENCE_S_MAX = 10.0


class Superseded(Exception):
    """Another master has taken over."""

    def __init__(self, lease: Lease) -> None:
        super().__init__(str(lease))
        self.lease = lease


class Master:
    """Of the one job of a run, on a node, after the master of ``seen_epoch``."""

    def __init__(self, node: Node, seen_epoch: int) -> None:
        self.left = False
        self._node = node
        self._cluster = node.cluster
        self._world = node.cluster.world
        self._epoch = seen_epoch + 1
        self._wrote_s = self._world.now_s
        self._state = JobState()
        self._claimed = False
        self._early: list[events.Event] = []  # before there is a scheduler
        self._scheduler: JobScheduler | None = None
        self._watch: Watch | None = None
        self._writing = False
        self._unwritten: Commit | None = None

    @property
    def epoch_in_force(self) -> int:
        alive = self._world.now_s - self._wrote_s < LEASE_S and not self.left
        return self._epoch if alive else 0

    def put(self, event: events.Event) -> bool:
        """Whether this is the master, and took note."""
        if self.left or not self._claimed:
            return False
        if self._scheduler is None or self._watch is None:
            self._early.append(event)
            return True
        effects = self._scheduler.handle(event, self._world.now_s)
        try:
            self._watch.step(effects, self._world.now_s)
        except AssertionError as error:
            self._cluster.problems.append(f"scheduler of epoch {self._epoch}: {error}")
        for effect in effects:
            self._do(effect)
        self._node.orders.flush()
        return True

    # ------------------------------------------------------------------ becoming master

    def run(self) -> Process[None]:
        """All of it."""
        try:
            yield from self._begin()
        except Superseded as superseded:
            self._leave(superseded.lease)
            return
        while not self.left and self._node.master is self:
            yield Sleep(TICK_S)
            self.put(events.Tick())
            self._see_to_the_journal()
        self.left = True

    def _leave(self, lease: Lease) -> None:
        self.left = True
        self._node.watch.lost(lease, self._world.now_s)

    def _begin(self) -> Process[None]:
        claim = taken_over(self._epoch - 1, self._node.member, LEASE_S)
        lease = yield from self._patiently("", claim)
        if (lease.epoch, lease.master) != (self._epoch, self._node.member):
            raise Superseded(lease)
        self._state = JobState.decode(lease.payload)
        if self._state.ending is not None:
            raise Superseded(Lease(self._epoch, None))
        self._claimed = True
        first: events.Event = events.NodesKnown(self._cluster.listed())
        ledger = WrittenLedger()
        if self._epoch > 1:
            first = yield from self._take_over(ledger)
        self._scheduler = JobScheduler(
            self._cluster.spec,
            epoch=self._epoch,
            attempts_max=3,
            node_silence_s_max=SILENCE_S_MAX,
            now_s=self._world.now_s,
            backups=False,
        )
        self._watch = Watch(self._scheduler, ledger)
        for event in (first, *self._early):
            self.put(event)

    def _take_over(self, ledger: WrittenLedger) -> Process[events.TakenOver]:
        spec, cuts = self._cluster.spec, self._state.cuts
        splits = len(spec.splits)
        counts = (splits, len(cuts or ())) if splits > 1 else (0, splits)
        for label in labels(*counts, spec.partitions):
            lease = yield from self._patiently(label, sealed(self._epoch, self._node.member))
            self._check(lease)
            shard = Shard.decode(lease.payload)
            ledger.maps.update((win.task, win) for win in shard.maps)
            ledger.finals.update((won.task, won) for won in shard.finals)
            ledger.troubles[label] = shard.troubles
        ledger.cuts, ledger.adds = cuts, self._state.adds
        nodes = self._cluster.listed()
        members = [node.member for node in nodes]
        replies = yield Ask({m: (m.address.port, self._adoption(m, ledger)) for m in members})
        holdings = tuple(
            events.Holding(member, reply.attempts, reply.lost)
            for member, reply in replies.items()
            if isinstance(reply, JobAdopted)
        )
        maps, finals = tuple(ledger.maps.values()), tuple(ledger.finals.values())
        troubles = tuple(chain.from_iterable(ledger.troubles.values()))
        return events.TakenOver(nodes, cuts, maps, finals, holdings, troubles, ledger.adds)

    def _adoption(self, member: Member, ledger: WrittenLedger) -> AdoptJob:
        wins = [win for win in ledger.maps.values() if win.node == member]
        listed = {node.member for node in self._cluster.listed()}
        useful = [win for win in ledger.maps.values() if ledger.adds or not win.added]
        return AdoptJob(
            self._cluster.spec.job_id,
            self._epoch,
            self._node.member.address,
            _bits(win.task for win in useful if win.node in listed),
            _bits(ledger.finals),
            tuple(OutputKey(win.task, win.number, win.epoch) for win in wins),
            ledger.adds,
        )

    # ------------------------------------------------------------------ effects

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, Start):
            self._give(effect)
        elif isinstance(effect, Stop):
            node, orders = effect.node.address.port, self._node.orders
            if not orders.withdraw(node, effect.attempt):
                order = StopAttempt(effect.attempt, self._epoch)
                orders.put(node, order, order, lambda answer: None)
        elif isinstance(effect, Commit):
            self._unwritten = effect
            self._see_to_the_journal()
        elif isinstance(effect, Finish | Fail):
            end = EndJob(self._cluster.spec.job_id, False)
            everybody = dict.fromkeys(range(len(self._world.hosts)), end)
            self._world.start(self._node, _told(everybody))

    def _give(self, start: Start) -> None:
        spec = self._cluster.spec
        order = StartAttempt(
            start.attempt,
            self._epoch,
            self._node.member.address,
            spec.functions,
            start.work,
            60.0,
            start.careful,
        )
        answered = partial(self._answered, start)
        self._node.orders.put(start.node.address.port, start.attempt, order, answered)

    def _answered(self, start: Start, answer: Answer | ClusterError) -> None:
        if isinstance(answer, Done):
            self.put(events.AttemptTaken(start.attempt, start.node))
        else:
            busy = isinstance(answer, Busy)
            self.put(events.AttemptRefused(start.attempt, start.node, busy, str(answer)))

    # ------------------------------------------------------------------ the journal

    def _see_to_the_journal(self) -> None:
        due = self._world.now_s - self._wrote_s >= LEASE_S / 3
        if not self._writing and not self.left and (due or self._unwritten):
            self._writing = True
            self._world.start(self._node, self._write(self._unwritten))

    def _write(self, batch: Commit | None) -> Process[None]:
        try:
            if batch is not None:
                yield from self._write_batch(batch)
            else:
                yield from self._write_state(self._state)
        except Superseded as superseded:
            self._leave(superseded.lease)
            return
        except ClusterError:
            self._writing = False
            return  # again with the next tick
        self._writing = False
        if batch is None:
            self._see_to_the_journal() if self._unwritten else None
            return
        self._unwritten = None
        assert self._watch is not None
        try:
            self._watch.written(batch)
        except AssertionError as error:
            self._cluster.problems.append(f"ledger of epoch {self._epoch}: {error}")
        self.put(events.Committed(batch.number))

    def _write_batch(self, batch: Commit) -> Process[None]:
        me = self._node.member
        for label, shard in batch.shards:
            self._check((yield from self._change(label, owned(self._epoch, me, shard.encode()))))
        if batch.ending is not None:
            yield from self._write_state(JobState(None, batch.ending))
        elif batch.cuts is not None or not batch.adds:
            cuts = self._state.cuts if batch.cuts is None else batch.cuts
            yield from self._write_state(JobState(cuts, adds=self._state.adds and batch.adds))

    def _write_state(self, state: JobState) -> Process[None]:
        payload: Callable[[bytes], bytes] = lambda found: state.encode()  # noqa: E731
        self._check((yield from self._change("", fenced(self._epoch, payload, LEASE_S))))
        self._state = state

    def _change(self, label: str, change: ValueChange) -> Process[Lease]:
        assert self._cluster.birth is not None
        record = self._cluster.birth.record(label)
        procedure = self._node.proposer.compare_and_set(record, change)
        settled = yield from self._world.perform(procedure)
        self._wrote_s = self._world.now_s
        return Lease.decode(settled.state.value)

    def _patiently(self, label: str, change: ValueChange) -> Process[Lease]:
        while True:
            try:
                return (yield from self._change(label, change))
            except ClusterError:
                yield Sleep(TICK_S)

    def _check(self, lease: Lease) -> None:
        if lease.epoch != self._epoch:
            raise Superseded(lease)


def _told(messages: Mapping[int, object]) -> Process[None]:
    yield Ask({number: (number, message) for number, message in messages.items()})


def _bits(numbers: Any) -> bytes:
    bits = bytearray()
    for number in numbers:
        bits.extend(bytes(max(0, number // 8 + 1 - len(bits))))
        bits[number // 8] |= 1 << number % 8
    return bytes(bits)
