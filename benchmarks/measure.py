"""How the benchmarks measure: whole processes, in interleaved rounds, compared by median.

A contender is a program that prints, as its last line, what :func:`report` makes of its result.
Its time runs from before the process starts until after it has ended, less what it says it took to
hash its result for comparison. So imports, pools, clusters and their ends count.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 900.0


Around = Callable[[Mapping[str, str]], contextlib.AbstractContextManager[object]]


@dataclass(frozen=True)
class Contender:
    """A program to time. ``around`` is entered before and left after each run, untimed; it is
    given the run's environment."""

    name: str
    command: tuple[str, ...]
    around: Around = contextlib.nullcontext


@dataclass
class Record:
    """What the runs of one contender gave."""

    times_s: list[float] = field(default_factory=list)
    digest: str = ""
    failure: str = ""

    @property
    def median_s(self) -> float:
        return statistics.median(self.times_s)


def processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def digest_of(counts: Mapping[str, int]) -> str:
    """The same for equal results, whatever order they came in."""
    digest = hashlib.sha256()
    for word in sorted(counts):
        digest.update(f"{word}\t{counts[word]}\n".encode())
    return digest.hexdigest()[:16]


def report(counts: Mapping[str, int]) -> None:
    """Called by a contender at its very end."""
    before = time.perf_counter()
    digest = digest_of(counts)
    hashing_s = time.perf_counter() - before
    print(json.dumps({"digest": digest, "hashing_s": hashing_s}), flush=True)


@contextlib.contextmanager
def surroundings() -> Iterator[dict[str, str]]:
    """The environment for the programs of a benchmark: a temporary folder and a cluster file of
    their own, so that a cluster that happens to run is left alone, and loopback for everybody."""
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder:
        yield {
            **os.environ,
            "TMPDIR": folder,
            "MAP_REDUCE_CLUSTER_FILE": str(Path(folder, "cluster.json")),
            "PYTHONWARNINGS": "ignore",
            "RAY_USAGE_STATS_ENABLED": "0",
            "SPARK_LOCAL_IP": "127.0.0.1",
        }


def run(command: Sequence[str], env: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> str:
    """Standard output of a program that ended well.

    Raises:
        RuntimeError: it ended otherwise, or not in time; with the last line that it wrote.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        # Files, not pipes: a process that stays in the background would keep a pipe open.
        child = subprocess.Popen(
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            status = child.wait(timeout_s)
        except BaseException as reason:
            # Time is up, or Ctrl-C: the whole session that was started above goes.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            if isinstance(reason, subprocess.TimeoutExpired):
                raise RuntimeError(f"not done after {timeout_s:.0f} s") from None
            raise
        out.seek(0)
        err.seek(0)
        output = out.read()
        if status:
            last = (err.read().strip() or output.strip() or "no message").splitlines()[-1]
            raise RuntimeError(f"ended with status {status}: {last[:200]}")
        return output


def compete(
    contenders: Sequence[Contender], rounds: int, env: Mapping[str, str]
) -> dict[str, Record]:
    """Run each contender once a round; one that fails is left out of the later rounds."""
    records = {contender.name: Record() for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            record = records[contender.name]
            if record.failure:
                continue
            print(f"round {number + 1}/{rounds}: {contender.name}", file=sys.stderr, flush=True)
            try:
                with contender.around(env):
                    before = time.perf_counter()
                    output = run(contender.command, env)
                    took_s = time.perf_counter() - before
                said = json.loads(output.splitlines()[-1])
                if record.digest not in ("", said["digest"]):
                    record.failure = "its answer changed from one run to the next"
                record.digest = said["digest"]
                record.times_s.append(took_s - said["hashing_s"])
            except (RuntimeError, ValueError, IndexError, KeyError) as error:
                record.failure = str(error)
    return records


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        print("  ".join(cells).rstrip())


def describe_machine() -> str:
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    version = ".".join(map(str, sys.version_info[:3]))
    return f"Python {version}, {processors()} processors{load}"
