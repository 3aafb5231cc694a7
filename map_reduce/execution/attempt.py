"""The way in: one attempt at one task, from its order to its outcome.

Whatever goes wrong inside becomes an outcome here, and nowhere else. The worker around it sees
an exception only where this code itself is at fault.

    order ── MapWork ────▶ read ─▶ map ─▶ group ─▶ combine ─▶ segments in the output file
          ── ReduceWork ─▶ segments ─▶ group ─▶ reduce ─▶ results, inline or in the output file
          ── WholeWork ──▶ both, the segment staying in memory
          ── SampleWork ─▶ read ─▶ map ─▶ keys to cut the ranges of a sorted job by

A whole job in one task goes through the same segment as any other, so that what works on three
lines works on three million: keys and values must pickle, and reduce gets copies.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from map_reduce.core.messages import (
    Checked,
    CheckWork,
    Counts,
    Failed,
    Failure,
    MapOutput,
    MapWork,
    Outcome,
    ReduceOutput,
    ReduceWork,
    SampleWork,
    StartAttempt,
    Tally,
    WholeWork,
)
from map_reduce.counters import counting
from map_reduce.errors import (
    ClusterError,
    InputEncodingError,
    InputError,
    MapError,
    MapReduceError,
    ReduceError,
)
from map_reduce.execution.failures import Stopped, failure_of, on
from map_reduce.execution.formatted import TextWriter, format_of, unformatted
from map_reduce.execution.functions import LoadedFunctions, load_functions
from map_reduce.execution.gauge import Gauge, MemoryGauge, bound_of
from map_reduce.execution.guarded import Guard, GuardedMapSide, GuardedReduceSide
from map_reduce.execution.key_faults import KeyFault, fault_of
from map_reduce.execution.lasting import KEPT
from map_reduce.execution.map_output import MapOutputWriter
from map_reduce.execution.map_side import MapSide, NotPlain
from map_reduce.execution.origins import origins, source_names
from map_reduce.execution.pair_sides import PairReduceSide, PairSide, goes_by_pairs
from map_reduce.execution.read import batches_of
from map_reduce.execution.reduce_side import ReduceSide
from map_reduce.execution.results import INLINE_BYTES_MAX, ResultWriter
from map_reduce.execution.sorting import Ranges, Unsortable, sample_bounds
from map_reduce.execution.sources import Sources, UselessSource
from map_reduce.execution.spill import Runs, Spiller, decoded_whole
from map_reduce.execution.summing import (
    NotSums,
    SumReduceSide,
    SumSide,
    adds_unasked,
    adds_up,
    reduces_by_adding,
    unmixed,
)
from map_reduce.execution.tracker import Tracker
from map_reduce.ports import LocalInput

__all__ = ["INLINE_BYTES_MAX", "LoadedFunctions", "Tracker", "load_functions", "run_attempt"]

GC_THRESHOLD = (200_000, 20, 100)
"""Container objects between two garbage collections. Python's own 700 take a tenth to a quarter of
the time of the jobs in benchmarks/kernel.py."""


def run_attempt(
    order: StartAttempt,
    local: LocalInput,
    output: Path,
    tracker: Tracker,
    functions: LoadedFunctions,
    node: str,
    gauge: Gauge | None = None,
    small: bytearray | None = None,
) -> tuple[Outcome, Path | None]:
    """Do what the order says.

    The user's functions run in the calling thread. ``tracker`` may be read by others meanwhile.

    Args:
        local: where the bytes lie that were fetched for it.
        output: a file to be made, where the outcome is too large to be told.
        node: this node's address, for messages.
        gauge: when to put on disk what is held in memory; by default, when it is more than a
            process may have that has the machine for itself.
        small: takes the output of a map where it is small, in place of the file.

    Returns:
        The outcome, and ``output`` where it was made: for a map always, unless ``small`` has taken
        it; for the others where results are large. A MapOutput's name, and that of the BlockRef of
        large results, are left empty for the node to fill in. After a failure there is no file.
    """
    attempt = order.attempt
    advice = memory_advice(order.memory_mb_max)
    KEPT.bound(order.memory_mb_max)
    try:
        with _seldom_collecting(), counting() as counted:
            gauge = gauge or MemoryGauge(bound_of(order.memory_mb_max, slots=1))
            given = order, local, output, tracker, functions, counted, gauge, small
            return _Attempt(*given).run()
    except Stopped as stopped:
        tight = isinstance(stopped.original, MemoryError)
        failed = stopped.failed(attempt, node, advice if tight else "")
    except UselessSource as useless:
        assert isinstance(order.work, ReduceWork)
        source = order.work.sources[useless.number]
        failure = failure_of(useless.error, attempt, node)
        failed = Failed(failure, retry=True, lost_source=source, lost_sums=useless.sums)
    except MapReduceError as error:
        failed = Failed(failure_of(error, attempt, node), retry=_is_of_the_node(error))
    except MemoryError as error:
        kind = ReduceError if isinstance(order.work, ReduceWork) else MapError
        what = "MemoryError: the task's data does not fit in memory"
        failed = Stopped(kind, "", what, error).failed(attempt, node, advice)
    except OSError as error:
        text = f"cannot read or write a file of the task: {error}\n  {on(node, attempt)}"
        failed = Failed(Failure(ClusterError.__name__, text), retry=True)
    output.unlink(missing_ok=True)
    return failed, None


def _is_of_the_node(error: MapReduceError) -> bool:
    """Whether another node may read what this one could not: its disk or mount is at fault."""
    cause = error.__cause__
    return isinstance(error, InputError) and isinstance(cause, OSError) and cause.errno is not None


def memory_advice(memory_mb_max: int) -> str:
    """What to do where memory has run out."""
    if memory_mb_max:
        return (
            f"the worker process may use {memory_mb_max} MiB: that is Options(memory_mb_max=…) or, "
            "where lower, the node's MR_WORKER_MEMORY_MB_MAX"
        )
    return "give the machine more memory, or its node fewer slots (MR_SLOTS)"


Side = TypeVar("Side", bound=MapSide)


class _Attempt:
    def __init__(
        self,
        order: StartAttempt,
        local: LocalInput,
        output: Path,
        tracker: Tracker,
        functions: LoadedFunctions,
        counted: dict[str, int],
        gauge: Gauge,
        small: bytearray | None,
    ) -> None:
        self._small = small
        self._counted = counted
        self._gauge = gauge
        self._skipping = order.skipping
        self._careful = order.careful
        self._guard: Guard | None = None
        self._work = order.work
        self._local = local
        self._output = output
        self._tracker = tracker
        self._functions = functions
        self._note = tracker.note if order.careful else None
        self._began_s = time.process_time()

    def run(self) -> tuple[Outcome, Path | None]:
        try:
            return self._run_as_told()
        except (Unsortable, KeyFault) as stopped:
            whence = origins(self._work, self._local, self._functions, stopped.keys)
            raise stopped.told_from(whence) if whence else stopped from stopped.__cause__

    def _run_as_told(self) -> tuple[Outcome, Path | None]:
        skipping = self._skipping
        if skipping is None:
            return self._run()
        pickling = False
        if not self._careful:
            try:
                return self._run()
            except Stopped as stopped:
                about_the_job = stopped.is_about_the_job and not isinstance(stopped, Unsortable)
                if stopped.may_pass or about_the_job:
                    raise
                # Of two keys without an order one may be a bad record's.
                pickling = stopped.unpicklable
            except InputEncodingError:
                pass  # where lines can be told apart, those that can be decoded are mapped
        try:
            return self._run_guarded(Guard(skipping, self._counted, pickling=pickling))
        except Stopped as stopped:
            if pickling or not stopped.unpicklable:
                raise
        return self._run_guarded(Guard(skipping, self._counted, pickling=True))

    def _run_guarded(self, guard: Guard) -> tuple[Outcome, Path | None]:
        """From the start, leaving out what cannot be processed."""
        self._counted.clear()
        self._output.unlink(missing_ok=True)  # of the run that failed
        self._guard = guard
        return self._run()

    def _run(self) -> tuple[Outcome, Path | None]:
        try:
            return self._run_work()
        except Exception as error:
            kind = ReduceError if isinstance(self._work, ReduceWork) else MapError
            fault = fault_of(error, kind)
            if fault is None:
                raise
            raise fault from error

    def _run_work(self) -> tuple[Outcome, Path | None]:
        work = self._work
        if isinstance(work, MapWork):
            return self._map(work)
        if isinstance(work, ReduceWork):
            return self._reduce(work)
        if isinstance(work, WholeWork):
            return self._whole(work)
        if isinstance(work, SampleWork):
            paths = [source.path for source in self._local.sources] or [Path()] * len(work.splits)
            inputs = [*map(batches_of, work.splits, paths)]
            return sample_bounds(inputs, self._functions, work.ranges), None
        assert isinstance(work, CheckWork)
        return Checked(), None

    def _map(self, work: MapWork) -> tuple[MapOutput, Path | None]:
        ranges = Ranges.loaded(work.bounds) if self._functions.sorts else None
        with self._spiller(work.partitions, ranges) as spiller:
            side, segments = self._mapped(work, spiller)
            sizes = [0] * work.partitions
            with closing(MapOutputWriter(self._output, self._small)) as output:
                for partition, data in segments:
                    output.write(data)
                    sizes[partition] += len(data)
                path = output.finish()
            spilled = spiller.runs.bytes
        counts = self._counts(side.records, side.bytes_in, spiller.values, sum(sizes), spilled)
        return MapOutput("", tuple(sizes), counts, self._tally(), spiller.added), path

    @contextmanager
    def _spiller(self, partitions: int, ranges: Ranges | None = None) -> Iterator[Spiller]:
        with closing(Runs(self._output.with_name("mapped"), partitions)) as runs:
            yield Spiller(self._gauge, runs, ranges)

    def _mapped(
        self, work: MapWork | WholeWork, spiller: Spiller
    ) -> tuple[MapSide, Iterator[tuple[int, bytes]]]:
        """The split, mapped, and its segments, which are made as they are asked for."""
        if self._guard is not None:
            batches = batches_of(work.split, self._local.split, keep_bad=True)
            given = work.split, batches, self._functions, self._tracker, self._note
            guarded = GuardedMapSide(*given, spiller, self._guard)
            groups = guarded.run()
            return guarded, spiller.segments(groups, plain=not groups.irregular)
        unasked = adds_unasked(self._functions)
        may_add = not isinstance(work, MapWork) or work.adds
        if adds_up(self._functions) and (may_add or not unasked):
            summing = self._side(SumSide, work, spiller)
            spiller.added = unasked
            try:
                sums = summing.run_sums()
                return summing, spiller.segments(sums, plain=True, listed=False)
            except NotSums:
                self._counted.clear()  # so in the ordinary way, from the start
                spiller.forget()
        by_pairs = isinstance(work, MapWork) and goes_by_pairs(self._functions)
        side = self._side(PairSide if by_pairs else MapSide, work, spiller)
        try:
            held = side.run()
        except NotPlain:
            self._counted.clear()
            spiller.forget()
            side = self._side(MapSide, work, spiller)
            side.plain = False
            held = side.run()
        return side, spiller.segments(held, plain=not side.groups.irregular)

    def _side(self, kind: type[Side], work: MapWork | WholeWork, spiller: Spiller) -> Side:
        batches = KEPT.batches(work.split, partial(batches_of, work.split, self._local.split))
        return kind(work.split, batches, self._functions, self._tracker, self._note, spiller)

    def _reduce(self, work: ReduceWork) -> tuple[ReduceOutput, Path | None]:
        partitions = range(work.first_partition, work.last_partition)
        names = source_names(work)
        sources = Sources(self._local.sources, names, partitions)
        unasked = adds_unasked(self._functions)
        with self._reduce_side() as side:
            for partition in partitions:
                segments = sources.segments(partition)
                side.add(unmixed(segments, names) if unasked else segments)
            return self._finished(side, side.values_in, side.bytes_in, 0)

    def _whole(self, work: WholeWork) -> tuple[ReduceOutput, Path | None]:
        with self._spiller(1) as spiller:
            mapped, segments = self._mapped(work, spiller)
            if not spiller.runs.runs:  # so they are few: all of them, and then their copies
                made = [data for _, data in segments]
                mapped.groups.clear()
                segments = ((0, data) for data in made)
            with self._reduce_side() as side:
                side.add(decoded_whole(data) for _, data in segments)
                spilled = spiller.runs.bytes
                return self._finished(side, mapped.records, mapped.bytes_in, spilled)

    @contextmanager
    def _reduce_side(self) -> Iterator[ReduceSide]:
        form = format_of(self._functions.reduce)
        writer = ResultWriter(self._output) if form is None else TextWriter(self._output, form)
        with closing(writer) as results:
            given = self._functions, self._tracker, self._note, results, self._gauge
            folder = self._output.parent
            if self._guard is not None:
                yield GuardedReduceSide(*given, folder, self._guard)
            elif reduces_by_adding(unformatted(self._functions.reduce)):
                yield SumReduceSide(*given, folder)
            elif self._functions.sorts:
                yield PairReduceSide(*given, folder)
            else:
                yield ReduceSide(*given, folder)

    def _finished(
        self, side: ReduceSide, records_in: int, bytes_in: int, spilled_bytes: int
    ) -> tuple[ReduceOutput, Path | None]:
        part = side.results.finish()
        spilled_bytes += side.spilled_bytes
        out = part.records, side.results.bytes
        counts = self._counts(records_in, bytes_in, *out, spilled_bytes)
        return ReduceOutput(part, counts, self._tally()), self._output if part.ref else None

    def _tally(self) -> Tally:
        counters = tuple(sorted(self._counted.items()))
        return Tally(counters) if self._guard is None else self._guard.tally(counters)

    def _counts(
        self, records_in: int, bytes_in: int, records_out: int, bytes_out: int, spilled_bytes: int
    ) -> Counts:
        return Counts(
            records_in,
            bytes_in,
            records_out,
            bytes_out,
            user_s=time.process_time() - self._began_s,
            spilled_bytes=spilled_bytes,
        )


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Garbage collection at longer intervals, and of the attempt's own objects only.

    Not switched off: user code may make reference cycles, and must not run out of memory by
    them. The setting is the process's, so where attempts run in threads it is left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
