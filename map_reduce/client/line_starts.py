"""Where to cut a file of lines, and the numbers of the lines that begin there.

First the cuts are found: for each n-th of the file, the first line end from there on. Little is
read for that. Then the lines between the cuts are counted, which takes all bytes up to the last
cut::

    file     ├────────╮──────────╮─────────╮──────────┤
    cuts     0        a          b         c             (behind a line end each)
    counts     3 lines   4 lines   2 lines               by a thread for each processor
    lines    0        3          7         9

Reading lets go of the interpreter's lock, and so does counting, where it is compiled.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from itertools import accumulate, pairwise

from map_reduce.errors import InputChangedError
from map_reduce.kernel import count_line_ends
from map_reduce.server.configs import processors

READ_BYTES = 1 << 18
"""At a time: little enough to stay in a processor's cache until it is counted."""

THREADS_MAX = 8
BYTES_PER_THREAD_MIN = 4 << 20


def line_starts(file: int, path: str, size: int, pieces: int) -> list[tuple[int, int]]:
    """(byte, line number) where each of ``pieces`` even parts of a file is to start.

    There are fewer where lines are longer than parts.

    Args:
        file: its descriptor, open for reading; its position is not used.
        size: its length in bytes, at least 1.

    Raises:
        InputChangedError: it is shorter than ``size``.
        OSError: it cannot be read.
    """
    cuts = _cuts(file, path, size, pieces)
    counts = _Counting(file, path, list(pairwise(cuts))).run()
    return list(zip(cuts, accumulate(counts, initial=0), strict=True))


def _cuts(file: int, path: str, size: int, pieces: int) -> list[int]:
    cuts = [0]
    part = 1
    while part < pieces:
        end = _line_end(file, path, max(cuts[-1], part * size // pieces - 1), size)
        if end >= size:
            break
        cuts.append(end)
        part = end * pieces // size + 1
    return cuts


def _line_end(file: int, path: str, position: int, size: int) -> int:
    """Where the line goes to that the byte at ``position`` belongs to."""
    for start, data in _read(file, path, position, size):
        found = data.find(b"\n") + 1
        if found:
            return start + found
    return size


def _read(file: int, path: str, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The bytes from ``start`` to ``end`` in pieces, each with its place."""
    while start < end:
        data = os.pread(file, min(READ_BYTES, end - start), start)
        if not data:
            raise InputChangedError(f"{path!r} became shorter while it was read; submit again")
        yield start, data
        start += len(data)


class _Counting:
    """Counts the lines in some ranges of a file, several at a time."""

    def __init__(self, file: int, path: str, ranges: list[tuple[int, int]]) -> None:
        self._file = file
        self._path = path
        self._ranges = ranges
        self._todo = iter(range(len(ranges)))  # shared: next() on it is one step
        self._counts = [0] * len(ranges)
        self._stopped = False
        self._errors: list[BaseException] = []

    def run(self) -> list[int]:
        """Line ends in each range. Raises what reading them does."""
        counted = self._ranges[-1][1] - self._ranges[0][0] if self._ranges else 0
        threads_max = min(
            processors(), THREADS_MAX, len(self._ranges), counted // max(1, BYTES_PER_THREAD_MIN)
        )
        threads: list[threading.Thread] = []
        try:
            with contextlib.suppress(RuntimeError):  # no more threads to be had: then with fewer
                for number in range(1, threads_max):
                    name = f"count-lines-{number}"
                    thread = threading.Thread(target=self._work, name=name, daemon=True)
                    thread.start()
                    threads.append(thread)
            self._work()
            for thread in threads:
                thread.join()
        finally:  # at Ctrl-C they end with the piece at hand, before the file is closed
            self._stopped = True
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]
        return self._counts

    def _work(self) -> None:
        try:
            for number in self._todo:
                for _, data in _read(self._file, self._path, *self._ranges[number]):
                    if self._stopped:
                        return
                    self._counts[number] += count_line_ends(data, 0, len(data))
        except BaseException as error:  # noqa: BLE001  raised by run()
            self._errors.append(error)
            self._stopped = True
