"""Whole jobs through the execution layer alone: no processes, no network."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import map_reduce
from map_reduce.core.identifiers import Address
from map_reduce.core.messages import (
    AttemptId,
    Failed,
    Functions,
    InlineItems,
    MapOutput,
    MapWork,
    Outcome,
    ReduceOutput,
    ReduceWork,
    Skipping,
    Source,
    Split,
    StartAttempt,
    WholeWork,
    Work,
)
from map_reduce.execution.attempt import LoadedFunctions, Tracker, run_attempt
from map_reduce.execution.gauge import Gauge
from map_reduce.pickling import dumps
from map_reduce.ports import LocalInput, LocalSource

NODE = Address("127.0.0.1", 9000)
PHASES = {MapWork: "map", ReduceWork: "reduce", WholeWork: "whole"}


def order_for(
    work: Work,
    careful: bool = False,
    task: int = 3,
    skipping: Skipping | None = None,
) -> StartAttempt:
    attempt = AttemptId("job", PHASES.get(type(work), "check"), task, 0)
    functions = Functions(b"", None, b"")
    return StartAttempt(attempt, 1, NODE, functions, work, 60.0, careful, skipping)


def items_split(items: list[Any], first_index: int = 0, keyed: bool = False) -> InlineItems:
    return InlineItems(dumps(items), len(items), first_index, keyed)


def attempt(
    work: Work,
    functions: LoadedFunctions,
    output: Path,
    local: LocalInput | None = None,
    tracker: Tracker | None = None,
    careful: bool = False,
    skipping: Skipping | None = None,
    gauge: Gauge | None = None,
) -> tuple[Outcome, Path | None]:
    return run_attempt(
        order_for(work, careful, skipping=skipping),
        local or LocalInput(),
        output,
        tracker or Tracker(),
        functions,
        str(NODE),
        gauge,
    )


@contextmanager
def folder() -> Iterator[Path]:
    """A fresh one for each example of a property; fixtures are for each test."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def results_of(outcome: Outcome, path: Path | None) -> list[tuple[Any, Any]]:
    assert isinstance(outcome, ReduceOutput), outcome
    data = outcome.part.inline if outcome.part.ref is None else Path(str(path)).read_bytes()
    results = []
    file = io.BytesIO(data)
    while file.tell() < len(data):
        keys, values = pickle.load(file)
        results += zip(keys, values, strict=True)
    assert len(results) == outcome.part.records
    return results


def run_job(
    functions: LoadedFunctions,
    splits: list[Split],
    partitions: int,
    per_task: int = 1,
    bounds: bytes = b"",
    adds: bool = True,
) -> list[list[tuple[Any, Any]]]:
    """The results of each reduce task, which has ``per_task`` neighbouring partitions.

    All begins anew, once, where a reduce task has no use for what was added up.
    """
    with folder() as here:
        mapped = []
        for number, split in enumerate(splits):
            work = MapWork(split, partitions, bounds, adds)
            outcome, path = attempt(work, functions, here / f"map{number}")
            assert isinstance(outcome, MapOutput), outcome
            assert adds or not outcome.added
            assert path is not None
            assert path.stat().st_size == sum(outcome.sizes)
            assert len(outcome.sizes) == partitions
            mapped.append((path, outcome.sizes))
        parts = []
        for first in range(0, partitions, per_task):
            last = min(first + per_task, partitions)
            reducing, local = reduce_work(mapped, first, last)
            outcome, path = attempt(reducing, functions, here / "reduced", local)
            if isinstance(outcome, Failed) and outcome.lost_sums and adds:
                return run_job(functions, splits, partitions, per_task, bounds, adds=False)
            parts.append(results_of(outcome, path))
        return parts


def reduce_work(
    mapped: list[tuple[Path, tuple[int, ...]]], first: int, last: int
) -> tuple[ReduceWork, LocalInput]:
    sources, files = [], []
    for number, (path, sizes) in enumerate(mapped):
        offset, length = sum(sizes[:first]), sum(sizes[first:last])
        sources.append(Source(NODE, f"map-{number}", offset, length))
        files.append(LocalSource(path, offset, length))
    partitions = len(mapped[0][1]) if mapped else last
    work = ReduceWork.of(first, last, partitions, sources)
    return work, LocalInput(sources=tuple(files))


def failure_of_map(
    map: Callable[[Any, Any], Any],
    items: list[Any] | None = None,
    combine: Callable[[Any, list[Any]], Any] | None = None,
) -> Failed:
    """The failure of this map over these items, as a map task of its own."""
    functions = LoadedFunctions(map, lambda key, values: values, combine)
    split = items_split(["a", "b", "c"] if items is None else items)
    with folder() as here:
        outcome, path = attempt(MapWork(split, 2), functions, here / "out")
        assert path is None
        assert not list(here.iterdir())
    assert isinstance(outcome, Failed), outcome
    return outcome


def failure_of_reduce(reduce: Callable[[Any, list[Any]], Any], items: list[Any]) -> Failed:
    """The failure of this reduce, over items that are lists of pairs."""
    functions = LoadedFunctions(lambda index, pairs: pairs, reduce, None)
    with folder() as here:
        outcome, path = attempt(WholeWork(items_split(items)), functions, here / "out")
        assert path is None
        assert not list(here.iterdir())
    assert isinstance(outcome, Failed), outcome
    return outcome


# ---------------------------------------------------------------------- other processes

_CHILD = """
import pickle, sys
from pathlib import Path
from map_reduce.execution.attempt import Tracker, load_functions, run_attempt
pickled, order, local, output = pickle.load(sys.stdin.buffer)
outcome, path = run_attempt(order, local, output, Tracker(), load_functions(pickled), "n:1")
sys.stdout.buffer.write(pickle.dumps((outcome, path)))
"""


def in_child(code: str, given: bytes = b"", hash_seed: int = 0) -> bytes:
    """Standard output of this code in another process, started as worker processes are."""
    root = Path(map_reduce.__file__).parent.parent
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, "-c", code],
        input=given,
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    ).stdout


def attempt_in_child(
    pickled_functions: bytes,
    work: Work,
    output: Path,
    local: LocalInput | None = None,
    hash_seed: int = 0,
) -> tuple[Outcome, Path | None]:
    order = order_for(work)
    given = pickle.dumps((pickled_functions, order, local or LocalInput(), output))
    ended: tuple[Outcome, Path | None] = pickle.loads(in_child(_CHILD, given, hash_seed))
    return ended
