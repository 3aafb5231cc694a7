"""Count the words of a text.

python examples/word_count.py
python examples/word_count.py --file book.txt --top 20
python examples/word_count.py --file "logs/*.gz" --address 127.0.0.1:9000
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from map_reduce.client.server_interface import ServerInterface
from map_reduce.errors import MapReduceError

SAMPLE = Path(__file__).with_name("sample.txt")
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def map(line_number: int, line: str) -> Iterator[tuple[str, int]]:
    for word in WORD.findall(line.lower()):
        yield word, 1


def reduce(word: str, counts: list[int]) -> int:
    return sum(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the words of a text.")
    parser.add_argument("--file", default=SAMPLE, help="a text file, or a pattern for several")
    parser.add_argument("--top", type=int, default=10, help="how many words to print (default 10)")
    parser.add_argument("--address", help="HOST:PORT of a cluster's node")
    options = parser.parse_args()

    try:
        with ServerInterface(options.address) as server:
            # Sums of parts add up to the sum of all, so reduce can also combine: a worker sends
            # a word and its count once, instead of a 1 for every time it stands there.
            server.startup(options.file, map, reduce, combine=reduce)
            counts = server.await_results()
    except MapReduceError as error:
        raise SystemExit(f"word_count: {error}") from None

    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for word, count in ranked[: max(0, options.top)]:
        print(f"{count:>9,}  {word}")
    print(f"{sum(counts.values()):>9,}  words, {len(counts):,} of them distinct")


if __name__ == "__main__":
    main()
