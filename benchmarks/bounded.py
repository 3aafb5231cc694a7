"""Inputs far larger than memory: what they take up, and how long they take.

    python benchmarks/bounded.py [--megabytes 4000] [--keys 20000000] [--memory 256]

First a job over text of a tenth of the size, then over all of it: the time of the second against
ten times that of the first says how the library grows. Each line has a key and a number; reduce
counts the numbers of a key and adds them up, without a combiner. The results go through
``JobHandle.stream()``, and are checked by arithmetic, not by another program. Then one key with
``--value-megabytes`` of values, whose order reduce checks.

Everything runs on a node embedded in this process. Peaks are those that the kernel has noted
(``VmHWM``): of the worker process that took most, and of this process, node and client together.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from map_reduce import Options, ServerInterface
from map_reduce.client.handle import JobHandle

LINES_PER_KEY = 1.2
"""So every fifth key has two lines, far apart, and the others one."""

FILES = 8
LOOK_INTERVAL_S = 0.2
VALUE_BYTES = 100
TIMEOUT_S = 3600.0


class Text(NamedTuple):
    """Line i of ``lines`` has the key i modulo ``keys``, and the number i."""

    paths: list[Path]
    lines: int
    keys: int
    bytes: int


def write_text(folder: Path, megabytes: int, keys: int) -> Text:
    lines = int(keys * LINES_PER_KEY)
    filler = "x" * max(0, (megabytes * 1_000_000) // lines - 22)
    paths = [folder / f"text{number}" for number in range(FILES)]
    size = 0
    for number, path in enumerate(paths):
        first, last = lines * number // FILES, lines * (number + 1) // FILES
        with open(path, "w", encoding="ascii") as file:
            for start in range(first, last, 10_000):
                numbers = range(start, min(last, start + 10_000))
                file.write("".join([f"k{i % keys:09} {i} {filler}\n" for i in numbers]))
        size += path.stat().st_size
    return Text(paths, lines, keys, size)


def fields(number: int, line: str) -> list[tuple[str, int]]:
    key, value, _ = line.split(" ", 2)
    return [(key, int(value))]


def count_and_sum(key: str, values: list[int]) -> tuple[int, int]:
    return len(values), sum(values)


def check(results: Iterator[tuple[str, tuple[int, int]]], text: Text) -> None:
    """Each key once, with what arithmetic says: raises AssertionError otherwise."""
    seen = bytearray(text.keys)
    twice = text.lines - text.keys
    for key, (count, total) in results:
        number = int(key[1:])
        assert not seen[number], f"{key} comes twice"
        seen[number] = 1
        expected = (2, 2 * number + text.keys) if number < twice else (1, number)
        assert (count, total) == expected, f"{key}: {(count, total)} and not {expected}"
    assert sum(seen) == text.keys, f"{sum(seen)} of {text.keys} keys"


def many_values(number: int, item: tuple[int, int]) -> Iterator[tuple[str, str]]:
    first, last = item
    for n in range(first, last):
        yield "the key", f"{n:010}".ljust(VALUE_BYTES, ".")


def check_order(key: str, values: list[str]) -> tuple[int, bool, str, str]:
    in_order = all(int(value[:10]) == n for n, value in enumerate(values))
    return len(values), in_order, values[0][:10], values[-1][:10]


class Peaks(threading.Thread):
    """Watches this process and those that it has started, directly or not."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.worker_kb = 0
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(LOOK_INTERVAL_S):
            self.worker_kb = max([self.worker_kb, *map(peak_kb, children(os.getpid()))])

    def stop(self) -> None:
        self._done.set()
        self.join()


def children(pid: int) -> Iterator[int]:
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                yield int(child)
                yield from children(int(child))
    except OSError:
        return  # it has just ended


def peak_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def report(what: str, job: JobHandle, seconds: float, peaks: Peaks) -> None:
    print(
        f"{what:<36}{seconds:>8.1f} s {job.report.cpu_s:>8.1f} s of processor time   "
        f"worker peak {peaks.worker_kb / 1024:.0f} MiB   "
        f"node and client {peak_kb(os.getpid()) / 1024:.0f} MiB   "
        f"{job.report.spilled_bytes / 1e6:,.0f} MB spilled",
        flush=True,
    )


def run_text(server: ServerInterface, text: Text, options: Options) -> tuple[float, float]:
    """Seconds that it took, and of the workers' processor time."""
    peaks = Peaks()
    peaks.start()
    before = time.perf_counter()
    job = server.startup(text.paths, fields, count_and_sum, options=options)
    check(job.stream(), text)
    seconds = time.perf_counter() - before
    peaks.stop()
    report(f"{text.bytes / 1e6:,.0f} MB, {text.keys:,} keys", job, seconds, peaks)
    return seconds, job.report.cpu_s


def run_key(server: ServerInterface, megabytes: int, options: Options) -> None:
    count = megabytes * 1_000_000 // VALUE_BYTES
    bounds = [count * part // 16 for part in range(17)]
    peaks = Peaks()
    peaks.start()
    before = time.perf_counter()
    items = list(pairwise(bounds))
    job = server.startup(items, many_values, check_order, options=options)
    found = job.result()
    seconds = time.perf_counter() - before
    peaks.stop()
    last = f"{count - 1:010}"
    assert found == {"the key": (count, True, f"{0:010}", last)}, found
    report(f"one key with {megabytes} MB of values", job, seconds, peaks)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=4000, help="of text")
    parser.add_argument("--keys", type=int, default=20_000_000, help="different ones")
    parser.add_argument("--value-megabytes", type=int, default=500, help="of one key's values")
    parser.add_argument("--memory", type=int, default=256, help="MiB that a worker may use")
    parser.add_argument("--slots", type=int, default=2, help="worker processes")
    asked = parser.parse_args()
    options = Options(memory_mb_max=asked.memory, timeout_s=TIMEOUT_S, backups=False)
    folder = Path(tempfile.mkdtemp(prefix="bounded-"))
    try:
        with ServerInterface(slots=asked.slots) as server:
            run_key(server, asked.value_megabytes, options)
            runs = []
            for share in (10, 1):
                text = write_text(folder, asked.megabytes // share, asked.keys // share)
                runs.append(run_text(server, text, options))
                for path in text.paths:
                    path.unlink()
        for what, (tenth, whole) in zip(
            ("time", "processor time"), zip(*runs, strict=True), strict=True
        ):
            print(f"{what}: all of it takes {whole / tenth / 10:.2f} x of ten times a tenth")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
