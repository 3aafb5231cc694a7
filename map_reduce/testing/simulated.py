"""Your own job on a simulated cluster: hundreds of schedules of faults a minute, each from a seed.

The scheduler, the records of the ring, the takeovers and what runs a task are those of a real
node. The network, the clocks and the nodes' deaths are simulated (``map_reduce/simulation/jobs``):
nothing waits, nothing is started, and a seed repeats a run. Your functions run in this process.

    a plan from the seed ── masters die, nodes pause, messages are lost and doubled ──▶ the job
                                                                                        │
    one loop over the same data ──▶ the same results, the same counters? ◀──────────────┘
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from map_reduce.client.shipping import pickle_functions, pickle_items, unpickle
from map_reduce.core.messages import InlineItems
from map_reduce.counters import counting
from map_reduce.job import Job, MapFunction, ReduceFunction
from map_reduce.simulation.jobs.plan import Plan, draw_plan
from map_reduce.simulation.jobs.run import Outcome, carry_out
from map_reduce.simulation.jobs.work import UserWork
from map_reduce.simulation.shrinking import shrink
from map_reduce.testing.comparing import difference
from map_reduce.testing.sequential import sequential


class Simulated(NamedTuple):
    """A job that gave the right answer under every seed.

    Attributes:
        result: what it gave.
        runs: how many seeds there were.
        faults: deaths, pauses and partitions, in all runs together.
        takeovers: how often a node has set out to go on for a master that was silent.
        attempts: tasks begun, those that were lost with their nodes included.
    """

    result: dict[Any, Any]
    runs: int
    faults: int
    takeovers: int
    attempts: int


def simulate(
    data: Iterable[Any],
    map: MapFunction,
    reduce: ReduceFunction,
    combine: ReduceFunction | None = None,
    *,
    sort: bool = False,
    sort_values: bool | Callable[[Any], Any] = False,
    seeds: Iterable[int] = range(200),
) -> Simulated:
    """Run a job once for each seed on a simulated cluster, and compare with :func:`sequential`.

    A seed draws a cluster of three to six nodes, in how many tasks the data is cut, and what
    happens: masters and other nodes die, nodes pause, pairs of nodes cannot reach each other,
    messages are lost and come twice.

    Args:
        data: items or a mapping, as for ``startup``.
        sort, sort_values: as for ``startup``; the order of results is compared, too.
        seeds: one run for each.

    Raises:
        AssertionError: under one of the seeds the answer differs, or so does a counter (these
            without a combiner only), or the job ended otherwise; says what happened to whom, and
            how to run that seed again.
        FunctionError, InputTypeError: the functions or the data cannot be sent to nodes.
        Exception: what the functions raise in the sequential run.
    """
    job = _Job(data, Job(map, reduce, combine, sort=sort, sort_values=sort_values))
    runs = faults = takeovers = attempts = 0
    for seed in seeds:
        plan = draw_plan(seed)
        outcome = job.run(plan)
        if outcome.violation is not None:
            raise AssertionError(job.told(plan, outcome.violation))
        runs += 1
        faults += len(plan.acts)
        takeovers += outcome.takeovers
        attempts += outcome.attempts
    return Simulated(job.expected, runs, faults, takeovers, attempts)


class _Job:
    def __init__(
        self,
        data: Iterable[Any],
        job: Job,
    ) -> None:
        self._keyed = isinstance(data, Mapping)
        self._records = list(data.items() if isinstance(data, Mapping) else data)
        # Before they run here: what they remember afterwards is not to travel.
        self._functions = pickle_functions(job)
        with counting() as counted:
            whole = dict(self._records) if self._keyed else self._records
            self.expected = sequential(
                whole, job.map, job.reduce, job.combine, sort=job.sort, sort_values=job.sort_values
            )
        self._sorts = job.sort
        self._counters = None if job.combine else dict(counted)
        self._cuts: dict[int, tuple[InlineItems, ...]] = {}

    def run(self, plan: Plan) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="map-reduce-simulated-") as folder:
            load = partial(unpickle, self._functions)
            return carry_out(plan, UserWork(load, self._cut, self._judge, Path(folder)))

    def _cut(self, splits: int) -> Sequence[InlineItems]:
        if splits not in self._cuts:
            size = max(1, -(-len(self._records) // splits))
            starts = range(0, len(self._records), size)
            self._cuts[splits] = tuple(map(partial(self._split, size), starts))
        return self._cuts[splits]

    def _split(self, size: int, start: int) -> InlineItems:
        items = self._records[start : start + size]
        pickled = pickle_items(items, start, self._keyed)
        return InlineItems(pickled, len(items), start, self._keyed)

    def _judge(self, parts: list[bytes], counters: dict[str, int]) -> str | None:
        result: dict[Any, Any] = {}
        for part in parts:
            keys, values = unpickle(part)
            result.update(zip(keys, values, strict=True))
        if result != self.expected:
            told = difference(result, self.expected)
            return f"the answer is not that of the sequential run: {told}"
        if self._sorts and repr(list(result)) != repr(list(self.expected)):
            return "the results are not in the order of keys"
        if self._counters is not None and counters != self._counters:
            told = difference(counters, self._counters)
            return f"the counters are not those of the sequential run: {told}"
        return None

    def told(self, plan: Plan, violation: str) -> str:
        """What failed, with which few faults it still fails, and how to see it again."""
        lines = [f"seed {plan.seed}: {_said(violation)}"]
        if (still := self.run(plan.keeping(())).violation) is not None:
            lines.append(f"so it is where nothing happens to the nodes: {_said(still)}")
        else:
            kept = plan.keeping(shrink(len(plan.acts), partial(self._fails, plan)))
            lines += [f"with no more faults than these it fails, too, on {kept.nodes} nodes:"]
            lines += [f"  {act}" for act in kept.acts] + ["  messages lost"] * bool(kept.loss)
        lines.append(f"again: simulate(..., seeds=[{plan.seed}])")
        if not os.environ.get("PYTHONHASHSEED") and sys.flags.hash_randomization:
            lines.append(
                "(to the letter with PYTHONHASHSEED=0 in both runs: keys are spread by their "
                "hashes, which this process has drawn)"
            )
        return "\n".join(lines)

    def _fails(self, plan: Plan, some: list[int]) -> bool:
        return self.run(plan.keeping(some)).violation is not None


def _said(violation: str) -> str:
    """Without the number by which the judge calls the rule."""
    return re.sub(r"^J\d: ", "", violation)
