"""Sort the lines of a text, and say how often each stands there.

python examples/sort_lines.py
python examples/sort_lines.py --file "logs/*.gz" --ignore-case
"""

from __future__ import annotations

import argparse
from pathlib import Path

from map_reduce import ServerInterface, reducers
from map_reduce.errors import MapReduceError

SAMPLE = Path(__file__).with_name("sample.txt")


def by_line(line_number: int, line: str) -> list[tuple[tuple[str, str], None]]:
    return [(("", line), None)] if line else []


def by_folded_line(line_number: int, line: str) -> list[tuple[tuple[str, str], None]]:
    # The order is that of keys: what comes first in a tuple decides first.
    return [((line.casefold(), line), None)] if line else []


def main() -> None:
    parser = argparse.ArgumentParser(description="Sort the lines of a text.")
    parser.add_argument("--file", default=SAMPLE, help="a text file, or a pattern for several")
    parser.add_argument("--ignore-case", action="store_true", help="a and A are one letter")
    parser.add_argument("--address", help="HOST:PORT of a cluster's node")
    options = parser.parse_args()
    chosen = by_folded_line if options.ignore_case else by_line

    try:
        with ServerInterface(options.address) as server:
            job = server.startup(options.file, chosen, reducers.count, sort=True)
            counts = job.result()
    except MapReduceError as error:
        raise SystemExit(f"sort_lines: {error}") from None

    for (_, line), count in counts.items():
        print(f"{count:>4}  {line}")


if __name__ == "__main__":
    main()
