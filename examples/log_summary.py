"""Summarise a web server's log in the common log format.

python examples/log_summary.py
python examples/log_summary.py --file "/var/log/apache2/access.log*"
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from map_reduce.client.server_interface import ServerInterface
from map_reduce.errors import MapReduceError

SAMPLE = Path(__file__).with_name("sample.log")
LINE = re.compile(
    r"(?P<client>\S+) \S+ \S+ \[[^:\]]+:(?P<hour>\d\d):[^\]]*\] "
    r'"\S+ (?P<path>[^ "?]+)[^"]*" (?P<status>\d{3}) (?P<size>\d+|-)'
)

Key = tuple[str, str]
Sums = tuple[int, int]  # requests, bytes


def map(line_number: int, line: str) -> Iterator[tuple[Key, Sums]]:
    found = LINE.match(line)
    if found is None:
        yield ("unreadable", ""), (1, 0)
        return
    size = 0 if found["size"] == "-" else int(found["size"])
    yield ("all", ""), (1, size)
    yield ("status", found["status"]), (1, size)
    yield ("hour", found["hour"]), (1, size)
    yield ("path", found["path"]), (1, size)
    yield ("client", found["client"]), (1, size)


def reduce(key: Key, parts: list[Sums]) -> Sums:
    return sum(requests for requests, _ in parts), sum(size for _, size in parts)


def print_table(title: str, kind: str, sums: dict[Key, Sums], top: int) -> None:
    """Print the ``top`` entries of a kind by requests, or all of them in order where 0."""
    rows = [(name, *numbers) for (of_kind, name), numbers in sums.items() if of_kind == kind]
    rows.sort(key=(lambda row: (-row[1], row[0])) if top else (lambda row: row[0]))
    print(f"\n{title}")
    for name, requests, size in rows[: top or None]:
        print(f"  {name:<20} {requests:>6,} {size:>11,}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Summarise a log in the common log format.")
    parser.add_argument("--file", default=SAMPLE, help="a log file, or a pattern for several")
    parser.add_argument("--top", type=int, default=5, help="paths and clients shown (default 5)")
    parser.add_argument("--address", help="HOST:PORT of a cluster's node")
    options = parser.parse_args()

    try:
        with ServerInterface(options.address) as server:
            server.startup(options.file, map, reduce, combine=reduce)
            sums = server.await_results()
    except MapReduceError as error:
        raise SystemExit(f"log_summary: {error}") from None

    requests, size = sums.get(("all", ""), (0, 0))
    unreadable, _ = sums.get(("unreadable", ""), (0, 0))
    print(f"{requests:,} requests, {size:,} bytes sent, {unreadable:,} lines not understood")
    print_table("status              requests       bytes", "status", sums, 0)
    print_table("hour", "hour", sums, 0)
    print_table("path", "path", sums, max(1, options.top))
    print_table("client", "client", sums, max(1, options.top))


if __name__ == "__main__":
    main()
