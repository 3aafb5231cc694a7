"""Groups on disk: what a task puts there when memory runs short.

A *run* is all that is held in memory at one time, written as segments (``segments.py``) by
partition, one run after the other into one file. What belongs to a partition is then read run by
run. So a key's values come in the order in which they came, and its first spelling first; keys are
told apart by their hash alone and need no order.

    file   │ run 0:  p0 p1 p1 p2 │ run 1:  p0 p2 p2 │ …       partition 2: ─ p2 ─ p2 ─ p2
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from map_reduce.execution.gauge import Gauge, Pace, Unbounded
from map_reduce.execution.pairs import Pairs
from map_reduce.execution.partitioned import written, written_in_order
from map_reduce.execution.segments import HEADER, Header, Segment, decoded, header_of
from map_reduce.execution.sorting import Ranges


class Runs:
    """A file of runs.

    Args:
        path: the file, made when the first run is written.
        partitions: how many there are.

    Attributes:
        runs: written so far.
        bytes: of all of them.
    """

    def __init__(self, path: Path, partitions: int) -> None:
        self.partitions = partitions
        self.runs = 0
        self.bytes = 0
        self._path = path
        self._file: BinaryIO | None = None
        self._places: list[list[tuple[int, int]]] = [[] for _ in range(partitions)]

    def add(self, segments: Iterator[tuple[int, bytes]]) -> None:
        """Write a run: segments, each with its partition before it. Raises OSError."""
        if self._file is None:
            self._file = open(self._path, "w+b")  # noqa: SIM115  closed by close()
        for partition, data in segments:
            self._file.write(data)
            self._places[partition].append((self.bytes, len(data)))
            self.bytes += len(data)
        self._file.flush()
        self.runs += 1

    def segments(self, partition: int) -> Iterator[bytes]:
        """Those of a partition, run by run, each with its header. Raises OSError."""
        for offset, length in self._places[partition]:
            assert self._file is not None
            yield os.pread(self._file.fileno(), length, offset)

    def decoded(self, partition: int) -> Iterator[tuple[Header, Segment, str]]:
        """The same as lists, each with a name for messages."""
        return map(decoded_whole, self.segments(partition))

    def bytes_of(self, partition: int) -> int:
        return sum(length for _, length in self._places[partition])

    def close(self) -> None:
        """Delete the file; there are no runs any more."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.unlink(missing_ok=True)
        self.runs = self.bytes = 0
        self._places = [[] for _ in range(self.partitions)]


def decoded_whole(data: bytes) -> tuple[Header, Segment, str]:
    """A segment that was made in this very process."""
    header = header_of(data, "what was put on disk")
    body = memoryview(data)[HEADER.size :]
    return header, decoded(header, body, "what was put on disk"), "this task"


Held = dict[Any, Any] | Pairs
"""What a map holds: groups, or pairs that are sorted."""


class Spiller:
    """When a map puts its groups on disk, and where.

    ``ranges``: what decides the partition of a key; None: its hash.
    """

    def __init__(self, gauge: Gauge, runs: Runs, ranges: Ranges | None = None) -> None:
        self._ranges = ranges
        self.gauge = gauge
        self.runs = runs
        self.values = 0  # in all segments made so far
        self.added = False  # whether segments are to tell that their values are sums

    def pace(self, first: int, most: int) -> Pace:
        return Pace(self.gauge, first, most)

    def spill(self, groups: Held, *, plain: bool = True, listed: bool = True) -> None:
        """Write a run of them, and empty them.

        Raises:
            Stopped: a key or a value does not pickle.
            OSError: it cannot be written.
        """
        self.runs.add(self._written(groups, plain, listed))
        groups.clear()
        self.gauge.relieved()

    def forget(self) -> None:
        """Whatever was put on disk: the map begins again."""
        self.runs.close()
        self.values = 0
        self.added = False

    def segments(
        self, groups: Held, *, plain: bool = True, listed: bool = True
    ) -> Iterator[tuple[int, bytes]]:
        """All that was put on disk and these groups, which are used up: segments by partition,
        each with its partition before it. Raises as :meth:`spill`."""
        runs = self.runs
        if runs.runs:
            self.spill(groups, plain=plain, listed=listed)
            for partition in range(runs.partitions):
                for data in runs.segments(partition):
                    yield partition, data
        else:
            yield from self._written(groups, plain, listed)
            groups.clear()

    def _written(self, groups: Held, plain: bool, listed: bool) -> Iterator[tuple[int, bytes]]:
        ranges = self._ranges
        if isinstance(groups, Pairs):
            assert ranges is not None
            made = written_in_order(groups, ranges)
        else:
            partitions = self.runs.partitions
            kind = {"plain": plain, "listed": listed, "added": self.added}
            made = written(groups, partitions, ranges=ranges, **kind)
        for partition, data, values in made:
            self.values += values
            yield partition, data


def never() -> Spiller:
    """For what always fits in memory."""
    return Spiller(Unbounded(), Runs(Path(), 0))
