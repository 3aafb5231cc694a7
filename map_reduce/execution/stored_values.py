"""The values of one key, on disk: what reduce gets where they do not fit in memory.

    append, extend ──▶ StoredValues ──▶ pieces in a file: [v v v …][v v v …][v v …]
                            │
                            └─ view() ──▶ Values, for the user: len, iteration, indexing, slices

A piece is a pickled list of some of the values. Reading goes through one piece at a time, however
often and in whichever order; the piece read last is kept. In the program's order, and that of the
sequential run, as with any list.
"""

from __future__ import annotations

import os
import pickle
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, overload

from map_reduce.execution.pickles import at_a_time, dump_lists

VALUES_MAX = 1 << 16
"""Values in a piece, at most."""

VALUES_AT_FIRST = 1 << 8
"""Values that are held until it is known how large they are."""

_CHANGES = (
    *("append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse"),
    *("__setitem__", "__delitem__", "__iadd__", "__imul__"),
)


class ValueFile:
    """A file for the values of all keys of a task that have too many.

    Args:
        path: made when the first values are written, deleted by :meth:`close`.
    """

    def __init__(self, path: Path) -> None:
        self.bytes = 0
        self._path = path
        self._file: BinaryIO | None = None
        self._closed = False

    def write(self, data: bytes) -> int:
        """Append; the offset. Raises OSError."""
        if self._file is None:
            self._file = open(self._path, "w+b")  # noqa: SIM115  closed by close()
        self._file.write(data)
        self._file.flush()
        self.bytes += len(data)
        return self.bytes - len(data)

    def read(self, offset: int, length_bytes: int) -> bytes:
        if self._file is None:
            raise ValueError(
                "the values of a key, which were read from disk, are gone once reduce has "
                "returned; copy what you need of them"
            )
        return os.pread(self._file.fileno(), length_bytes, offset)

    def close(self) -> None:
        """Delete the file; what was in it cannot be read any more."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.unlink(missing_ok=True)


class StoredValues:
    """Values of a key while they come, in the place of its list in ``Groups``."""

    def __init__(self, file: ValueFile) -> None:
        self._file = file
        self._held: list[Any] = []
        self._most = VALUES_AT_FIRST
        self._places: list[tuple[int, int]] = []  # offset and length of each piece
        self._ends: list[int] = []  # how many values there are up to its end

    def append(self, value: Any) -> None:
        self._held.append(value)
        if len(self._held) >= self._most:
            self._write()

    def extend(self, values: Iterable[Any]) -> None:
        values = iter(values)
        while some := list(islice(values, self._most - len(self._held))):
            self._held += some
            if len(self._held) >= self._most:
                self._write()

    def __len__(self) -> int:
        return (self._ends[-1] if self._ends else 0) + len(self._held)

    def view(self) -> Values:
        """All of them; no more may come."""
        self._write()
        return Values(_Pieces(self._file, self._places, self._ends))

    def _write(self) -> None:
        first = 0
        while first < len(self._held):
            count = at_a_time(self._held, first, VALUES_MAX)
            data = dump_lists(self._held[first : first + count])
            self._places.append((self._file.write(data), len(data)))
            self._ends.append((self._ends[-1] if self._ends else 0) + count)
            first += count
            self._most = min(VALUES_MAX, max(VALUES_AT_FIRST // 8, 2 * count))
        self._held.clear()


class _Pieces:
    """Reads them, one at a time."""

    def __init__(self, file: ValueFile, places: list[tuple[int, int]], ends: list[int]) -> None:
        self.ends = ends
        self._file = file
        self._places = places
        self._number = -1  # of the piece at hand
        self._piece: list[Any] = []

    def piece(self, number: int) -> list[Any]:
        if number != self._number:
            offset, length = self._places[number]
            self._piece = []
            (self._piece,) = pickle.loads(self._file.read(offset, length))
            self._number = number
        return self._piece

    def __getitem__(self, position: int) -> Any:
        number = bisect_right(self.ends, position)
        return self.piece(number)[position - self._begin(number)]

    def lists(self, first: int, last: int) -> Iterator[list[Any]]:
        """The values ``first`` … ``last`` - 1, as lists one after another."""
        if first >= last:
            return
        for number in range(bisect_right(self.ends, first), len(self.ends)):
            begin = self._begin(number)
            if begin >= last:
                return
            piece = self.piece(number)
            whole = first <= begin and self.ends[number] <= last
            yield piece if whole else piece[max(0, first - begin) : last - begin]

    def _begin(self, number: int) -> int:
        return self.ends[number - 1] if number else 0


class Values(Sequence[Any]):
    """The values of a key that has too many for memory, read from disk as they are asked for.

    Like a list that cannot be changed: ``len``, ``for``, ``in``, indexes and slices (which are
    read from disk, too), ``reversed``, ``index``, ``count``, ``==``; any number of times, while
    reduce runs. ``list(values)`` and ``sorted(values)`` need memory for all of them.
    """

    __slots__ = ("_pieces", "_range")

    def __init__(self, pieces: _Pieces, of: range | None = None) -> None:
        self._pieces = pieces
        self._range = range(pieces.ends[-1] if pieces.ends else 0) if of is None else of

    def __len__(self) -> int:
        return len(self._range)

    def __iter__(self) -> Iterator[Any]:
        if self._range.step == 1:
            return chain.from_iterable(self._pieces.lists(self._range.start, self._range.stop))
        return map(self._pieces.__getitem__, self._range)

    def __reversed__(self) -> Iterator[Any]:
        return iter(self[::-1])

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Values: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Values(self._pieces, self._range[index])
        try:
            position = self._range[index]
        except IndexError:
            raise IndexError("list index out of range") from None
        return self._pieces[position]

    def __contains__(self, value: object) -> bool:
        return any(each is value or each == value for each in self)

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        where = range(len(self))[start:stop]
        for position, each in zip(where, self[start:stop], strict=True):
            if each is value or each == value:
                return position
        raise ValueError(f"{value!r} is not among the values")

    def count(self, value: Any) -> int:
        return sum(1 for each in self if each is value or each == value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list | Values):
            return NotImplemented
        return len(self) == len(other) and all(
            mine is theirs or mine == theirs for mine, theirs in zip(self, other, strict=True)
        )

    def __repr__(self) -> str:
        some = ", ".join(map(repr, self[:3]))
        return f"<{len(self):,} values on disk: [{some}{', …' if len(self) > 3 else ''}]>"

    def copy(self) -> list[Any]:
        return list(self)

    def __add__(self, other: Any) -> list[Any]:
        return [*self, *other] if isinstance(other, list | Values) else NotImplemented

    def __radd__(self, other: Any) -> list[Any]:
        return [*other, *self] if isinstance(other, list) else NotImplemented

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (), None, iter(self)  # as a result, for example: a list

    def __getattr__(self, name: str) -> Any:
        if name in _CHANGES:
            raise _unchangeable(name)
        raise AttributeError(f"the values of a key have no {name!r}", name=name, obj=self)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise _unchangeable("[…] = …")

    def __delitem__(self, index: Any) -> None:
        raise _unchangeable("del […]")

    def __iadd__(self, other: Any) -> Any:
        raise _unchangeable("+=")

    def __imul__(self, other: Any) -> Any:
        raise _unchangeable("*=")


def _unchangeable(what: str) -> AttributeError:
    return AttributeError(
        f"{what}: this key has too many values for memory, so they are read from disk and cannot "
        "be changed in place. Go through them (for, sum, min, max, heapq.nsmallest, itertools), "
        "pass a combiner, or give the task more memory (memory_mb_max) and take list(values)"
    )
