"""One job under one plan, and what must hold of it.

J1  the scheduler's invariants, after every event, of every master: among them that nothing follows
    from an output before the ledger has it, that the end is written before it is told, and that
    no slot is free while a task waits
J2  the result is right: it has every piece of map output once, in the order of the splits; or, of a
    user's job, it is that of the sequential run
J3  the job ends, at most ``PATIENCE_S`` after everything is well again
J4  where nothing happens but that masters die: no map task is begun again but for an output or an
    attempt that was lost with its node or, once in the whole job, for reduce attempts that have no
    use for sums
J5  everybody learns of the end
J6  every attempt at a map, of whatever master, is told the bounds of the specification, so that
    those of a job that sorts agree which keys go where
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from map_reduce.core.jobs.state import JobEnd, JobState
from map_reduce.core.registers.birth import Birth
from map_reduce.core.registers.lease import Lease
from map_reduce.core.scheduling.events import NodesKnown, NodeSlots
from map_reduce.errors import ClusterError
from map_reduce.simulation.draws import Draws
from map_reduce.simulation.jobs.master import Master
from map_reduce.simulation.jobs.node import Cluster, Node
from map_reduce.simulation.jobs.plan import TROUBLE_S, Act, Plan
from map_reduce.simulation.jobs.work import Pieces, Work
from map_reduce.simulation.jobs.world import Process, World

PATIENCE_S = 60.0
NOTICED_S = 1.5
"""So long after a node is gone, the others' lists say so."""


class Outcome(NamedTuple):
    """What came of a run."""

    violation: str | None
    events: int
    seconds: float  # of virtual time
    takeovers: int
    attempts: int


class _Run:
    def __init__(self, plan: Plan, work: Work) -> None:
        self.plan = plan
        self.world = World(Draws(plan.seed, "job network"))
        self.world.loss, self.world.doubling = plan.loss, plan.doubling
        self.cluster = Cluster(self.world, work, listed=self.listed)
        self.nodes = [
            Node(self.cluster, number, plan.slots, Draws(plan.seed, f"node {number}"))
            for number in range(plan.nodes)
        ]
        self.world.hosts.extend(self.nodes)
        self.gone_s: dict[int, float] = {}
        self.judged = False  # from then on nothing happens to the nodes
        members = tuple(node.replica for node in self.nodes[:5])
        self.cluster.birth = birth = Birth(b"about", b"nonce", members)
        self.cluster.spec = work.spec(birth, plan)

    def listed(self) -> tuple[NodeSlots, ...]:
        """The nodes, as everybody sees them: the dead are missed after a while."""
        return tuple(
            NodeSlots(node.member, node.slots)
            for node in self.nodes
            if node.life > 0 or self.world.now_s < self.gone_s[node.number]
        )

    def run(self) -> Outcome:
        plan, world = self.plan, self.world
        for act in plan.acts:
            world.later(act.at_s, partial(self._do, act))
        world.later(TROUBLE_S + 7, self._heal)
        if plan.submitted:
            self.nodes[0].take(0)
        world.run(TROUBLE_S + 7 + PATIENCE_S, self._is_over)
        self.judged = True
        self._heal()
        return Outcome(
            self._violation(),
            world.events,
            world.now_s,
            self.cluster.takeovers,
            len(self.cluster.runs),
        )

    # ------------------------------------------------------------------ acts

    def _do(self, act: Act) -> None:
        node = self._master() if act.node < 0 else self.nodes[act.node]
        if node is None or node.life <= 0 or self.judged:
            return
        if act.what == "crash":
            node.crash()
            self.gone_s[node.number] = self.world.now_s + NOTICED_S
            self.world.later(NOTICED_S, self._tell_masters)
        elif act.what == "pause":
            node.paused_until_s = self.world.now_s + act.seconds
        elif act.other != node.number:
            pair = frozenset((node.number, act.other))
            self.world.cut.add(pair)
            self.world.later(act.seconds, lambda: self.world.cut.discard(pair))

    def _master(self) -> Node | None:
        masters = [n for n in self.nodes if n.life > 0 and n.master is not None]
        masters = [n for n in masters if n.master is not None and n.master.epoch_in_force]
        return masters[-1] if masters else None

    def _heal(self) -> None:
        self.world.cut.clear()
        self.world.loss = self.world.doubling = 0.0

    def _tell_masters(self) -> None:
        for node in self.nodes:
            if node.life > 0 and node.master is not None:
                self.world.at(node, 0.0, partial(self._tell, node.master))

    def _tell(self, master: Master) -> None:
        master.put(NodesKnown(self.listed()))

    # ------------------------------------------------------------------ the judge

    def _is_over(self) -> bool:
        return bool(self.cluster.problems) or all(n.over for n in self.nodes if n.life > 0)

    def _violation(self) -> str | None:
        if self.cluster.problems:
            return f"J1: {self.cluster.problems[0]}"
        ending = self._ending()
        if ending is None:
            return f"J3: the job has not ended after {self.world.now_s:.0f} s"
        if ending.failure is not None:
            return f"J2: the job has failed: {ending.failure.message}"
        if (problem := self.cluster.work.wrong(ending)) is not None:
            return f"J2: {problem}"
        if not self._is_over():
            return "J5: a node does not know that the job has ended"
        if (problem := self._told_otherwise()) is not None:
            return f"J6: {problem}"
        if self.plan.calm and (problem := self._run_again()) is not None:
            return f"J4: {problem}"
        return None

    def _ending(self) -> JobEnd | None:
        """What the job's record says, to somebody who asks now."""
        found: list[JobEnd | None] = []
        node = next(node for node in self.nodes if node.life > 0)
        assert self.cluster.birth is not None
        record = self.cluster.birth.record()

        def look() -> Process[None]:
            try:
                state = yield from self.world.perform(node.proposer.read(record))
            except ClusterError:
                found.append(None)
            else:
                found.append(JobState.decode(Lease.decode(state.value).payload).ending)

        node.paused_until_s = 0.0
        self.world.start(node, look())
        self.world.run(self.world.now_s + 30, lambda: bool(found))
        return found[0] if found else None

    def _told_otherwise(self) -> str | None:
        bounds = {run.bounds for run in self.cluster.runs if run.attempt.phase == "map"}
        return (
            f"maps had the bounds {sorted(bounds)}" if bounds - {self.cluster.spec.bounds} else None
        )

    def _run_again(self) -> str | None:
        dead = {node.number for node in self.nodes if node.life <= 0}
        useless = any(run.useless_sums for run in self.cluster.runs)
        runs: dict[tuple[str, int], list[Any]] = {}
        for run in self.cluster.runs:
            runs.setdefault((run.attempt.phase, run.attempt.task), []).append(run)
        for (phase, task), attempts in runs.items():
            alive = [run for run in attempts if run.node not in dead and not run.failed]
            if phase == "map" and len(alive) > 1 + useless:
                when = ", ".join(f"{r.attempt} in epoch {r.attempt.epoch}" for r in attempts)
                return f"map task {task} was run again: {when}"
        return None


def carry_out(plan: Plan, work: Work | None = None) -> Outcome:
    """One run. ``work`` is made up where it is not given."""
    return _Run(plan, Pieces() if work is None else work).run()
