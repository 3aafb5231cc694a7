"""The most frequent words of a text, for each letter that they begin with.

python examples/top_words.py
python examples/top_words.py --file book.txt --top 5
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from map_reduce import ServerInterface, reducers
from map_reduce.errors import MapReduceError

SAMPLE = Path(__file__).with_name("sample.txt")
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def words(line_number: int, line: str) -> Iterator[tuple[str, int]]:
    for word in WORD.findall(line.lower()):
        yield word, 1


def by_letter(word: str, count: int) -> Iterator[tuple[str, tuple[int, str]]]:
    yield word[0], (-count, word)


def main() -> None:
    parser = argparse.ArgumentParser(description="The most frequent words for each letter.")
    parser.add_argument("--file", default=SAMPLE, help="a text file, or a pattern for several")
    parser.add_argument("--top", type=int, default=3, help="words for each letter (default 3)")
    parser.add_argument("--address", help="HOST:PORT of a cluster's node")
    options = parser.parse_args()

    try:
        with ServerInterface(options.address) as server:
            # Ready-made reducers combine while mapping, without being told how.
            counts = server.startup(options.file, words, reducers.sum).result()
            # The smallest pairs: the highest counts first, then by the alphabet.
            best = server.startup(counts, by_letter, reducers.bottom(options.top)).result()
    except MapReduceError as error:
        raise SystemExit(f"top_words: {error}") from None

    for letter, ranked in sorted(best.items()):
        print(f"{letter}  " + ", ".join(f"{word} {-count:,}" for count, word in ranked))


if __name__ == "__main__":
    main()
