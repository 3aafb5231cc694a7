"""A partition of a job that sorts and does not fit in memory: time, bytes put on disk, peak.

    python benchmarks/sorted_runs.py [--megabytes 300] [--memory 64] [--order rising …]

One reduce task in this process, over 32 map outputs made beforehand, each in the order of its keys;
the order (rising, falling, shuffled) is that of the keys in the whole input. ``--memory`` is what
it may take up, in MiB, beside what the process takes up when it begins, until it puts something on
disk.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import (
    AttemptId,
    Functions,
    ReduceOutput,
    ReduceWork,
    Source,
    StartAttempt,
)
from map_reduce.execution.attempt import LoadedFunctions, Tracker, run_attempt
from map_reduce.execution.gauge import MemoryGauge, give_back, measure_of_process
from map_reduce.execution.segments import encoded
from map_reduce.ports import LocalInput, LocalSource

ORDERS = ("rising", "falling", "shuffled")
MAPS = 32
SEGMENT = 1 << 16
PAIR_BYTES = 50
NODE = Address("127.0.0.1", 1)


def write_outputs(folder: Path, pairs: int, order: str) -> list[LocalSource]:
    keys = [f"k{number:012}" for number in range(pairs)]
    if order == "falling":
        keys.reverse()
    elif order == "shuffled":
        random.Random(1).shuffle(keys)
    size = -(-pairs // MAPS)
    sources = []
    for start in range(0, pairs, size):
        path, of_map = folder / f"map{start}", sorted(keys[start : start + size])
        with open(path, "wb") as file:
            for at in range(0, len(of_map), SEGMENT):
                some = of_map[at : at + SEGMENT]
                values = [f"{'v' * 28}{number}" for number in range(len(some))]
                file.write(encoded(0, some, [1] * len(some), values))
        sources.append(LocalSource(path, 0, path.stat().st_size))
    return sources


def in_order(sources: list[LocalSource]) -> StartAttempt:
    named = [Source(NODE, source.path.name, 0, source.length_bytes) for source in sources]
    work = ReduceWork.of(0, 1, 1, named)
    attempt = AttemptId("job", "reduce", 0, 0)
    return StartAttempt(attempt, 1, NODE, Functions(b"", None, b""), work, 3600.0, False)


def count(key: str, values: list[str]) -> int:
    return len(values)


def no_pairs(number: Any, record: Any) -> Iterator[Any]:
    yield from ()


def measure(megabytes: int, memory_mb: int, order: str) -> str:
    with tempfile.TemporaryDirectory(prefix="sorted-runs-") as name:
        folder, pairs = Path(name), megabytes * 1_000_000 // PAIR_BYTES
        sources = write_outputs(folder, pairs, order)
        give_back()
        taken = measure_of_process()
        base, peak, stop = taken(), 0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not stop.wait(0.02):
                peak = max(peak, taken())

        watcher = threading.Thread(target=watch)
        watcher.start()
        began_s = time.perf_counter()
        outcome, _ = run_attempt(
            in_order(sources),
            LocalInput(sources=tuple(sources)),
            folder / "out",
            Tracker(),
            LoadedFunctions(no_pairs, count, None, sorts=True),
            str(NODE),
            MemoryGauge(base + (memory_mb << 20)),
        )
        took_s = time.perf_counter() - began_s
        stop.set()
        watcher.join()
    assert isinstance(outcome, ReduceOutput), outcome
    assert outcome.part.records == pairs, "a key is missing"
    given = sum(source.length_bytes for source in sources)
    return (
        f"{order}: {given / 1e6:.0f} MB, {pairs:,} keys: {took_s:.1f} s, "
        f"{outcome.counts.spilled_bytes / 1e6:.0f} MB to disk, "
        f"at most {(peak - base) >> 20} MiB beside {base >> 20}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--memory", type=int, default=64, metavar="MIB")
    parser.add_argument("--order", nargs="+", choices=ORDERS, default=list(ORDERS))
    flags = parser.parse_args()
    for order in flags.order:
        print(measure(flags.megabytes, flags.memory, order), flush=True)


if __name__ == "__main__":
    main()
