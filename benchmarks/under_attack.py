"""What strangers cost a ring: the same job undisturbed, and while all attacks are made on it.

    python benchmarks/under_attack.py [--rounds 5] [--certificates] [--waiting] [--apart]

Rings of three processes with one worker each; the job computes for about a second and a half. The
attacks are those of ``tests/attacks.py``, from another process. On the same processors what they
take of these is no doing of the ring's, but cannot be told apart, so the ratio is an upper bound.
With ``--apart`` the ring has one processor and the attackers have another, as if they sat at
another machine: what is lost then is what the nodes do to turn them away. Of each round both times
are printed; ratios of best and of medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from map_reduce import ServerInterface
from map_reduce.certs.folders import issue_to, make_authority
from map_reduce.core.identifiers import Address
from map_reduce.core.messages import GetPiece, Request
from map_reduce.core.roles import Role
from map_reduce.job import MapFunction
from map_reduce.server.local_cluster import LocalCluster
from map_reduce.server.trust import credentials
from map_reduce.transport.pyro import PyroTransport

TESTS = Path(__file__).parents[1] / "tests"
ITEMS = 120
WAIT_S = 300.0


def work(number: int, item: int) -> list[tuple[int, int]]:
    return [(item % 7, sum(range(400_000)) and item)]


def wait(number: int, item: int) -> list[tuple[int, int]]:
    threading.Event().wait(0.04)
    return [(item % 7, item)]


def total(key: int, values: list[int]) -> int:
    return sum(values)


EXPECTED = {key: sum(range(key, ITEMS, 7)) for key in range(7)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--certificates", action="store_true")
    parser.add_argument("--waiting", action="store_true", help="the job waits, as for a disk")
    parser.add_argument("--apart", action="store_true", help="attackers have their own processor")
    options = parser.parse_args()
    elsewhere: list[int] = []
    if options.apart:
        here, *elsewhere = sorted(os.sched_getaffinity(0))
        if not elsewhere:
            parser.error("--apart takes two processors, and there is one")
        os.sched_setaffinity(0, {here})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_authority(folder / "foreign")
        foreign = issue_to(folder / "foreign", "eve", Role.CLIENT, [], 30)
        if options.certificates:
            make_authority(folder / "own")
            node = issue_to(folder / "own", "node", Role.NODE, ["127.0.0.1"], 30)
            os.environ["MR_CERTS_FOLDER"] = str(node)
        with LocalCluster(3, slots=1, output=subprocess.DEVNULL) as cluster:
            function = wait if options.waiting else work
            measure(cluster, foreign, options.rounds, function, elsewhere)


def measure(
    cluster: LocalCluster,
    foreign: Path,
    rounds: int,
    function: MapFunction,
    elsewhere: list[int],
) -> None:
    """Run the job so many times both ways, and print what it took.

    ``elsewhere``: the processors of the attackers, where they have their own.
    """
    addresses = [node.address for node in cluster.nodes]
    ports = [port for address in addresses for port in ports_of(address)]
    command = [sys.executable, str(TESTS / "attacks.py"), "/nonexistent/marker", *map(str, ports)]
    quiet_s, attacked_s, made = [], [], 0
    by_daemons_s, by_attackers_s = 0.0, 0.0
    before = memory_mb(cluster)
    with ServerInterface(str(addresses[0]), quiet=True) as server:
        took_s(server, function)
        for _ in range(rounds):
            quiet_s.append(took_s(server, function))
            with subprocess.Popen(
                [*command, "--certs", str(foreign)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            ) as attackers:
                if elsewhere:  # before it has threads
                    psutil.Process(attackers.pid).cpu_affinity(elsewhere)
                assert attackers.stdout is not None
                attackers.stdout.readline()
                daemons_s, strangers_s = processor_s(cluster), processor_s_of(attackers.pid)
                attacked_s.append(took_s(server, function))
                by_daemons_s += processor_s(cluster) - daemons_s
                by_attackers_s += processor_s_of(attackers.pid) - strangers_s
                output, _ = attackers.communicate(b"", WAIT_S)
            made += sum(json.loads(output).values())
            print(f"{quiet_s[-1]:.2f} s undisturbed, {attacked_s[-1]:.2f} s attacked", flush=True)
    best = min(attacked_s) / min(quiet_s)
    median = statistics.median(attacked_s) / statistics.median(quiet_s)
    rate = made / sum(attacked_s)
    grown = max(now - then for then, now in zip(before, memory_mb(cluster), strict=True))
    print(f"ratio {best:.2f} of the best, {median:.2f} of the medians; {rate:.0f} attacks a second")
    daemons, strangers = by_daemons_s / sum(attacked_s), by_attackers_s / sum(attacked_s)
    print(f"processors used meanwhile: daemons {daemons:.2f}, attackers themselves {strangers:.2f}")
    print(f"{len(cluster.running())} of 3 nodes run; the one that grew most, by {grown:.0f} MiB")


def took_s(server: ServerInterface, function: MapFunction) -> float:
    """Seconds for the job."""
    start = time.perf_counter()
    assert server.startup(list(range(ITEMS)), function, total).result(WAIT_S) == EXPECTED
    return time.perf_counter() - start


def ports_of(address: Address) -> list[Address]:
    """Of a node's two daemons."""
    transport = PyroTransport(credentials())
    transport.call(address, Request("", None, GetPiece("x", 0, 1)), WAIT_S)
    plane = transport._pool.bulk_plane(address)
    transport.close()
    assert plane is not None
    return [address, plane.at(address)]


def processor_s(cluster: LocalCluster) -> float:
    """Of the nodes' daemons, without their workers, since their start."""
    return sum(processor_s_of(node.process.pid) for node in cluster.nodes)


def processor_s_of(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def memory_mb(cluster: LocalCluster) -> list[float]:
    """Of each node's process."""
    return [psutil.Process(n.process.pid).memory_info().rss / (1 << 20) for n in cluster.nodes]


if __name__ == "__main__":
    main()
