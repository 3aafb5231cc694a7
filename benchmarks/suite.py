"""Run a suite of workloads against other libraries, and ours among them.

    python benchmarks/suite.py SUITE DATA [--rounds 5] [--workloads w1,w4] [--contenders mp,ray]
        [--reference mp] [--peers-python PATH] [--log FILE]

SUITE is a folder with a program for each contender, called as ``NAME.py WORKLOAD INPUT --out
FOLDER``. Each prints, as its last line, JSON with at least ``startup_s``, ``total_s`` (from process
start, which BENCH_T0 tells, to the end of its shutdown), ``cpu_s`` of all its processes,
``others_cpu_s`` of the machine besides, ``peak_rss_mb`` and ``result_hash``. Its ``workloads.py``
has the user functions and, as INPUT, what each workload reads in DATA ("-": nothing). Ours is
``contender.py``, which imports these.

All contenders run once a round, one after the other. The table has medians, the ratio to the
reference's median, the median of the ratios within rounds, and that of the processor time: the last
is what is left to compare where others use the machine. Exits with 1 where a hash differs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import measure

OURS = "map-reduce"
Run = dict[str, Any]


def inputs_of(suite: Path) -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("suite_workloads", suite / "workloads.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    inputs: dict[str, str] = module.INPUT
    return inputs


def run_once(
    suite: Path, contender: str, python: str, workload: str, given: str, env: Mapping[str, str]
) -> Run:
    """What it reported, or its failure."""
    program = measure.HERE / "contender.py" if contender == OURS else suite / f"{contender}.py"
    with tempfile.TemporaryDirectory(prefix="out-", dir=env["TMPDIR"]) as out:
        command = [python, str(program), workload, given, "--out", os.path.join(out, "out")]
        started = repr(time.clock_gettime(time.CLOCK_BOOTTIME))
        try:
            output = measure.run(command, {**env, "BENCH_T0": started})
            run: Run = json.loads(output.splitlines()[-1])
        except (RuntimeError, ValueError, IndexError) as error:
            run = {"failed": str(error)}
    return {**run, "contender": contender, "workload": workload}


def show(workload: str, runs: Mapping[str, Sequence[Run]], reference: str) -> bool:
    """Print a table; whether all answers are the same."""
    good = {name: [run for run in some if "failed" not in run] for name, some in runs.items()}
    hashes = {run["result_hash"] for some in good.values() for run in some}
    base = good[reference]
    rows = []
    for name, some in good.items():
        if some:
            rows.append((name, *_cells(some, base)))
        elif runs[name]:
            print(f"Failed: {name}: {runs[name][0]['failed']}")
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"\n{workload}: answers {'agree' if len(hashes) <= 1 else 'DIFFER'}{load}")
    head = ("", "start s", "total s", "least", "ratio", "by rounds", "cpu s", "cpu ratio", "MB")
    measure.print_table((*head, "others"), rows)
    return len(hashes) <= 1


def _cells(some: Sequence[Run], base: Sequence[Run]) -> tuple[str, ...]:
    def median(name: str, runs: Sequence[Run] = some) -> float:
        return float(statistics.median(run[name] for run in runs))

    least = min(run["total_s"] for run in some)
    rounds = [a["total_s"] / b["total_s"] for a, b in zip(some, base, strict=False)]
    others = statistics.median(
        run["others_cpu_s"] / (measure.processors() * run["total_s"]) for run in some
    )
    ratios = ["", "", ""]
    if base:
        total = median("total_s") / median("total_s", base)
        cpu = median("cpu_s") / median("cpu_s", base)
        ratios = [f"{ratio:.2f}" for ratio in (total, statistics.median(rounds), cpu)]
    return (
        f"{median('startup_s'):.2f}",
        f"{median('total_s'):.2f}",
        f"{least:.2f}",
        *ratios[:2],
        f"{median('cpu_s'):.2f}",
        ratios[2],
        f"{max(run['peak_rss_mb'] for run in some):.0f}",
        f"{others:.0%}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare with other libraries.")
    parser.add_argument("suite", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workloads", default="")
    parser.add_argument("--contenders", default="mp")
    parser.add_argument("--reference", default="mp")
    parser.add_argument("--peers-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--log", type=Path, help="append every run to this file, as JSON")
    arguments = parser.parse_args()
    suite = arguments.suite.resolve()
    inputs = inputs_of(suite)
    names = [OURS, *arguments.contenders.split(",")]
    if arguments.reference not in names:
        parser.error(f"--contenders lacks the reference, {arguments.reference}")
    print(measure.describe_machine())
    agree = True
    with measure.surroundings() as surroundings:
        env = {**surroundings, "PYTHONPATH": str(suite)}
        for workload in arguments.workloads.split(",") if arguments.workloads else inputs:
            name = inputs[workload]
            given = name if name == "-" else str(arguments.data.resolve() / name)
            runs: dict[str, list[Run]] = {name: [] for name in names}
            for number in range(arguments.rounds):
                for name in names:
                    python = sys.executable if name == OURS else arguments.peers_python
                    place = f"round {number + 1}/{arguments.rounds}: {workload}, {name}"
                    print(place, file=sys.stderr, flush=True)
                    run = run_once(suite, name, python, workload, given, env)
                    runs[name].append(run)
                    if arguments.log is not None:
                        with open(arguments.log, "a") as log:
                            log.write(json.dumps(run) + "\n")
            agree = show(workload, runs, arguments.reference) and agree
    if not agree:
        sys.exit(1)


if __name__ == "__main__":
    main()
