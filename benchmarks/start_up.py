"""How long small things take: from nothing to a first result, and three lines on a warm ring.

    python benchmarks/start_up.py [--rounds 3] [--runs 50] [--peers-python PATH]

The first table is about snippet.py, the README's first example, as a process of its own: until its
result is printed, and until it has ended. The second is about the same three lines as one of many
jobs of a client that stays connected. Dask's LocalCluster does the same beside, where it is
installed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

import measure
import ring

OURS, DASK = "map-reduce", "Dask LocalCluster"
TIMEOUT_S = 120.0


def time_to_print(command: Sequence[str], env: Mapping[str, str]) -> tuple[float, float]:
    """Seconds from process start until the result is on standard output, and until the end."""
    before = time.perf_counter()
    printed_s = None
    child = subprocess.Popen(
        command,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    too_late = threading.Timer(TIMEOUT_S, _kill_group, (child.pid,))
    too_late.start()
    try:
        with child:
            for line in child.stdout or ():
                if line.startswith("Word counts:"):
                    printed_s = time.perf_counter() - before
        ended_s = time.perf_counter() - before
    finally:
        too_late.cancel()
    if printed_s is None or child.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode} and no result")
    return printed_s, ended_s


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def show_snippet(
    commands: Mapping[str, Sequence[str]], rounds: int, env: Mapping[str, str]
) -> None:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(rounds):
        for name, command in commands.items():
            print(f"round {number + 1}/{rounds}: {name}", file=sys.stderr, flush=True)
            times[name].append(time_to_print(command, env))
    medians = {
        name: (statistics.median(one for one, _ in runs), statistics.median(end for _, end in runs))
        for name, runs in times.items()
    }
    print(f"\nThe README's example from process start, medians of {rounds}")
    rows = [
        (name, f"{printed_s:.2f}", f"{ended_s:.2f}", f"{printed_s / medians[OURS][0]:.2f}")
        for name, (printed_s, ended_s) in medians.items()
    ]
    measure.print_table(("", "s to result", "s to end", "× ours"), rows)


def show_lines(commands: Mapping[str, Sequence[str]], runs: int, env: Mapping[str, str]) -> None:
    rows = []
    for name, command in commands.items():
        with ring.of_processes(env) if name == OURS else contextlib.nullcontext():
            output = measure.run([*command, str(runs)], env, TIMEOUT_S)
        times_ms = sorted(1000 * time_s for time_s in json.loads(output.splitlines()[-1]))
        shown = (statistics.median(times_ms), times_ms[0], times_ms[-1])
        rows.append((name, *(f"{time_ms:.1f}" for time_ms in shown)))
    print(f"\nThree lines on a warm cluster (ours: a ring of {ring.NODES} processes), {runs} jobs")
    measure.print_table(("", "ms, median", "least", "most"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time small jobs.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--peers-python", default=sys.executable, metavar="PATH")
    arguments = parser.parse_args()
    peers = [arguments.peers_python, str(measure.HERE / "peers.py")]
    with measure.surroundings() as env:
        snippets = {OURS: [sys.executable, str(measure.HERE / "snippet.py")]}
        lines = {OURS: [sys.executable, str(measure.HERE / "ours.py"), "lines"]}
        print()
        if "dask-cluster" in json.loads(measure.run([*peers, "available"], env, 60)):
            snippets[DASK] = [*peers, "snippet", "-"]
            lines[DASK] = [*peers, "lines"]
        else:
            print(f"Left out, as not installed here: {DASK}.")
        print(measure.describe_machine())
        show_snippet(snippets, arguments.rounds, env)
        show_lines(lines, arguments.runs, env)


if __name__ == "__main__":
    main()
