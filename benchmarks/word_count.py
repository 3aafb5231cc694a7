"""Count the words of a text with map-reduce, by hand, and with other libraries.

    python benchmarks/word_count.py FILE [--rounds 3] [--peers-python PATH]

Each contender is a whole process, from its start to its end; all run once a round, one after the
other; medians are shown, and every answer is compared with that of collections.Counter. Exits
with 1 where one of ours fails, or any answer differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import measure
import ring
from measure import Contender, Record

TRUTH = "collections.Counter, one process"
YARDSTICK = "multiprocessing by hand"
OURS = {
    "embedded": "map-reduce, embedded",
    "ring": "map-reduce, ring of 3, its start and stop included",
    "client": "map-reduce, ring of 3 that runs already",
}
PEERS = {
    "dask-bag": "Dask bag, processes",
    "dask-cluster": "Dask bag, LocalCluster",
    "joblib": "joblib",
    "ray": "Ray",
    "spark": "Spark",
}


def contenders(text: Path, peers_python: str, env: Mapping[str, str]) -> list[Contender]:
    def program(python: str, file: str, how: str) -> tuple[str, ...]:
        return (python, str(measure.HERE / file), how, str(text))

    listing = [peers_python, str(measure.HERE / "peers.py"), "available"]
    there = json.loads(measure.run(listing, env, timeout_s=60))
    missing = [PEERS[name] for name in PEERS if name not in there]
    if missing:
        print(f"Left out, as not installed here: {', '.join(missing)}.")
    return [
        Contender(TRUTH, program(sys.executable, "reference.py", "counter")),
        Contender(YARDSTICK, program(sys.executable, "reference.py", "processes")),
        Contender(OURS["embedded"], program(sys.executable, "ours.py", "embedded")),
        Contender(OURS["ring"], program(sys.executable, "ours.py", "ring")),
        Contender(OURS["client"], program(sys.executable, "ours.py", "client"), ring.of_processes),
        *(Contender(PEERS[name], program(peers_python, "peers.py", name)) for name in there),
    ]


def show(records: Mapping[str, Record], text: Path) -> bool:
    """Print the table; whether all answers agree, and none of ours failed."""
    megabytes = text.stat().st_size / 1e6
    truth, yardstick = records[TRUTH], records[YARDSTICK]
    rows, notes, all_right = [], [], True
    for name, record in records.items():
        if not record.failure and record.digest != truth.digest:
            record.failure = f"its answer is not that of {TRUTH}"
            all_right = False
        if record.failure:
            notes.append(f"{name}: {record.failure}")
            all_right = all_right and name in PEERS.values()
            continue
        ratio = "" if yardstick.failure else f"{record.median_s / yardstick.median_s:.2f}"
        span = f"{min(record.times_s):.2f} to {max(record.times_s):.2f}"
        rate = f"{megabytes / record.median_s:.1f}"
        rows.append((name, f"{record.median_s:.2f}", span, rate, ratio))
    measure.print_table(("", "seconds", "from … to", "MB/s", "ratio"), rows)
    print(f"ratio: to {YARDSTICK}")
    for note in notes:
        print(f"Failed: {note}")
    return all_right


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the words of a text, many ways.")
    parser.add_argument("text", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers-python", default=sys.executable, metavar="PATH")
    arguments = parser.parse_args()
    text: Path = arguments.text.resolve()
    with measure.surroundings() as env:
        size_mb = text.stat().st_size / 1e6
        print(f"\nWord count of {size_mb:.1f} MB, {arguments.rounds} rounds")
        print(measure.describe_machine())
        entrants = contenders(text, arguments.peers_python, env)
        records = measure.compete(entrants, arguments.rounds, env)
    if not show(records, text):
        sys.exit(1)


if __name__ == "__main__":
    main()
