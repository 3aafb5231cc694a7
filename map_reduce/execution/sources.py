"""The outputs of map tasks, as files that one reduce task reads by partition.

Only headers are read beforehand. Files are opened, read and closed a segment at a time, so
neither memory nor open files grow with the number of map tasks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from map_reduce.errors import BlockCorruptError, MapReduceError
from map_reduce.execution.segments import HEADER, Header, Segment, decoded, header_of
from map_reduce.ports import LocalSource


class UselessSource(Exception):
    """Which source, by its number, is of no use, and why: it is damaged, or its sums are."""

    sums = False
    """It holds ints that were added up, and should not have been (``summing.py``)."""

    def __init__(self, number: int, error: MapReduceError) -> None:
        super().__init__(number, error)
        self.number = number
        self.error = error


class _Place(NamedTuple):
    number: int
    header: Header
    body: int  # offset in the file


class Sources:
    """The segments in ``files``, which stand in the order of splits.

    Args:
        names: of the files, for messages.

    Raises:
        UselessSource: a file does not consist of segments of ``partitions``, in order.
        OSError: a file cannot be read.
    """

    def __init__(
        self, files: Sequence[LocalSource], names: Sequence[str], partitions: range
    ) -> None:
        self._files = files
        self._names = names
        self._places: dict[int, list[_Place]] = {partition: [] for partition in partitions}
        for number, file in enumerate(files):
            try:
                self._scan(number, file)
            except BlockCorruptError as error:
                raise UselessSource(number, error) from error

    def _scan(self, number: int, source: LocalSource) -> None:
        if not source.length_bytes:
            return
        name = self._names[number]
        position, end = source.offset, source.offset + source.length_bytes
        last = -1
        with open(source.path, "rb", buffering=0) as file:
            while position < end:
                file.seek(position)
                header = header_of(file.read(min(HEADER.size, end - position)), name)
                body = position + HEADER.size
                position = body + header.body_bytes
                if position > end:
                    raise BlockCorruptError(f"{name} ends within partition {header.partition}")
                if header.partition < last or header.partition not in self._places:
                    raise BlockCorruptError(
                        f"{name} has partition {header.partition}, which is not asked of it here"
                    )
                last = header.partition
                self._places[last].append(_Place(number, header, body))

    def segments(self, partition: int) -> Iterator[tuple[Header, Segment, str]]:
        """The segments of one partition in the order of splits, with the name of each source.

        Raises:
            UselessSource: one does not match its checksum.
            FunctionError: a key or value does not unpickle.
            OSError: a file cannot be read.
        """
        for number, header, body in self._places[partition]:
            name = self._names[number]
            with open(self._files[number].path, "rb", buffering=0) as file:
                data = os.pread(file.fileno(), header.body_bytes, body)
            try:
                segment = decoded(header, data, name)
            except BlockCorruptError as error:
                raise UselessSource(number, error) from error
            yield header, segment, name
