"""A plan, carried out and judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from map_reduce.core.messages.records import RecordState
from map_reduce.core.registers.birth import Record
from map_reduce.core.registers.care import odd
from map_reduce.core.registers.lease import Lease, fenced, taken_over
from map_reduce.core.registers.procedure import RecordProcedure
from map_reduce.core.registers.proposer import Settled
from map_reduce.core.registers.quorums import members_of
from map_reduce.errors import ClusterError, Refused, Undecided
from map_reduce.simulation.registers.judge import Violation
from map_reduce.simulation.registers.linearizability import NEVER, Operation, explain
from map_reduce.simulation.registers.mutants import FAITHFUL, Mutant
from map_reduce.simulation.registers.plan import SECOND_US, SPAN_US, Act, Plan
from map_reduce.simulation.registers.world import ACTED, Life, World

DRIFT_LAG_US_MAX = SECOND_US // 2
LOOK_US = 40_000
CARE_US = 2 * SPAN_US
"""Every node looks after the record so often, and until then."""

QUIET_US_MAX = 1000 * SECOND_US
"""Those who have failed again and again to move it wait for minutes."""

STEP = 1000
"""Values written are multiples of it, and so differ from each other whatever is added."""


@dataclass
class Outcome:
    """What came of a run."""

    violation: str | None = None
    digest: str = ""
    events: int = 0
    checks: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    epochs: int = 0
    history: list[Operation] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def carry_out(
    plan: Plan, *, mutant: Mutant = FAITHFUL, strict: bool = True, readable: bool = False
) -> Outcome:
    """Run the plan and let the judge say what is wrong, if anything is.

    Args:
        strict: judge the protocol by all invariants; otherwise only what users can see.
    """
    return Run(plan, mutant, strict, readable).carry_out()


class Run:
    """One plan on its way."""

    def __init__(self, plan: Plan, mutant: Mutant, strict: bool, readable: bool) -> None:
        self._plan = plan
        self._strict = strict
        self._world = World(plan, mutant=mutant, strict=strict, readable=readable)
        self._unfinished: dict[int, Operation] = {}
        self._procedures: dict[int, RecordProcedure[Any]] = {}  # by key
        self._quiet = False
        self._deleted: float = float("inf")  # the event by which somebody knew
        self._epoch_seen: dict[int, int] = {}  # of the master, by node
        self.outcome = Outcome()

    def carry_out(self) -> Outcome:
        world, outcome = self._world, self.outcome
        for act in self._plan.acts:
            world.at(act.at_us, None, self._perform, act)
        if self._plan.care:
            for number in range(self._plan.nodes):
                world.at(LOOK_US, None, self._look_after, number)
        try:
            world.run()
            self._after_quiet()
            history = [*outcome.history, *self._undecided()]
            problem = explain(history)
            if problem:
                raise Violation(f"Q1: {problem}")
        except Violation as violation:
            outcome.violation = str(violation)
        for held in world.held():
            world.trace.seal(repr(held))
        world.trace.seal(repr(outcome.history))
        outcome.digest = world.trace.digest()
        outcome.events = world.trace.events
        outcome.checks = world.judge.checks
        outcome.epochs = world.judge.latest[1].epoch
        outcome.lines = world.trace.lines or []
        return outcome

    # -------------------------------------------------------------- acts

    def _perform(self, act: Act) -> None:
        world, network = self._world, self._world.network
        world.trace.note(world.now_us, ACTED, *(*act.nodes, 0, 0)[:2])
        world.trace.tell(world.now_us, f"*** {str(act).split('s  ', 1)[1]}")
        node = act.nodes[0] if act.nodes else -1
        match act.kind:
            case "start":
                world.start(node, self._rumour(node))
            case "crash":
                world.end(node, disk_lost=False)
            case "lose":
                world.end(node, disk_lost=bool(act.number) or self._can_spare(node))
            case "deafen":
                network.deafen(*act.nodes)
                world.at(act.duration_us, None, network.undeafen, *act.nodes)
            case "split":
                part = frozenset(act.nodes)
                network.split(part)
                world.at(act.duration_us, None, network.unsplit, part)
            case "storm":
                network.storm()
                world.at(act.duration_us, None, network.calm)
            case _:
                life = world.lives[node]
                if life is not None:
                    self._of_life(life, act)

    def _of_life(self, life: Life, act: Act) -> None:
        world = self._world
        if act.kind == "pause":
            until_us = world.now_us + act.duration_us
            life.paused_until_us = max(life.paused_until_us, until_us)
            return
        if act.kind in ("slow", "fill"):
            life.disk_full |= act.kind == "fill"
            life.slow_until_us = world.now_us + act.duration_us
            return
        if life.paused_until_us > world.now_us:
            self._tell(f"n{life.number} is paused")
            return
        if act.first:
            life.proposer.forget(world.record)
            life.proposer.hint(world.record, tuple(map(world.replica_of, act.first)))
        if act.kind == "change":
            self._change_members(life, act)
        elif act.kind == "bury":
            self._bury(life)
        elif act.kind == "delete":
            self._call(life, act, (), life.proposer.delete(world.record))
        elif self._plan.leases:
            self._use_lease(life, act)
        else:
            self._use_register(life, act)

    def _tell(self, text: str) -> None:
        self._world.trace.tell(self._world.now_us, text)

    def _rumour(self, node: int) -> tuple[Any, ...]:
        """What the next node that is up believes about the members."""
        lives = self._world.lives
        others = [life for life in lives[node + 1 :] + lives[:node] if life is not None]
        return others[0].proposer.known(self._world.record).members if others else ()

    def _can_spare(self, node: int) -> bool:
        """Whether the record stays available without what this node remembers."""
        remaining = self._world.replicas() - {self._world.replica_of(node)}
        return self._world.judge.recoverable(self._world.held(), remaining)

    def _change_members(self, life: Life, act: Act) -> None:
        world = self._world
        numbers = [number for number in act.nodes[1:] if world.lives[number] is not None]
        members = tuple(world.replica_of(number) for number in numbers[: act.number])
        if world.mutant.drifts:
            world.drift(members, DRIFT_LAG_US_MAX)
            return

        def ended(state: RecordState | None, error: ClusterError | None) -> None:
            self._count("changes of members", error)
            self._tell(f"n{life.number} changed members: {state or error}")

        world.perform(life, life.proposer.reconfigure(world.record, members), ended)

    # -------------------------------------------------------------- care and burial

    def _look_after(self, number: int) -> None:
        """What a node does from time to time (``runtime/record_care.py``)."""
        world, life = self._world, self._world.lives[number]
        if world.now_us < CARE_US and not self._quiet:
            world.at(LOOK_US, None, self._look_after, number)
        if life is not None and life.paused_until_us <= world.now_us:
            self._care_for(life)

    def _care_for(self, life: Life) -> None:
        world, fellows, care = self._world, life.fellows, life.care
        held = life.acceptor.held(world.record.name)
        if held.state is None or fellows is None or care is None or life.moving:
            return
        fellows.look()
        seen = [number for number in range(self._plan.nodes) if world.sees(life, number)]
        for replica in members_of(held.state.configs):
            number = int(replica.address.host[1:])
            if number in seen:
                fellows.saw(world.replica_of(number))
            else:
                fellows.missed(replica.address)
        if not care.needed(held, fellows.gone, len(seen)):
            return
        name, record = held.name, Record(held.name, held.state.born)
        members = care.wanted(held, fellows.gone, tuple(map(world.replica_of, seen)))
        if members is None:
            return

        def ended(state: RecordState | None, error: ClusterError | None) -> None:
            life.moving = False
            self._count("moves", error)
            self._tell(f"n{life.number} moved it: {state or error}")
            care.moved(name) if error is None else care.failed(name)

        life.moving = True
        self._tell(f"n{life.number} moves it to {', '.join(map(str, members))}")
        world.perform(life, life.proposer.reconfigure(record, members), ended)

    def _bury(self, life: Life) -> None:
        """A node that holds a tombstone has kept it for long enough."""
        world = self._world
        held = life.acceptor.held(world.record.name)
        if held.state is None or not (held.state.deleted or self._plan.care):
            return

        def ended(state: RecordState | None, error: ClusterError | None) -> None:
            self._count("burials", error)
            if state is not None and state.deleted and life.up:
                world.judge.buries(life.acceptor.me)
                world.persist(life, life.acceptor.bury(held.name, 1))
                if world.mutant.forgets:
                    world.persist(life, life.acceptor.forget(held.name))

        if world.mutant.buries_unread:
            ended(held.state, None)
        else:
            record = Record(held.name, held.state.born)
            world.perform(life, life.proposer.read(record), ended)

    # -------------------------------------------------------------- operations on a register

    def _use_register(self, life: Life, act: Act) -> None:
        proposer, record = life.proposer, self._world.record
        new = STEP * act.number
        if act.kind == "read":
            self._call(life, act, (), proposer.read(record))
        elif act.kind == "write":
            change = proposer.compare_and_set(record, lambda value: _bytes(new))
            self._call(life, act, (new,), change)
        elif act.kind == "add":
            change = proposer.compare_and_set(record, lambda value: _bytes(_number(value) + 1))
            self._call(life, act, (1,), change)
        else:
            old = life.seen
            change = proposer.compare_and_set(
                record, lambda value: _bytes(new) if _number(value) == old else None
            )
            self._call(life, act, (old, new), change)

    def _call(
        self,
        life: Life,
        act: Act,
        arguments: tuple[int, ...],
        procedure: RecordProcedure[RecordState] | RecordProcedure[Settled] | RecordProcedure[None],
    ) -> None:
        """Note when it is called, what comes of it and when."""
        called = self._world.trace.events
        key = len(self._procedures)
        self._unfinished[key] = Operation(act.kind, arguments, called)
        self._procedures[key] = procedure

        def ended(answer: RecordState | Settled | None, error: ClusterError | None) -> None:
            self._count(act.kind, error)
            self._tell(f"n{life.number} {act.kind}{arguments}: {answer or error}")
            deleted = isinstance(answer, RecordState) and answer.deleted
            if deleted or isinstance(error, Refused) or (act.kind == "delete" and not error):
                self._deleted = min(self._deleted, self._world.trace.events)
                del self._unfinished[key]
                return
            if answer is not None and called > self._deleted:
                raise Violation(f"Q7: {act.kind} of a deleted record: {answer}")
            if answer is None:
                if not isinstance(error, Undecided):
                    del self._unfinished[key]  # certainly not done
                return
            state = answer.state if isinstance(answer, Settled) else answer
            life.seen = _number(state.value)
            changed = isinstance(answer, Settled) and answer.changed
            result: int | bool = life.seen
            if act.kind == "cas":
                result = changed
            place = 2 * state.version + int(not changed)
            del self._unfinished[key]
            now = self._world.trace.events
            self.outcome.history.append(Operation(act.kind, arguments, called, now, result, place))

        self._world.perform(life, procedure, ended)

    def _undecided(self) -> list[Operation]:
        """Those of unknown outcome, each with its place if it was committed.

        Deletions are not of the history: what they end is judged by Q7.
        """
        world = self._world
        places = {
            world.wrote[ballot]: 2 * version
            for version, ballot in world.judge.writers.items()
            if ballot in world.wrote
        }
        return [
            replace(operation, place=places.get(self._procedures[key], NEVER))
            for key, operation in self._unfinished.items()
            if operation.kind != "delete"
        ]

    def _count(self, kind: str, error: ClusterError | None) -> None:
        how = "done" if error is None else "refused" if isinstance(error, Refused) else "no answer"
        how = "undecided" if isinstance(error, Undecided) else how
        self.outcome.operations[f"{kind} {how}"] += 1

    # -------------------------------------------------------------- operations on a lease

    def _use_lease(self, life: Life, act: Act) -> None:
        """Masters come and go; each believes what it saw last, however long ago."""
        proposer, record = life.proposer, self._world.record
        epoch = self._epoch_seen.get(life.number, 0)
        me = proposer.me

        def ended(answer: RecordState | Settled | None, error: ClusterError | None) -> None:
            self._count(act.kind, error)
            self._tell(f"n{life.number} {act.kind}: {answer or error}")
            if answer is not None:
                state = answer.state if isinstance(answer, Settled) else answer
                if isinstance(answer, Settled) and answer.changed and act.kind == "commit":
                    self._check_fencing(epoch, Lease.decode(state.value))
                self._epoch_seen[life.number] = Lease.decode(state.value).epoch

        perform: Any = self._world.perform
        if act.kind == "read":
            perform(life, proposer.read(record), ended)
        elif act.kind == "take over":
            perform(life, proposer.compare_and_set(record, taken_over(epoch, me, 0.0)), ended)
        else:
            payload = _bytes(STEP * act.number)
            change = fenced(epoch, lambda old: old[-400:] + b" " + payload)
            perform(life, proposer.compare_and_set(record, change), ended)

    def _check_fencing(self, epoch: int, lease: Lease) -> None:
        if lease.epoch != epoch:
            raise Violation(f"Q5: a master of epoch {epoch} committed in epoch {lease.epoch}")

    # -------------------------------------------------------------- the end

    def _after_quiet(self) -> None:
        """All faults are over: where a majority is left, everybody can read again."""
        world = self._world
        world.stumble, self._quiet = 0.0, True
        assert world.now_us < 100 * SPAN_US, "every procedure ends"
        available = world.judge.recoverable(world.held(), world.replicas())
        members = world.judge.members(world.held())
        done = Counter(self.outcome.operations)
        for number in range(self._plan.nodes):
            world.start(number)
            life = world.lives[number]
            assert life is not None
            life.paused_until_us = 0
            life.proposer.forget(world.record)
            life.proposer.hint(world.record, members)
            self._of_life(life, Act(world.now_us, "read", (number,)))
            world.run()
        read = self.outcome.operations["read done"] - done["read done"]
        if self._strict and available and read != self._plan.nodes:
            raise Violation(f"a majority is there, and {self._plan.nodes - read} cannot read")
        self.outcome.operations["runs left available"] += int(available)
        written = world.judge.latest[1].version > 0
        if self._strict and available and written and self._plan.care and not self._is_over:
            self._check_care()

    @property
    def _is_over(self) -> bool:
        return self._deleted < float("inf")

    def _check_care(self) -> None:
        """Q8: those who care for the record end up with a full group of what is not lost."""
        world = self._world
        until_us = world.now_us + QUIET_US_MAX
        while not self._is_cared_for():
            if world.now_us > until_us:
                raise Violation(f"Q8: nobody looks after {world.judge.latest[1].configs}")
            for number in range(self._plan.nodes):
                world.at(SECOND_US, None, self._look_after, number)
            world.run()
        self.outcome.operations["records cared for"] += 1

    def _is_cared_for(self) -> bool:
        *before, last = self._world.judge.latest[1].configs
        wanted = odd(min(self._plan.care, self._plan.nodes))
        return not before and len(last) >= wanted and set(last) <= self._world.replicas()


def _bytes(value: int) -> bytes:
    return b"%d" % value


def _number(value: bytes | None) -> int:
    return int(value) if value else 0
