"""What a user writes: the functions of a job, its options, and where its input comes from."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import force_setattr

from map_reduce.errors import ConfigError, FunctionError, InputTypeError, shortened
from map_reduce.formats import TEXTS, check_format
from map_reduce.reducers import Reducer

MapFunction = Callable[[Any, Any], Any]
"""``map(key, value)`` -> list of, or generator of, (key, value) pairs."""

ReduceFunction = Callable[[Any, list[Any]], Any]
"""``reduce(key, values)`` -> the key's result. Values are in the order of a sequential run."""


TIMEOUT_S_MIN, TIMEOUT_S_MAX = 0.1, 7 * 86400.0
MEMORY_MB_MIN, MEMORY_MB_MAX = 128, 1 << 20
TTL_S_MAX = 365 * 86400.0
PRIORITY_MIN, PRIORITY_MAX = 0.01, 100.0


class Skip(msgspec.Struct, frozen=True):
    """Leave bad records out of the result, up to a limit; over it the job fails.

    Exactly one of the two is given.

    Args:
        up_to: so many records and keys of the job, together.
        share: so large a part of the records, and so large a part of the keys; 0.01 is 1 %.

    Raises:
        ConfigError: none or both are given, or one is out of its range.
    """

    up_to: int | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if (self.up_to is None) == (self.share is None):
            raise ConfigError("write Skip(up_to=10) or Skip(share=0.01): one of the two")
        if self.up_to is not None and not (type(self.up_to) is int and self.up_to >= 0):
            raise ConfigError(
                f"Skip(up_to={self.up_to!r}): how many records may be left out is a whole number"
            )
        if self.share is not None and not (_is_number(self.share) and 0 <= self.share <= 1):
            raise ConfigError(
                f"Skip(share={self.share!r}): the part that may be left out is between 0 and 1"
            )

    def __str__(self) -> str:
        return f"skip:{self.up_to}" if self.share is None else f"skip:{100 * self.share:g}%"

    @staticmethod
    def parse(text: str) -> Skip | None:
        """What "fail" (None), "skip:10" or "skip:1%" mean. Raises ConfigError for other texts."""
        if text == "fail":
            return None
        if found := re.fullmatch(r"skip:(\d+)", text):
            return Skip(up_to=int(found[1]))
        if found := re.fullmatch(r"skip:(\d+(?:\.\d+)?)%", text):
            return Skip(share=float(found[1]) / 100)
        raise ConfigError(
            f"on_bad_record is {text!r}; it may be 'fail', 'skip:10' (up to ten) or 'skip:1%'"
        )


class Options(msgspec.Struct, frozen=True):
    """What a job asks of its tasks. ``docs/tasks.md`` says what each is for.

    Args:
        on_bad_record: "fail", the default; or how many records that cannot be processed may be
            left out of the result: ``Skip(up_to=10)``, ``Skip(share=0.01)``, or the same as text,
            "skip:10" and "skip:1%".
        timeout_s: seconds that one attempt at a task may take; by default the cluster's
            ``MAX_TASK_TIMEOUT``.
        memory_mb_max: MiB that a worker process may use for the job; by default each node's own
            bound, if it has one. The lower of the two holds.
        backups: whether tasks that lag behind are started a second time on another node; by
            default what the cluster is set to.
        priority: its share of the slots where several jobs want them: a job of priority 2 gets
            twice as many as one of priority 1, the default. 0.01 to 100.
        result_ttl_s: seconds that results are kept after the job's end, if nobody fetches them; by
            default each node's ``RESULT_TTL``.

    Raises:
        ConfigError: one of them is out of its range; names it.
    """

    on_bad_record: str | Skip = "fail"
    timeout_s: float | None = None
    memory_mb_max: int | None = None
    backups: bool | None = None
    priority: float = 1.0
    result_ttl_s: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.on_bad_record, str | Skip):
            raise ConfigError(
                f"on_bad_record is {self.on_bad_record!r}; it may be 'fail', Skip(up_to=10) or "
                "Skip(share=0.01)"
            )
        if isinstance(self.on_bad_record, str):
            force_setattr(self, "on_bad_record", Skip.parse(self.on_bad_record) or "fail")
        timeout_s, memory_mb = self.timeout_s, self.memory_mb_max
        if timeout_s is not None and not (
            _is_number(timeout_s) and TIMEOUT_S_MIN <= timeout_s <= TIMEOUT_S_MAX
        ):
            raise ConfigError(
                f"timeout_s is {timeout_s!r}; it is a number of seconds, at least "
                f"{TIMEOUT_S_MIN:g} and at most {TIMEOUT_S_MAX:g}"
            )
        if memory_mb is not None and not (
            type(memory_mb) is int and MEMORY_MB_MIN <= memory_mb <= MEMORY_MB_MAX
        ):
            raise ConfigError(
                f"memory_mb_max is {memory_mb!r}; it is a whole number of MiB, at least "
                f"{MEMORY_MB_MIN} and at most {MEMORY_MB_MAX}"
            )
        if not (_is_number(self.priority) and PRIORITY_MIN <= self.priority <= PRIORITY_MAX):
            raise ConfigError(
                f"priority is {self.priority!r}; it is a number, at least {PRIORITY_MIN:g} and at "
                f"most {PRIORITY_MAX:g}"
            )
        ttl_s = self.result_ttl_s
        if ttl_s is not None and not (_is_number(ttl_s) and 1 <= ttl_s <= TTL_S_MAX):
            raise ConfigError(
                f"result_ttl_s is {ttl_s!r}; it is a number of seconds, at least 1 and at most "
                f"{TTL_S_MAX:g}"
            )
        if self.backups is not None and type(self.backups) is not bool:
            raise ConfigError(f"backups is {self.backups!r}; it may be True, False or None")

    @property
    def skip(self) -> Skip | None:
        """How many bad records may be left out; None: the first one fails the job."""
        return self.on_bad_record if isinstance(self.on_bad_record, Skip) else None


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


class Job(msgspec.Struct, frozen=True):
    """The functions of a job.

    Args:
        map: called as ``map(key, value)`` for every input record; returns, or yields, pairs.
        reduce: called as ``reduce(key, values)`` for every distinct key; or one of
            :mod:`map_reduce.reducers`, which combine by themselves.
        combine: called as ``combine(key, values)`` on part of a key's values, in order, any
            number of times; its result takes their place among the values that reduce gets.
            Pass one where ``reduce`` of combined values is ``reduce`` of all values, as for
            sums: then less data moves.
        name: for people, in status and progress.
        options: what is asked of its tasks.
        sort: give results in the order of their keys. ``docs/sorting.md`` says which that is.
        sort_values: give reduce the values of each key in order; True, or a function that gives
            for a value what it is sorted by, as ``key`` for :func:`sorted`.
        save_as: let the tasks that reduce write the files that :meth:`JobHandle.save` gives, as
            "jsonl", "text", "csv" or "lines", instead of results that are fetched; "": don't.

    Raises:
        FunctionError: one of the functions is not callable.
        ConfigError: ``sort``, ``sort_values`` or ``save_as`` is something else.
    """

    map: MapFunction
    reduce: ReduceFunction
    combine: ReduceFunction | None = None
    name: str = ""
    options: Options = Options()
    sort: bool = False
    sort_values: bool | Callable[[Any], Any] = False
    save_as: str = ""

    def __post_init__(self) -> None:
        if self.save_as:
            check_format(self.save_as, TEXTS)
        if type(self.sort_values) is not bool and not callable(self.sort_values):
            raise ConfigError(
                f"sort_values is {self.sort_values!r}; it may be True, False, or a function that "
                "gives for a value what it is sorted by"
            )
        if type(self.sort) is not bool:
            raise ConfigError(f"sort is {self.sort!r}; it may be True or False")
        for role in ("map", "reduce", "combine"):
            function = getattr(self, role)
            if not callable(function) and not (role == "combine" and function is None):
                raise FunctionError(
                    f"{role} must be a function, not {type(function).__name__} "
                    f"({shortened(repr(function))})"
                )
        alone = isinstance(self.combine, Reducer) and self.combine is not self.reduce
        if alone and not self.combine.plain:  # type: ignore[union-attr]
            raise FunctionError(
                f"{self.combine!r} is no combiner beside another reduce, which could not tell what "
                "it gives from the values. Pass it as reduce: it combines by itself"
            )
        if not self.name:
            name = getattr(self.map, "__qualname__", type(self.map).__name__)
            force_setattr(self, "name", name)


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
