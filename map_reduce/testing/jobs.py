"""Your own job on a ring of real processes that die and freeze while it runs, and its answer
held against the sequential run.

    hurt ── kill or pause, at most (nodes - 1) // 2 at a time ──▶ restart them, await all copies
      ▲                                                                      │
      └────────────────────── until the job has ended ◀──────────────────────┘

That is what a ring of so many nodes promises to bear (docs/reliability.md), so whatever else comes
of the job than the answer of one loop is a defect: in the library, or in functions that do not give
the same for the same input.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from map_reduce.errors import MapReduceError
from map_reduce.job import MapFunction, ReduceFunction
from map_reduce.testing.cluster import ChaosCluster
from map_reduce.testing.comparing import difference
from map_reduce.testing.sequential import sequential

REST_S = (0.1, 1.0)
"""Between two faults."""

PAUSE_S = (0.2, 8.0)


class ChaosRun(NamedTuple):
    """A job that gave the right answer.

    Attributes:
        seed: of the faults.
        result: what the job gave.
        faults: how many nodes were killed or paused while it ran.
        story: what was done to whom, and when.
    """

    seed: int
    result: dict[Any, Any]
    faults: int
    story: tuple[str, ...]


def run_under_chaos(
    data: Iterable[Any],
    map: MapFunction,
    reduce: ReduceFunction,
    combine: ReduceFunction | None = None,
    *,
    seed: int | None = None,
    nodes: int = 5,
    slots: int = 1,
    last_s: float = 3.0,
    timeout_s: float = 300.0,
    settings: Mapping[str, str] | None = None,
) -> ChaosRun:
    """Run a job while its cluster is hurt, and compare with :func:`sequential`.

    Args:
        data: items or a mapping, as for ``startup``; read more than once.
        seed: of who is hurt, how, and when; None draws one. Failures name it.
        nodes, slots, settings: of the ring; see :class:`ChaosCluster`.
        last_s: about how long the maps are stretched to last, by a pause before each record, so
            that a small job is there to be hurt; 0 leaves it as it is.
        timeout_s: how long the job may take.

    Raises:
        AssertionError: the answer differs, or the job ended otherwise; names what differs, the
            seed, and what was done to whom.
    """
    data = data if isinstance(data, Mapping) else list(data)
    expected = sequential(data, map, reduce, combine)
    with ChaosCluster(nodes, seed=seed, slots=slots, settings=settings) as cluster:
        pause_s = last_s * nodes * slots / max(1, len(data))
        problem = ""
        result: dict[Any, Any] = {}
        with cluster.server() as server, _Hurting(cluster) as hurting:
            try:
                job = server.startup(data, _Stretched(map, pause_s), reduce, combine)
                result = job.result(timeout_s)
            except MapReduceError as error:
                problem = f"the job ended with {type(error).__name__}: {error}"
        if not problem and result != expected:
            problem = "the answer is not that of the sequential run: " + difference(
                result, expected
            )
        problem = problem or hurting.problem
        if problem:
            replay = f"run_under_chaos(..., seed={cluster.seed}, nodes={nodes}) hurts alike again"
            raise AssertionError("\n".join([problem, replay, *cluster.story]))
        return ChaosRun(cluster.seed, result, hurting.faults, tuple(cluster.story))


class _Stretched:
    """A map function with a pause before each record."""

    def __init__(self, map: MapFunction, pause_s: float) -> None:
        self._map = map
        self._pause_s = pause_s

    def __call__(self, key: Any, value: Any) -> Any:
        time.sleep(self._pause_s)
        return self._map(key, value)


class _Hurting:
    """A thread that hurts a cluster, for as long as the ``with`` block."""

    def __init__(self, cluster: ChaosCluster) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="map-reduce-chaos")
        self.faults = 0
        self.problem = ""

    def __enter__(self) -> _Hurting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._hurt():
                self._heal()
        except MapReduceError as error:
            self.problem = f"the ring did not heal: {error}"

    def _hurt(self) -> bool:
        """As many nodes as a ring of this size bears; whether to go on."""
        cluster, draw = self._cluster, self._cluster.draw
        for _ in range((len(cluster.nodes) - 1) // 2):
            if self._stop.wait(draw.uniform(*REST_S)):
                return False
            self.faults += 1
            if draw.random() < 0.5:
                cluster.kill_random()
            else:
                cluster.pause_random(draw.uniform(*PAUSE_S))
        return not self._stop.wait(draw.uniform(*REST_S))

    def _heal(self) -> None:
        self._cluster.resume()
        for node in self._cluster.down:
            self._cluster.restart(node)
        self._cluster.await_copies()
