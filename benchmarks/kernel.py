"""The inner loops of a worker against the loops that one would write by hand.

    python benchmarks/kernel.py [--pairs 1500000] [--rounds 5]

Everything runs in this process, in turn, on the same generated input; each figure is the best of
the rounds, in nanoseconds of processor time per pair. A ratio compares a loop of the library with
the hand-written one named beside it, in the same run; seconds of other runs say nothing.

The hand-written loops check nothing, name no record when something fails, and write no file:

    group     read the lines, call map on each, append each value to its key's list
    combine   the same, then combine each list
    sum       the same as group, but add to the key's sum at once: a combiner at its best
    exchange  group; pickle the dict's items by partition; unpickle, merge, reduce

The garbage collector is off in them, and as an attempt sets it in the library's.
"""

from __future__ import annotations

import argparse
import gc
import os
import pickle
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import (
    AttemptId,
    Failed,
    FileText,
    Functions,
    InlineItems,
    MapOutput,
    MapWork,
    Outcome,
    ReduceWork,
    Source,
    StartAttempt,
    TextFormat,
    WholeWork,
    Work,
)
from map_reduce.execution.attempt import GC_THRESHOLD, LoadedFunctions, Tracker, run_attempt
from map_reduce.execution.map_side import MapSide
from map_reduce.execution.read import batches_of
from map_reduce.ports import LocalInput, LocalSource

PARTITIONS = 16
SPLITS = 4
DISTINCT_WORDS = 60_000


class Job(NamedTuple):
    """``pairs`` is how many ``map`` gives over the whole text."""

    name: str
    map: Callable[[int, str], Any]
    reduce: Callable[[Any, list[Any]], Any]
    combines: bool
    pairs: int


def words(number: int, line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


def yielded_words(number: int, line: str) -> Iterator[tuple[str, int]]:
    for word in line.split():
        yield word, 1


def line_numbers(number: int, line: str) -> list[tuple[str, int]]:
    return [(word, number) for word in set(line.split())]


def by_length(number: int, line: str) -> list[tuple[tuple[int, str], str]]:
    return [((len(line), line[:2]), line)]


def total(key: Any, values: list[int]) -> int:
    return sum(values)


def sorted_list(key: Any, values: list[Any]) -> list[Any]:
    return sorted(values)


def text_of(pairs: int) -> list[str]:
    """Lines of 3 to 14 words; the n-th commonest word is 1/n as common as the first."""
    chance = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = [
        "".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(DISTINCT_WORDS)
    ]
    weights = [1 / (n + 1) for n in range(DISTINCT_WORDS)]
    stream = iter(chance.choices(vocabulary, weights=weights, k=pairs))
    lines = []
    while line := [word for word, _ in zip(stream, range(chance.randint(3, 14)), strict=False)]:
        lines.append(" ".join(line))
    return lines


class Input(NamedTuple):
    """The text as files, one for each split, and where attempts may write."""

    splits: tuple[FileText, ...]
    folder: Path


# ---------------------------------------------------------------------- by hand


def read_lines(split: FileText) -> list[str]:
    return Path(split.path).read_bytes().decode().split("\n")[:-1]


def hand_group(job: Job, given: Input) -> None:
    for split in given.splits:
        groups: defaultdict[Any, list[Any]] = defaultdict(list)
        for number, line in enumerate(read_lines(split), split.first_line):
            for key, value in job.map(number, line):
                groups[key].append(value)


def hand_combine(job: Job, given: Input) -> None:
    for split in given.splits:
        groups: defaultdict[Any, list[Any]] = defaultdict(list)
        for number, line in enumerate(read_lines(split), split.first_line):
            for key, value in job.map(number, line):
                groups[key].append(value)
        for key, values in groups.items():
            groups[key] = [job.reduce(key, values)]


def hand_sum(job: Job, given: Input) -> None:
    for split in given.splits:
        sums: defaultdict[Any, int] = defaultdict(int)
        for number, line in enumerate(read_lines(split), split.first_line):
            for key, value in job.map(number, line):
                sums[key] += value


def hand_exchange(job: Job, given: Input) -> None:
    outputs: list[list[bytes]] = []
    for split in given.splits:
        groups: list[defaultdict[Any, list[Any]]] = [defaultdict(list) for _ in range(PARTITIONS)]
        for number, line in enumerate(read_lines(split), split.first_line):
            for key, value in job.map(number, line):
                groups[hash(key) % PARTITIONS][key].append(value)
        if job.combines:
            for part in groups:
                for key, values in part.items():
                    part[key] = [job.reduce(key, values)]
        outputs.append([pickle.dumps(dict(part), 5) for part in groups])
    for partition in range(PARTITIONS):
        merged: defaultdict[Any, list[Any]] = defaultdict(list)
        for output in outputs:
            for key, values in pickle.loads(output[partition]).items():
                merged[key] += values
        pickle.dumps({key: job.reduce(key, values) for key, values in merged.items()}, 5)


# ---------------------------------------------------------------------- the library


def attempt(
    work: Work, job: Job, output: Path, local: LocalInput | None = None, combine: bool = False
) -> Outcome:
    phase = type(work).__name__.removesuffix("Work").lower()
    order = StartAttempt(
        AttemptId("job", phase, 0, 0),
        1,
        Address("127.0.0.1", 1),
        Functions(b"", None, b""),
        work,
        3600.0,
        False,
    )
    functions = LoadedFunctions(job.map, job.reduce, job.reduce if combine else None)
    outcome, _ = run_attempt(order, local or LocalInput(), output, Tracker(), functions, "here")
    if isinstance(outcome, Failed):
        raise SystemExit(outcome.failure.message)
    return outcome


def our_map(job: Job, given: Input, combine: bool = False) -> list[MapOutput]:
    outputs = []
    for number, split in enumerate(given.splits):
        outcome = attempt(
            MapWork(split, PARTITIONS), job, given.folder / f"m{number}", combine=combine
        )
        assert isinstance(outcome, MapOutput)
        outputs.append(outcome)
    return outputs


def our_group(job: Job, given: Input, combine: bool = False) -> None:
    functions = LoadedFunctions(job.map, job.reduce, job.reduce if combine else None)
    for split in given.splits:
        MapSide(split, batches_of(split, None), functions, Tracker()).run()


def our_combine(job: Job, given: Input) -> None:
    our_group(job, given, combine=True)


def our_exchange(job: Job, given: Input) -> None:
    outputs = our_map(job, given, job.combines)
    for first in range(PARTITIONS):
        sources, files = [], []
        for number, output in enumerate(outputs):
            offset, length = sum(output.sizes[:first]), output.sizes[first]
            sources.append(Source(Address("127.0.0.1", 1), f"m{number}", offset, length))
            files.append(LocalSource(given.folder / f"m{number}", offset, length))
        work = ReduceWork.of(first, first + 1, PARTITIONS, sources)
        attempt(work, job, given.folder / "r", LocalInput(sources=tuple(files)))


# ---------------------------------------------------------------------- measuring


class Line(NamedTuple):
    """A loop of ours and the one by hand that does as much of the same."""

    what: str
    ours: Callable[[Job, Input], object]
    by_hand: Callable[[Job, Input], object]
    for_combining: bool


LINES = (
    Line("map, group : group", our_group, hand_group, False),
    Line("map, combine : combine", our_combine, hand_combine, True),
    Line("map, combine : sum", our_combine, hand_sum, True),
    Line("all, to the results : exchange", our_exchange, hand_exchange, False),
)


def spent_s(loop: Callable[[Job, Input], object], job: Job, given: Input) -> float:
    gc.collect()
    usual = gc.get_threshold()
    if loop.__name__.startswith("hand"):
        gc.disable()
    else:
        gc.set_threshold(*GC_THRESHOLD)
    before = time.process_time()
    loop(job, given)
    spent = time.process_time() - before
    gc.enable()
    gc.set_threshold(*usual)
    return spent


def measure(job: Job, given: Input, rounds: int, records: int) -> None:
    lines = [line for line in LINES if job.combines or not line.for_combining]
    loops = {loop for line in lines for loop in (line.ours, line.by_hand)}
    best: dict[Any, float] = {}
    for _ in range(rounds):
        for loop in sorted(loops, key=lambda loop: loop.__name__):
            best[loop] = min(best.get(loop, 1e9), spent_s(loop, job, given))
    for line in lines:
        ours, by_hand = best[line.ours], best[line.by_hand]
        print(
            f"{job.name:<22}{line.what:<32}{ours / job.pairs * 1e9:>8.0f}"
            f"{by_hand / job.pairs * 1e9:>9.0f}{ours / records * 1e9:>12.0f}{ours / by_hand:>8.2f}",
            flush=True,
        )


def measure_small_job(folder: Path) -> None:
    job = Job("", words, total, False, 6)
    items = ["hello world", "hello distributed computing", "world of mapreduce"]
    work = WholeWork(InlineItems(pickle.dumps(items), 3, 0, False))
    times = []
    for _ in range(200):
        before = time.perf_counter()
        attempt(work, job, folder / "small")
        times.append(time.perf_counter() - before)
    print(f"\na job of three lines in one task: {min(times) * 1e6:.0f} µs in the worker process")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=1_500_000, help="words of generated text")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    lines = text_of(asked.pairs)
    sets = sum(len(set(line.split())) for line in lines)
    jobs = (
        Job("word count", words, total, True, asked.pairs),
        Job("word count, yielding", yielded_words, total, True, asked.pairs),
        Job("inverted index", line_numbers, sorted_list, False, sets),
        Job("lines by a tuple", by_length, sorted_list, False, len(lines)),
    )
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        folder = Path(name)
        splits = []
        for number in range(SPLITS):
            first, last = len(lines) * number // SPLITS, len(lines) * (number + 1) // SPLITS
            path = folder / f"text{number}"
            path.write_text("".join(line + "\n" for line in lines[first:last]))
            status = path.stat()
            size, written = status.st_size, status.st_mtime_ns
            splits.append(FileText(str(path), 0, size, first, size, written, TextFormat()))
        print(f"{'job':<22}{'ours : by hand':<32}{'ours':>8}{'by hand':>9}{'ours':>12}{'ratio':>8}")
        print(f"{'':<54}{'ns per pair':>17}{'per record':>12}")
        for job in jobs:
            measure(job, Input(tuple(splits), folder), asked.rounds, len(lines))
        measure_small_job(folder)


if __name__ == "__main__":
    main()
