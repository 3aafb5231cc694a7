"""What a user writes: the functions of a job, and where its input comes from."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from map_reduce.errors import FunctionError, InputTypeError, shortened

MapFunction = Callable[[Any, Any], Any]
"""``map(key, value)`` -> list of, or generator of, (key, value) pairs."""

ReduceFunction = Callable[[Any, list[Any]], Any]
"""``reduce(key, values)`` -> the key's result. Values are in the order of a sequential run."""


@dataclass(frozen=True)
class Job:
    """The functions of a job.

    Args:
        map: called as ``map(key, value)`` for every input record; returns, or yields, pairs.
        reduce: called as ``reduce(key, values)`` for every distinct key.
        combine: called as ``combine(key, values)`` on part of a key's values, in order, any
            number of times; its result takes their place among the values that reduce gets.
            Pass one where ``reduce`` of combined values is ``reduce`` of all values, as for
            sums: then less data moves.
        name: for people, in status and progress.

    Raises:
        FunctionError: one of the functions is not callable.
    """

    map: MapFunction
    reduce: ReduceFunction
    combine: ReduceFunction | None = None
    name: str = ""

    def __post_init__(self) -> None:
        for role in ("map", "reduce", "combine"):
            function = getattr(self, role)
            if not callable(function) and not (role == "combine" and function is None):
                raise FunctionError(
                    f"{role} must be a function, not {type(function).__name__} "
                    f"({shortened(repr(function))})"
                )
        if not self.name:
            name = getattr(self.map, "__qualname__", type(self.map).__name__)
            object.__setattr__(self, "name", name)


@dataclass(frozen=True)
class Files:
    """Text files as input: ``map(line_number, line)``, numbered from 0 in each file.

    Args:
        paths: paths and glob patterns (``**`` too). ``.gz``, ``.bz2`` and ``.xz`` are unpacked
            while reading.
        encoding: of the text.
        errors: what to do with bytes that are not valid in it, as for :func:`open`.

    A line ends at ``\\n``; a ``\\r`` before it belongs to the line end.
    """

    paths: tuple[str, ...] = field()
    encoding: str = "utf-8"
    errors: str = "strict"

    def __init__(
        self, *paths: str | os.PathLike[str], encoding: str = "utf-8", errors: str = "strict"
    ) -> None:
        for path in paths:
            if not isinstance(path, str | os.PathLike):
                raise InputTypeError(f"a path is a str or a Path, not {type(path).__name__}")
        object.__setattr__(self, "paths", tuple(os.fspath(path) for path in paths))
        object.__setattr__(self, "encoding", encoding)
        object.__setattr__(self, "errors", errors)
