"""An index as at the end of a book: for each word, the lines that it stands on.

python examples/inverted_index.py
python examples/inverted_index.py --file book.txt --word whale --word sea
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
    for word in set(WORD.findall(line.lower())):
        yield word, line_number + 1  # people count lines from 1


def reduce(word: str, lines: list[int]) -> list[int]:
    # Values come in the order of the input, so the lines are in order already.
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Index the words of a text by line.")
    parser.add_argument("--file", default=SAMPLE, help="a text file")
    parser.add_argument("--word", action="append", help="look up this word (may be repeated)")
    parser.add_argument("--letters", type=int, default=8, help="else print words this long or more")
    parser.add_argument("--address", help="HOST:PORT of a cluster's node")
    options = parser.parse_args()

    try:
        with ServerInterface(options.address) as server:
            server.startup(options.file, map, reduce)
            index = server.await_results()
    except MapReduceError as error:
        raise SystemExit(f"inverted_index: {error}") from None

    if options.word:
        words = [word.lower() for word in options.word]
    else:
        words = sorted(word for word in index if len(word) >= options.letters)
    for word in words:
        print(f"{word}: {', '.join(str(line) for line in index.get(word, ())) or 'nowhere'}")


if __name__ == "__main__":
    main()
