"""Where a careful attempt writes down what it is about to do, so that its death can be told.

The note is a small file in shared memory pages: it survives the process, however that ends,
without a system call per record. Two halves are written in turn, and one byte says which holds
a whole text, so a death in the middle of writing leaves the previous text.

    byte 0: 0 nothing yet, 1 first half, 2 second half
    halves: length (2 bytes, big-endian), UTF-8 text
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import NamedTuple

_HALF_BYTES = 2048
_TEXT_BYTES_MAX = _HALF_BYTES - 2
_FILE_BYTES = 1 + 2 * _HALF_BYTES


_WHERE_CHARACTERS_MAX = 1000
_SEPARATOR = "\0"


class Noted(NamedTuple):
    """What is noted of a record: that a worker has begun to work on it."""

    phase: str  # "map", or "reduce" for a key
    position: int
    begun_s: float  # by the machine's monotonic clock
    where: str  # "line 17 of /data/a.txt"
    record: str  # its repr, cut; "" where it is not there (yet)

    def text(self) -> str:
        where = self.where[:_WHERE_CHARACTERS_MAX].replace(_SEPARATOR, " ")
        numbers = (str(self.position), repr(self.begun_s))
        return _SEPARATOR.join((self.phase, *numbers, where, self.record))

    @classmethod
    def parse(cls, text: str) -> Noted | None:
        """What :meth:`text` gave; None for any other text."""
        parts = text.split(_SEPARATOR, 4)
        try:
            phase, position, begun_s, where, record = parts
            return cls(phase, int(position), float(begun_s), where, record)
        except ValueError:
            return None


class Note:
    """The writing end, in the worker process."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _FILE_BYTES)
            self._pages = mmap.mmap(descriptor, _FILE_BYTES)
        finally:
            os.close(descriptor)
        self._half = 1

    def write(self, text: str) -> None:
        """Put down ``text``, cut where it is too long."""
        data = text.encode("utf-8", "replace")[:_TEXT_BYTES_MAX]
        start = 1 + self._half * _HALF_BYTES
        self._pages[start : start + 2] = len(data).to_bytes(2, "big")
        self._pages[start + 2 : start + 2 + len(data)] = data
        self._pages[0] = self._half + 1
        self._half = 1 - self._half

    def close(self) -> None:
        self._pages.close()


def read_note(path: Path) -> str:
    """The last whole text in the file; empty where there is none, or no file."""
    try:
        # User code may have put anything there: what would lead elsewhere, or wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""  # the attempt died before it could make the file, or was not careful
    try:
        pages = os.read(descriptor, _FILE_BYTES + 1)
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    if len(pages) != _FILE_BYTES or pages[0] not in (1, 2):
        return ""
    start = 1 + (pages[0] - 1) * _HALF_BYTES
    length = int.from_bytes(pages[start : start + 2], "big")
    return pages[start + 2 : start + 2 + length].decode("utf-8", "replace")
