"""Find the centres of clusters of points (k-means, Lloyd's algorithm), one job for each round.

python examples/k_means.py
python examples/k_means.py --file points.txt --clusters 5

A line of the file is a point: whole numbers, as many as there are dimensions. The points are stored
once, as a dataset, which every round reads; the workers keep what they have read of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from map_reduce.client.server_interface import ServerInterface
from map_reduce.errors import MapReduceError

SAMPLE = Path(__file__).with_name("sample.points")

Point = tuple[int, ...]
Sums = tuple[int, Point]  # points, and the sums of their coordinates


def parse(line: str) -> Point:
    return tuple(int(number) for number in line.split())


def nearest_to(centres: list[Point]) -> Callable[[int, str], Iterator[tuple[int, Sums]]]:
    """A map function that gives each point to the centre nearest to it."""

    def distance(point: Point, centre: Point) -> int:
        return sum((a - b) ** 2 for a, b in zip(point, centre, strict=True))

    def map(line_number: int, line: str) -> Iterator[tuple[int, Sums]]:
        if point := parse(line):
            yield min(range(len(centres)), key=lambda n: distance(point, centres[n])), (1, point)

    return map


def add_up(centre: int, parts: list[Sums]) -> Sums:
    points = (point for _, point in parts)
    return sum(count for count, _ in parts), tuple(map(sum, zip(*points, strict=True)))


def mean(sums: Sums) -> Point:
    count, point = sums
    return tuple(round(number / count) for number in point)


def first_of(line_number: int, line: str) -> Iterator[tuple[Point, int]]:
    if point := parse(line):
        yield point, line_number


def main() -> None:
    parser = argparse.ArgumentParser(description="Find the centres of clusters of points.")
    parser.add_argument("--file", default=SAMPLE, help="lines of whole numbers")
    parser.add_argument("--clusters", type=int, default=3, help="how many (default 3)")
    parser.add_argument("--rounds", type=int, default=50, help="how many at most (default 50)")
    parser.add_argument("--address", help="HOST:PORT of a cluster's node")
    options = parser.parse_args()

    try:
        with (
            ServerInterface(options.address) as server,
            server.dataset(options.file) as points,
        ):
            places = server.startup(points, first_of, lambda _, lines: min(lines)).result()
            centres = sorted(places, key=lambda point: places[point])[: options.clusters]
            sums: dict[int, Sums] = {}
            rounds = 0
            while rounds < options.rounds:
                rounds += 1
                sums = server.startup(points, nearest_to(centres), add_up, add_up).result()
                moved = [mean(sums[n]) if n in sums else c for n, c in enumerate(centres)]
                if moved == centres:
                    break
                centres = moved
    except MapReduceError as error:
        raise SystemExit(f"k_means: {error}") from None

    for number, centre in enumerate(centres):
        print(f"{sums[number][0] if number in sums else 0:>6,} points at {centre}")
    print(f"after {rounds} rounds")


if __name__ == "__main__":
    main()
