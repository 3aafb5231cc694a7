"""Virtual time, nodes with disks, and the delivery of messages.

A step of a procedure, or the handling of one message, is atomic and takes no time. Everything else
waits in one queue, ordered by time and then by age, so a run depends on nothing but its seed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Message, No
from map_reduce.core.messages.records import AcceptRecord, Ballot, Config, Replica
from map_reduce.core.registers.acceptor import Acceptor, Held, Persist, Reply
from map_reduce.core.registers.birth import Birth
from map_reduce.core.registers.care import Care, Fellows
from map_reduce.core.registers.procedure import AskAll, RecordProcedure, Replies
from map_reduce.errors import ClusterError
from map_reduce.simulation.draws import Draws
from map_reduce.simulation.network import Network
from map_reduce.simulation.registers.judge import Judge
from map_reduce.simulation.registers.mutants import FAITHFUL, Mutant
from map_reduce.simulation.registers.plan import Plan
from map_reduce.simulation.trace import Trace

TIMEOUT_US = 150_000
DISK_US = (50, 20_000)
DOWN_US = (1_000, 1_000_000)
BACK_OFF_US = 5_000
BACK_OFF_US_MAX = 200_000
SLOWNESS = 20
"""So many times longer takes a write to a slow disk."""

GONE_AFTER_S = 0.15
PAUSE_S_MAX = 0.3
TURN_S = 0.05
"""Of those who care for the record, in a world that lasts for seconds."""

ACTED, HANDLED, WRITTEN, ANSWERED, RESUMED = range(5)
"""Kinds of events in a trace."""

T = TypeVar("T")
Then = Callable[[Any, ClusterError | None], None]


class Life:
    """One life of a node's process. The disk outlives it."""

    def __init__(
        self, number: int, me: Member, replica: Replica, disk: dict[str, Held], mutant: Mutant
    ) -> None:
        self.number = number
        self.acceptor = Acceptor(replica, disk.values())
        self.proposer = mutant.proposer(me)
        self.disk = disk
        self.up = True
        self.paused_until_us = 0
        self.disk_busy_until_us = 0
        self.slow_until_us = 0
        self.disk_full = False
        self.replica_ended = False  # its disk refused a write
        self.fellows: Fellows | None = None
        self.care: Care | None = None
        self.moving = False
        self.seen = 0  # the value that its user saw last


class Asking:
    """An AskAll under way."""

    def __init__(
        self, life: Life, procedure: RecordProcedure[Any], ask: AskAll, then: Then
    ) -> None:
        self.life = life
        self.procedure = procedure
        self.ask = ask
        self.then = then
        self.replies: Replies = {}
        self.over = False


class World:
    """The nodes of a plan, all up, and their one record."""

    def __init__(
        self, plan: Plan, *, mutant: Mutant = FAITHFUL, strict: bool = True, readable: bool = False
    ) -> None:
        self.mutant = mutant
        self.stumble = plan.stumble
        self.now_us = 0
        self.trace = Trace(readable)
        self.network = Network(Draws(plan.seed, "network"))
        self._draws = Draws(plan.seed, "delays")
        self._care = plan.care
        clocks = Draws(plan.seed, "clocks")
        self._clock_rates = [clocks.one_of((0.5, 0.9, 1.0, 1.1, 2.0)) for _ in range(plan.nodes)]
        self._queue: list[tuple[int, int, Life | None, Callable[..., None], tuple[Any, ...]]] = []
        self._age = 0
        self._started = 0
        self._disks: list[dict[str, Held]] = [{} for _ in range(plan.nodes)]
        self._replicas: list[Replica] = []
        self.wrote: dict[Ballot, RecordProcedure[Any]] = {}  # who first wrote at a ballot
        self.lives: list[Life | None] = [None] * plan.nodes
        for number in range(plan.nodes):
            self._replicas.append(self._new_replica(number))
            self.start(number)
        first = tuple(self._replicas[: plan.members])
        self.record = Birth(b"simulated", plan.seed.to_bytes(8, "big"), first).record()
        self.judge = Judge(self.record, strict=strict, leases=plan.leases)
        if mutant.drifts:
            self.drift(first, 0)

    # -------------------------------------------------------------- nodes

    def _new_replica(self, number: int) -> Replica:
        self._started += 1
        return Replica(Address(f"n{number}", 1), self._started)

    def start(self, number: int, hint: Config = ()) -> None:
        """Begin a life of a node that is down."""
        if self.lives[number] is not None:
            return
        self._started += 1
        replica = self._replicas[number]
        me = Member(replica.address, self._started)
        life = Life(number, me, replica, self._disks[number], self.mutant)
        self.lives[number] = life
        if self._care:
            self._let_care(life)
        if hint:
            self._alive(number).proposer.hint(self.record, hint)
            if self.mutant.drifts:
                self._look_around(self._alive(number), hint)

    def _let_care(self, life: Life) -> None:
        rate = self._clock_rates[life.number]

        def now_s() -> float:
            return self.now_us * rate / 1e6

        def draw() -> float:
            return self._draws.below(1000) / 1000

        life.fellows = Fellows(now_s, gone_after_s=GONE_AFTER_S, pause_s_max=PAUSE_S_MAX)
        me = life.acceptor.me
        life.care = Care(me, now_s, draw, members_max=self._care, turn_s=TURN_S)

    def sees(self, life: Life, number: int) -> bool:
        """Whether a node would get an answer from another one's replica just now."""
        other = self.lives[number]
        return (
            other is not None
            and not other.replica_ended
            and other.paused_until_us <= self.now_us
            and bool(self.network.fate(life.number, number))
        )

    def persist(self, life: Life, effects: Iterable[Persist]) -> None:
        """Carry out what is not in answer to anything."""
        for effect in effects:
            self._to_disk(life, effect)

    def _alive(self, number: int) -> Life:
        life = self.lives[number]
        assert life is not None
        return life

    def end(self, number: int, *, disk_lost: bool) -> None:
        """Crash: what was not on disk is gone; and the disk too, if it is lost."""
        life = self.lives[number]
        if life is not None:
            life.up = False
            self.lives[number] = None
            if disk_lost:
                self._disks[number] = {}
                if not self.mutant.keeps_identity:
                    self._replicas[number] = self._new_replica(number)

    def replicas(self) -> set[Replica]:
        """Those that are not lost, up or down."""
        return set(self._replicas)

    def replica_of(self, number: int) -> Replica:
        return self._replicas[number]

    def held(self) -> list[Held]:
        """What all replicas that are not lost hold of the record."""
        disks = [disk.get(self.record.name) for disk in self._disks]
        memories = [life.acceptor.held(self.record.name) for life in self.lives if life]
        return memories + [held for held in disks if held]

    def drift(self, members: Config, lag_us_max: int) -> None:
        """Let each node see, sooner or later, that these are around the record's place."""
        for life in self.lives:
            if life is not None:
                lag_us = self._draws.within(0, lag_us_max)
                self.at(lag_us, life, self._look_around, life, members)

    def _look_around(self, life: Life, members: Config) -> None:
        life.proposer.view = members  # type: ignore[attr-defined]

    # -------------------------------------------------------------- time

    def at(self, delay_us: int, life: Life | None, call: Callable[..., None], *given: Any) -> None:
        """Call it then, if ``life`` still lasts and is not paused."""
        self._age += 1
        heapq.heappush(self._queue, (self.now_us + delay_us, self._age, life, call, given))

    def run(self) -> None:
        """Until nothing is left to happen."""
        queue = self._queue
        while queue:
            at_us, _, life, call, given = heapq.heappop(queue)
            self.now_us = at_us
            if life is not None:
                if not life.up:
                    continue
                if life.paused_until_us > at_us:
                    self.at(life.paused_until_us - at_us, life, call, *given)
                    continue
            call(*given)

    # -------------------------------------------------------------- proposers

    def perform(self, life: Life, procedure: RecordProcedure[T], then: Then) -> None:
        """Drive a procedure to its end; ``then`` gets its result or its error."""
        self._step(life, procedure, None, then)

    def _step(
        self, life: Life, procedure: RecordProcedure[Any], value: Replies | None, then: Then
    ) -> None:
        try:
            wanted = next(procedure) if value is None else procedure.send(value)
        except StopIteration as end:
            then(end.value, None)
            return
        except ClusterError as error:
            then(None, error)
            return
        if not isinstance(wanted, AskAll):
            most_us = min(BACK_OFF_US << wanted.attempt, BACK_OFF_US_MAX)
            wait_us = self._draws.within(0, most_us)
            self.at(wait_us, life, self._step, life, procedure, {}, then)
            return
        asking = Asking(life, procedure, wanted, then)
        messages = list(wanted.messages.items())
        first = messages[0][1]
        if isinstance(first, AcceptRecord) and first.state.writers[-1:] == (first.ballot,):
            self.wrote[first.ballot] = procedure
        if isinstance(first, AcceptRecord) and self._draws.chance(self.stumble):
            messages = [self._draws.one_of(messages)]
            self.end(life.number, disk_lost=False)
            self.at(self._draws.heavy_tailed(*DOWN_US), None, self.start, life.number)
        for replica, message in messages:
            number = int(replica.address.host[1:])
            for delay_us in self.network.fate(life.number, number):
                self.at(delay_us, None, self._arrive, number, asking, replica, message)
        self.at(TIMEOUT_US, life, self._time_out, asking)

    def _time_out(self, asking: Asking) -> None:
        if not asking.over:
            self._resume(asking)

    def _resume(self, asking: Asking) -> None:
        asking.over = True
        self.trace.note(self.now_us, RESUMED, asking.life.number, len(asking.replies))
        self._step(asking.life, asking.procedure, asking.replies, asking.then)

    def _answered(self, asking: Asking, replica: Replica, reply: Message) -> None:
        self.trace.note(self.now_us, ANSWERED, asking.life.number, replica.identity)
        if asking.over or replica in asking.replies:
            return
        asking.replies[replica] = reply
        if len(asking.replies) == len(asking.ask.messages) or asking.ask.enough(asking.replies):
            self._resume(asking)

    # -------------------------------------------------------------- replicas

    def _arrive(self, number: int, asking: Asking, replica: Replica, message: Message) -> None:
        life = self.lives[number]
        if life is None:
            return
        if life.paused_until_us > self.now_us:
            wait_us = life.paused_until_us - self.now_us
            self.at(wait_us, None, self._arrive, number, asking, replica, message)
            return
        self.trace.note(self.now_us, HANDLED, asking.life.number, number)
        self.judge.heard(life.acceptor.me, life.acceptor.held(self.record.name))
        effects = life.acceptor.handle(message)
        assert effects is not None
        if self.trace.lines is not None:
            self.trace.tell(self.now_us, f"n{asking.life.number} to n{number}: {message}")
            self.trace.tell(self.now_us, f"      answers {effects[-1]}")
        for effect in reversed(effects) if self.mutant.replies_first else effects:
            self._carry_out(life, effect, asking, replica, message)

    def _carry_out(
        self,
        life: Life,
        effect: Persist | Reply,
        asking: Asking,
        replica: Replica,
        request: Message,
    ) -> None:
        """In order: a reply leaves when everything before it is on disk."""
        busy_us = max(life.disk_busy_until_us - self.now_us, 0)
        if isinstance(effect, Persist):
            self._to_disk(life, effect)
        elif busy_us and not self.mutant.replies_first:
            self.at(busy_us, life, self._reply, life, asking, replica, request, effect.message)
        else:
            self._reply(life, asking, replica, request, effect.message)

    def _to_disk(self, life: Life, effect: Persist) -> None:
        if life.disk_full:
            life.replica_ended = not self.mutant.goes_on_when_full
            return
        busy_us = max(life.disk_busy_until_us - self.now_us, 0)
        slowness = SLOWNESS if life.slow_until_us > self.now_us else 1
        busy_us += self._draws.heavy_tailed(*DISK_US) * slowness
        life.disk_busy_until_us = self.now_us + busy_us
        self.at(busy_us, life, self._write, life, effect.held)

    def _write(self, life: Life, held: Held) -> None:
        self.trace.note(self.now_us, WRITTEN, life.number, held.promised.number)
        life.disk.pop(held.name, None)
        if not held.is_nothing:
            life.disk[held.name] = held

    def _reply(
        self, life: Life, asking: Asking, replica: Replica, request: Message, reply: Message
    ) -> None:
        if life.replica_ended:
            reply = No("this replica has ended")
        self.judge.said(life.acceptor.me, request, reply)
        for delay_us in self.network.fate(life.number, asking.life.number):
            self.at(delay_us, asking.life, self._answered, asking, replica, reply)
