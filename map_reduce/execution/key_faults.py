"""Keys whose own methods raise: in grouping, dealing out to partitions, sorting.

Keys are compared and hashed by our code, far from the record that gave them. So an exception of a
key's ``__eq__``, ``__hash__`` or ``<`` comes up anywhere, and is known by its traceback: the first
function that is not ours is one of these methods. It is the user's, and of nobody else's doing;
where bad records may be left out, the record that gave the key is looked for (``guarded.py``).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from map_reduce.errors import MapReduceError
from map_reduce.execution.failures import Stopped, frames_of, shown

_METHODS = frozenset(("__eq__", "__ne__", "__hash__", "__lt__", "__le__", "__gt__", "__ge__"))


class KeyMethod(NamedTuple):
    """The method that has raised, and the key or the two that it was called with."""

    name: str
    keys: tuple[Any, ...]

    def __str__(self) -> str:
        kind = type(self.keys[0]).__qualname__
        told = " and ".join(map(shown, self.keys))
        return f"in {kind}.{self.name}, of keys of type {kind}: {told}"


class KeyFault(Stopped):
    """A key's own method has raised, and which record gave the key is not at hand."""

    is_about_the_job = False

    def __init__(
        self, kind: type[MapReduceError], error: BaseException, method: KeyMethod, whence: str = ""
    ) -> None:
        self._given = kind, error, method
        where = f"{method}{'; ' if whence else ''}{whence}"
        super().__init__(kind, where, original=error)

    @property
    def keys(self) -> tuple[Any, ...]:
        """Those that it was called with."""
        return self._given[2].keys

    def told_from(self, whence: str) -> KeyFault:
        """The same, with where the keys come from."""
        return KeyFault(*self._given, whence)


def method_of(error: BaseException) -> KeyMethod | None:
    """The key's method by which ``error`` was raised, where it was by one."""
    for frame, _ in frames_of(error.__traceback__):
        code = frame.f_code
        if code.co_filename == functools.__file__:  # of functools.total_ordering
            continue
        if code.co_name not in _METHODS or not code.co_argcount:
            return None
        given = (frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount])
        return KeyMethod(code.co_name, tuple(given))
    return None


def fault_of(error: BaseException, kind: type[MapReduceError]) -> KeyFault | None:
    """The same as an end of the attempt; None where it was not raised by a key's method."""
    method = method_of(error)
    return None if method is None else KeyFault(kind, error, method)
