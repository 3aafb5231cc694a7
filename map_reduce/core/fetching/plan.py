"""What is to be fetched for one reduce attempt, from whom, and into which place of a file."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import RANGES_MAX, GetRanges, ReduceWork, Source
from map_reduce.errors import ProtocolError


class Part(NamedTuple):
    """Bytes of one source, and where in the local file they go."""

    number: int  # the source's, in the order of the work's
    at: int
    offset: int  # in the map output
    length_bytes: int


class Run(NamedTuple):
    """What one request asks of a node. Its parts follow one another in the local file."""

    node: Address
    parts: tuple[Part, ...]

    @property
    def at(self) -> int:
        return self.parts[0].at

    @property
    def length_bytes(self) -> int:
        return self.parts[-1].at + self.parts[-1].length_bytes - self.at


class FetchPlan:
    """Not thread-safe: its owner holds a lock. Attributes are for reading.

    Args:
        work: whose sources they are.
        numbers: which of them are to be fetched.
        me: the node that fetches. It begins with the node that comes after it by address, and each
            node so with another one: else all would begin with the same.
        begin: where in the local file the fetched bytes begin.

    Attributes:
        nodes: those to be asked, in the order in which to begin.
        places: of each source to be fetched its place in the local file.
        left_bytes: that have not arrived.
    """

    def __init__(
        self, work: ReduceWork, numbers: Iterable[int], me: Address, begin: int = 0
    ) -> None:
        self._work = work
        of_node: dict[int, list[int]] = {}
        for number in numbers:
            of_node.setdefault(work.rows[number][0], []).append(number)
        addresses = sorted(work.nodes[place] for place in of_node)
        self.nodes = (*(a for a in addresses if a > me), *(a for a in addresses if a <= me))
        self.places: dict[int, int] = {}
        self._missing: dict[Address, deque[Part]] = {}
        at = begin
        for place, group in of_node.items():
            parts = self._missing.setdefault(work.nodes[place], deque())
            for number in group:
                _, _, offset, length_bytes = work.rows[number]
                self.places[number] = at
                if length_bytes:
                    parts.append(Part(number, at, offset, length_bytes))
                at += length_bytes
        self.left_bytes = at - begin

    def runs(self, node: Address, bytes_max: int) -> int:
        """In about how many runs of at most so many bytes the rest would come."""
        parts = self._missing[node]
        by_bytes = -(-sum(part.length_bytes for part in parts) // bytes_max)
        return max(by_bytes, -(-len(parts) // RANGES_MAX))

    def take(self, node: Address, bytes_max: int) -> Run | None:
        """The next run to be asked of the node; None where all of its bytes are under way."""
        missing = self._missing[node]
        parts: list[Part] = []
        room = bytes_max
        while missing and room and len(parts) < RANGES_MAX:
            part = missing[0]
            if parts and part.at != parts[-1].at + parts[-1].length_bytes:
                break  # what lies between is under way
            if part.length_bytes <= room:
                missing.popleft()
            else:
                missing[0] = _from(part, room)
                part = part._replace(length_bytes=room)
            parts.append(part)
            room -= part.length_bytes
        return Run(node, tuple(parts)) if parts else None

    def put_back(self, run: Run) -> None:
        """It did not come: it is what is taken next."""
        self._missing[run.node].extendleft(reversed(run.parts))

    def arrived(self, run: Run) -> None:
        """All of its bytes are in their place."""
        self.left_bytes -= run.length_bytes

    def request(self, run: Run) -> GetRanges:
        """What to ask the run's node."""
        rows = (
            (self._work.rows[part.number][1], part.offset, part.length_bytes) for part in run.parts
        )
        return GetRanges(self._work.prefix, tuple(rows))

    def source(self, number: int) -> Source:
        """One of the work's sources."""
        place, name, offset, length_bytes = self._work.rows[number]
        return Source(self._work.nodes[place], self._work.prefix + name, offset, length_bytes)

    def source_called(self, run: Run, name: str) -> Source:
        """The source in the run that its node says it does not have.

        Raises:
            ProtocolError: nothing of that name was asked for.
        """
        for part in run.parts:
            source = self.source(part.number)
            if source.name == name:
                return source
        raise ProtocolError(f"{run.node} does not have {name}, which it was not asked for")


def _from(part: Part, cut: int) -> Part:
    """What is left of a part behind its first ``cut`` bytes."""
    number, at, offset, length_bytes = part
    return Part(number, at + cut, offset + cut, length_bytes - cut)
