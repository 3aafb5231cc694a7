"""Rank the pages of a web by who links to them (PageRank), in as many jobs as it has steps.

python examples/pagerank.py
python examples/pagerank.py --file links.txt --steps 20

A line of the file is a page and the pages that it links to. Each step is a job whose input is what
the step before has made, where it lies in the ring: nothing but the last result comes here. Ranks
are whole numbers, so that they do not depend on the order in which shares are added.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from map_reduce.client.server_interface import ServerInterface
from map_reduce.errors import MapReduceError

SAMPLE = Path(__file__).with_name("sample.links")
ONE = 1_000_000_000

Links = tuple[str, ...]
State = tuple[int, Links]  # rank, links


def read(line_number: int, line: str) -> Iterator[tuple[str, Links]]:
    page, *links = line.split() or [""]
    if page:
        yield page, tuple(links)
        for link in links:
            yield link, ()  # a page that may have no line of its own


def begin(page: str, found: list[Links]) -> State:
    return ONE, max(found, key=len)


def share_out(page: str, state: State) -> Iterator[tuple[str, int | Links]]:
    rank, links = state
    yield page, links
    for link in links:
        yield link, rank // len(links)


def gather(page: str, found: list[int | Links]) -> State:
    shares = sum(share for share in found if isinstance(share, int))
    (links,) = (links for links in found if isinstance(links, tuple))
    return (15 * ONE + 85 * shares) // 100, links


def main() -> None:
    parser = argparse.ArgumentParser(description="Rank pages by who links to them.")
    parser.add_argument("--file", default=SAMPLE, help="lines of a page and those it links to")
    parser.add_argument("--steps", type=int, default=10, help="how many (default 10)")
    parser.add_argument("--top", type=int, default=5, help="how many pages to print (default 5)")
    parser.add_argument("--address", help="HOST:PORT of a cluster's node")
    options = parser.parse_args()

    try:
        with ServerInterface(options.address) as server:
            pages = server.startup(options.file, read, begin)
            for _ in range(options.steps):
                before, pages = pages, server.startup(pages, share_out, gather)
                before.release()  # takes place when the job that reads it has ended
            ranks = {page: rank for page, (rank, _) in pages.result().items()}
    except MapReduceError as error:
        raise SystemExit(f"pagerank: {error}") from None

    for page, rank in sorted(ranks.items(), key=lambda item: (-item[1], item[0]))[: options.top]:
        print(f"{rank / ONE:>8.3f}  {page}")


if __name__ == "__main__":
    main()
