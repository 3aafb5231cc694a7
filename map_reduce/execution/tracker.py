"""How far an attempt is, told at no cost to its inner loops.

User functions are called by C code (``map(function, keys, values)``) that takes the records
from a list iterator. Python's iterators know how much is left of them (``__length_hint__``), so
whoever wants to know which record is being worked on can tell from that at any time, from any
thread, and the loop itself keeps no count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import length_hint
from typing import Any, NamedTuple


class Stretch(NamedTuple):
    """A run of records that is being worked on."""

    before: int
    """Records done before this stretch."""

    length: int
    rest: Iterator[Any]
    """What has not been taken yet: an iterator of a list, which knows how much that is."""

    name: Callable[[int], str]
    """A record of it by its position from 0, in words."""

    bytes_before: int
    """Input read before this stretch."""

    bytes_in: int
    """Input read so far, this stretch included."""

    def position(self) -> int:
        """Of the record that was taken last, from 0; -1 where none was yet."""
        return self.length - length_hint(self.rest) - 1


_NOTHING = Stretch(0, 0, iter([]), lambda position: "", 0, 0)


Note = Callable[[str, int, str, str], None]
"""``note(phase, position, where, record)``: that one is begun; phase "" when none is any more."""


class Tracker:
    """What a watcher thread may read at any time while an attempt runs.

    Attributes:
        note: in a careful attempt, called before each record is mapped and each key reduced.
    """

    def __init__(self, note: Note | None = None) -> None:
        self.note = note
        self._stretch = _NOTHING

    def enter(self, stretch: Stretch) -> None:
        """Work on this from now on."""
        self._stretch = stretch

    @property
    def records(self) -> int:
        """Records, or keys of a reduce, that were begun."""
        stretch = self._stretch
        return stretch.before + stretch.position() + 1

    @property
    def bytes_in(self) -> int:
        """Bytes of input whose records were begun, about: those of a stretch count as equal."""
        stretch = self._stretch
        if not stretch.length:
            return stretch.bytes_in
        share = (stretch.position() + 1) / stretch.length
        return stretch.bytes_before + int(share * (stretch.bytes_in - stretch.bytes_before))

    @property
    def current(self) -> str:
        """Where it is, for people: "line 17 of /data/a.txt", "item 3", "key 'x'", or ""."""
        stretch = self._stretch
        position = stretch.position()
        return stretch.name(position) if position >= 0 else ""
