"""How long it takes from an image to a whole ring of containers, and what a node costs then.

    python benchmarks/container_start.py [--nodes 3 10 30] [--times 3]

For each size ``scripts/batch_run --no-build`` is run, timed to the line that says that the ring is
whole, and, within that, to the end of starting containers. Processor time is that of the script and
its children, of the containers, and of the engine: on a busy machine it tells more than seconds.
The memory of a node is what its control group holds once the ring is at rest. Takes the image that
scripts/batch_run has built, as container_faults.py does.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import measure
from container_cluster import ROOT, Cluster
from container_hurting import cgroup

REST_S = 15.0
ENGINE = ("dockerd", "containerd")


def engine_cpu_s() -> float:
    """Processor time of the engine, and of its children that have ended."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = re.match(r"\d+ \((.*)\) (.*)", stat.read_text()).groups()  # type: ignore[union-attr]
        except OSError:
            continue  # it has ended
        if name in ENGINE:
            ticks += sum(map(int, fields.split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start(cluster: Cluster, nodes: int) -> dict[str, float]:
    """Start it; seconds by what they were spent on."""
    before_s, engine_s, children_s = time.monotonic(), engine_cpu_s(), children_cpu_s()
    script = [str(ROOT / "scripts/batch_run"), cluster.name, str(nodes), "--no-build"]
    marks: dict[str, float] = {}
    with subprocess.Popen(
        script,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=cluster.environ,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        output = []
        for line in process.stdout:
            output.append(line)
            for mark in ("Starting", "Waiting until", "finds the ring"):
                if mark in line:
                    marks[mark] = time.monotonic() - before_s
    assert process.returncode == 0, "".join(output)
    inside = sum(
        int(cgroup(cluster.inspect(name), "cpuacct", "cpuacct.usage").read_text())
        for name in cluster.containers()
    )
    return {
        "whole": marks["finds the ring"],
        "containers started": marks["Waiting until"],
        "cpu: nodes": inside / 1e9,
        "cpu: engine": engine_cpu_s() - engine_s,
        "cpu: script": children_cpu_s() - children_s,
    }


def memory_mib(cluster: Cluster) -> list[float]:
    """Of each node: what its processes hold, as the kernel counts it for its bound."""
    found = []
    for name in cluster.containers():
        text = cgroup(cluster.inspect(name), "memory", "memory.stat").read_text()
        found.append(sum(map(int, re.findall(r"^total_rss (\d+)$", text, re.MULTILINE))) / 2**20)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[3, 10, 30])
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    print(measure.describe_machine(), flush=True)
    image = os.environ.get("MR_IMAGE", "map-reduce")
    network = os.environ.get("MR_NETWORK", "distributed")
    rows = []
    for nodes in options.nodes:
        runs, memory = [], list[float]()
        for number in range(options.times):
            with tempfile.TemporaryDirectory(prefix="container-start-") as folder:
                cluster = Cluster("started", Path(folder), image=image, network=network)
                try:
                    runs.append(start(cluster, nodes))
                    if number == 0:
                        threading.Event().wait(REST_S)
                        memory = memory_mib(cluster)
                finally:
                    cluster.end()
            print({what: round(seconds, 1) for what, seconds in runs[-1].items()}, flush=True)
        medians = [statistics.median(run[what] for run in runs) for what in runs[0]]
        rows.append([str(nodes), *(f"{m:.1f}" for m in medians), f"{max(memory):.0f}"])
    measure.print_table(["nodes", *runs[0], "MiB of the largest"], rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
