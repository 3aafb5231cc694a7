"""What the attempts of a run do: work that is made up, or a user's functions.

:class:`Pieces` is made up. A map output is a list of sizes, some of them nothing; a result names
the pieces that it was made of, so that what is missing, doubled or out of order is seen. In a plan
that is mixed two maps of three add up where they may, and reduce has no use for that after another.

:class:`UserWork` is a user's: the same code that worker processes run (``execution``), in this
process and in no time of the run. Each life of a node has loaded the functions for itself, as its
worker processes would have, so what a function remembers in its globals is not shared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from map_reduce.core import names
from map_reduce.core.jobs.state import JobEnd
from map_reduce.core.messages import (
    Counts,
    Failed,
    Failure,
    Functions,
    InlineItems,
    JobSpec,
    MapOutput,
    MapWork,
    Outcome,
    OutputPart,
    ReduceOutput,
    ReduceWork,
    Sampled,
    Source,
    Split,
    StartAttempt,
)
from map_reduce.core.registers.birth import Birth
from map_reduce.core.scheduling.plan import partitions_for
from map_reduce.execution.attempt import LoadedFunctions, Tracker, run_attempt
from map_reduce.execution.functions import prepared
from map_reduce.execution.read import batches_of
from map_reduce.execution.sorting import sample_bounds
from map_reduce.ports import LocalInput, LocalSource
from map_reduce.simulation.jobs.plan import Plan


class Life(NamedTuple):
    """One life of a node."""

    node: int
    life: int


class Work(Protocol):
    """One job, for one run."""

    def spec(self, birth: Birth, plan: Plan) -> JobSpec:
        """What is submitted."""

    def outcome(self, order: StartAttempt, where: Life) -> Outcome:
        """What an attempt makes, the map outputs that it needs being at hand."""

    def wrong(self, ending: JobEnd) -> str | None:
        """What is wrong with the result of a job that is done."""


def spec_of(birth: Birth, plan: Plan, splits: Sequence[Split]) -> JobSpec:
    return JobSpec(
        job_id=birth.name,
        birth=birth.encode(),
        name="a job",
        functions=Functions(b"", None, b""),
        combines=False,
        splits=tuple(splits),
        partitions=partitions_for(len(splits), plan.nodes * plan.slots, 0),
        readers=(),
        input_bytes=0,
        python="",
        submitted_at_s=0.0,
        bounds=b"of the ranges of keys",
    )


def sizes_of(split: int, partitions: int) -> tuple[int, ...]:
    """What the map task of a split makes: some partitions are empty."""
    return tuple((split * 7 + partition * 3) % 4 * 1000 for partition in range(partitions))


class Pieces:
    """See the module's text."""

    def __init__(self) -> None:
        self._splits = self._partitions = 0
        self._mixed = False
        self._added: set[str] = set()  # names of map outputs

    def spec(self, birth: Birth, plan: Plan) -> JobSpec:
        self._mixed = plan.mixed
        splits = tuple(InlineItems(b"", 10, index, False) for index in range(plan.splits))
        spec = spec_of(birth, plan, splits)
        self._splits, self._partitions = len(splits), spec.partitions
        return spec

    def outcome(self, order: StartAttempt, where: Life) -> Outcome:
        work, attempt = order.work, order.attempt
        if isinstance(work, MapWork):
            sizes, name = sizes_of(attempt.task, work.partitions), names.map_output(attempt)
            added = self._mixed and work.adds and attempt.task % 3 > 0
            self._added.update([name] * added)
            return MapOutput(name, sizes, Counts(10, 100), added=added)
        pieces = [[0, 0]]
        if isinstance(work, ReduceWork):
            if (useless := self._useless(work)) is not None:
                return Failed(Failure("ClusterError", "sums"), True, useless, lost_sums=True)
            pieces = [
                [int(source.name.rpartition("/")[2].partition(".")[0]), partition]
                for source in work.sources
                for partition in range(work.first_partition, work.last_partition)
            ]
        return ReduceOutput(OutputPart(1, json.dumps(pieces).encode(), None), Counts(1, 1))

    def _useless(self, work: ReduceWork) -> Source | None:
        """The first source that was added up, and comes after one that was not."""
        others = False
        for source in work.sources:
            if source.name not in self._added:
                others = True
            elif others:
                return source
        return None

    def wrong(self, ending: JobEnd) -> str | None:
        found = [json.loads(part.inline) for part in ending.parts]
        if self._splits == 1:
            return None if found == [[[0, 0]]] else f"the result is {found}"
        if any(pieces != sorted(pieces) for pieces in found):
            return "pieces are not in the order of the splits"
        partitions = [{partition for _, partition in pieces} for pieces in found if pieces]
        if any(max(before) >= min(after) for before, after in pairwise(partitions)):
            return "partitions are not in order"
        pieces = sorted(tuple(piece) for part in found for piece in part)
        cells = {
            (split, partition): size
            for split in range(self._splits)
            for partition, size in enumerate(sizes_of(split, self._partitions))
        }
        if len(pieces) != len(set(pieces)):
            return "a piece is there twice"
        missing = [cell for cell, size in cells.items() if size and cell not in set(pieces)]
        return f"a piece is missing: {missing[0]}" if missing else None


class UserWork:
    """See the module's text.

    Args:
        load: unpickles the functions anew, as :func:`prepared` takes them.
        cut: the input, in about so many splits.
        judge: what is wrong with the results, given as pickled parts in order, and the counters.
        folder: for map outputs; empty.
    """

    def __init__(
        self,
        load: Callable[[], tuple[Any, ...]],
        cut: Callable[[int], Sequence[Split]],
        judge: Callable[[list[bytes], dict[str, int]], str | None],
        folder: Path,
    ) -> None:
        self._load = load
        self._cut = cut
        self._judge = judge
        self._folder = folder
        self._loaded: dict[Life, LoadedFunctions] = {}
        self._numbers = count()
        self._outputs: dict[str, Path] = {}
        self._large: dict[str, bytes] = {}  # results that would be blocks of the ring

    def spec(self, birth: Birth, plan: Plan) -> JobSpec:
        splits = self._cut(plan.splits)
        spec = spec_of(birth, plan, splits)
        functions = prepared(*self._load())
        sampled = Sampled(b"", 0)
        if functions.sorts and splits:
            some = batches_of(splits[len(splits) // 2], None)
            sampled = sample_bounds([some], functions, spec.partitions)
        if functions.sorts:
            spec = msgspec.structs.replace(spec, partitions=sampled.bounds + 1)
        return msgspec.structs.replace(spec, bounds=sampled.pickled)

    def outcome(self, order: StartAttempt, where: Life) -> Outcome:
        if where not in self._loaded:
            self._loaded[where] = prepared(*self._load())
        functions = self._loaded[where]
        output = self._folder / f"{where.node}-{where.life}-{next(self._numbers)}"
        made, path = run_attempt(
            order, self._local(order), output, Tracker(), functions, f"node {where.node}"
        )
        if isinstance(made, MapOutput):
            name = names.map_output(order.attempt)
            self._outputs[name] = output
            return msgspec.structs.replace(made, name=name)
        if isinstance(made, ReduceOutput) and made.part.ref is not None and path is not None:
            name = names.result(order.attempt)
            self._large[name] = path.read_bytes()
            path.unlink()
            ref = msgspec.structs.replace(made.part.ref, name=name)
            part = msgspec.structs.replace(made.part, ref=ref)
            return msgspec.structs.replace(made, part=part)
        return made

    def _local(self, order: StartAttempt) -> LocalInput:
        if not isinstance(order.work, ReduceWork):
            return LocalInput()
        return LocalInput(
            sources=tuple(
                LocalSource(self._outputs[source.name], source.offset, source.length_bytes)
                for source in order.work.sources
            )
        )

    def wrong(self, ending: JobEnd) -> str | None:
        data = [
            part.inline if part.ref is None else self._large[part.ref.name] for part in ending.parts
        ]
        return self._judge(data, dict(ending.tally.counters))
