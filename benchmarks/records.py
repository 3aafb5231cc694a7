"""What a request about a record costs: on a ring of one, and on three processes over Pyro4.

    python benchmarks/records.py [--times 2000]

Prints medians and the 99th percentile of one thread's changes and reads, and the changes a second
that eight threads make on records of their own.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from map_reduce.core.identifiers import identifier_of
from map_reduce.core.registers.birth import Birth, Record
from map_reduce.runtime.records import Records
from map_reduce.server.access import connect
from map_reduce.server.configs import ClusterConfig, NodeConfig
from map_reduce.server.embedded import embed
from map_reduce.server.local_cluster import LocalCluster
from map_reduce.server.trust import credentials
from map_reduce.transport.pyro import PyroTransport

THREADS = 8
VALUE = bytes(1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=2000)
    times = parser.parse_args().times
    print(f"{'':24s}{'change':>18s}{'read':>18s}{f'{THREADS} threads':>18s}")
    print(f"{'':24s}{'median / 99 %, ms':>18s}{'median / 99 %, ms':>18s}{'changes a second':>18s}")
    with TemporaryDirectory() as folder:
        for name, place in (("embedded, in memory", None), ("embedded, on disk", Path(folder))):
            access = embed(ClusterConfig(), NodeConfig(slots=1, data_folder=place))
            try:
                report(name, access.records, times)
            finally:
                access.close()
    with LocalCluster(3, slots=1) as cluster:
        access = connect([node.address for node in cluster.nodes], PyroTransport(credentials()))
        try:
            report("3 processes, in memory", access.records, times)
        finally:
            access.close()


def report(name: str, records: Records, times: int) -> None:
    """Measure and print one line."""
    record = new_record(records, "one")
    changes = took_ms(lambda: records.change(record, changed), times)
    reads = took_ms(lambda: records.read(record), times)
    print(f"{name:24s}{changes:>18s}{reads:>18s}{together_per_s(records, times):18.0f}", flush=True)


def new_record(records: Records, name: str) -> Record:
    members = records.choose_members(identifier_of(name))
    return Birth(name.encode(), time.time_ns().to_bytes(8, "big"), members).record()


def changed(value: bytes | None) -> bytes:
    return VALUE


def took_ms(call: Callable[[], object], times: int) -> str:
    """How long it takes: median and 99th percentile."""
    for _ in range(times // 10):
        call()
    took = []
    for _ in range(times):
        began_s = time.perf_counter()
        call()
        took.append(1000 * (time.perf_counter() - began_s))
    return f"{statistics.median(took):.3f} / {statistics.quantiles(took, n=100)[98]:.3f}"


def together_per_s(records: Records, times: int) -> float:
    """Changes a second by several threads."""

    def work(record: Record) -> None:
        for _ in range(times // THREADS):
            records.change(record, changed)

    own = [new_record(records, f"thread {number}") for number in range(THREADS)]
    threads = [threading.Thread(target=work, args=(record,)) for record in own]
    began_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times // THREADS * THREADS / (time.perf_counter() - began_s)


if __name__ == "__main__":
    main()
