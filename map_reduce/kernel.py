"""The innermost loops, compiled where that could be done, and in Python.

Where there is a C compiler, installing the package makes ``map_reduce._kernel`` of ``_kernel.c``;
where there is none, or ``MAP_REDUCE_COMPILED`` is 0, everything works alike and takes longer.

Text has functions that are there in any case, :func:`count_line_ends` and :func:`lines_of`. What
takes in pairs and groups is there only compiled (:class:`Compiled`): in Python, a call would cost
more than it saves, so those who call it have a loop of their own for that case.

That loop is also where what is not plain is done. Plain are keys that are str, bytes, int, or
tuples of these; pairs that are exact tuples of two, with a plain key; values, where they are added
up, that are ints. At anything else compiled code stops, and tells how far it came; the loop goes on
from there. So there is one place where pairs and keys are judged, and errors told.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol

VERSION = 1
"""What ``_kernel.c`` must say, too: where the package was brought up to date in place, what was
compiled may be older than what is written, and is left aside then."""


class Compiled(Protocol):
    """What ``_kernel.c`` has for pairs and groups.

    The functions for lists give None where all is done; else the number of the first that is left
    to do, before all that follow. Those for iterators give the number of pairs that were done, at
    the end; else a tuple of the one that is left to do, before all that follow.
    """

    def add_pairs(self, sums: dict[Any, Any], pairs: Any, each: int | None, /) -> int | None:
        """Add values, or ``each`` in place of them, to the sums of their keys."""

    def add_from(
        self, sums: dict[Any, Any], pairs: Iterator[Any], each: int | None, /
    ) -> int | tuple[Any]:
        """The same from an iterator."""

    def append_pairs(self, groups: dict[Any, list[Any]], pairs: Any, /) -> int | None:
        """Append values to the lists of their keys."""

    def append_from(
        self, groups: dict[Any, list[Any]], pairs: Iterator[Any], /
    ) -> int | tuple[Any]:
        """The same from an iterator."""

    def part_pairs(self, keys: list[Any], values: list[Any], pairs: Any, /) -> int | None:
        """Append keys, whatever they are, and values to a list each."""

    def part_from(
        self, keys: list[Any], values: list[Any], pairs: Iterator[Any], /
    ) -> int | tuple[Any]:
        """The same from an iterator."""

    def deal_out(
        self,
        keys: list[Any],
        held: list[Any],
        prime: int,
        hands_of_keys: list[list[Any]],
        hands_of_held: list[list[Any]],
        /,
    ) -> int | None:
        """Append keys, and what is held of each, to the hands of their partitions
        (``execution/keys.py``), of which there are as many as hands."""

    def extend_lists(
        self,
        groups: dict[Any, list[Any]],
        keys: list[Any],
        counts: list[int] | None,
        values: list[Any],
        /,
    ) -> int | None:
        """Append ``counts[i]`` of the values, one each where it is None, to the list of
        ``keys[i]``."""


def python_count_line_ends(data: bytes | bytearray, start: int, end: int) -> int:
    """How many bytes of ``data[start:end]`` are line feeds."""
    return data.count(b"\n", start, end)


def python_lines_of(data: bytes) -> list[str]:
    """The lines of UTF-8 text, without their ends, which are ``\\n`` or ``\\r\\n``.

    Raises:
        UnicodeDecodeError: it is none.
    """
    return split_lines(data.decode())


def split_lines(text: str) -> list[str]:
    """The same of text that is decoded."""
    if "\r" in text:  # found a hundred times as fast as two characters
        text = text.replace("\r\n", "\n")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


compiled: Compiled | None
count_line_ends: Callable[[bytes | bytearray, int, int], int]
lines_of: Callable[[bytes], list[str]]

try:
    if os.environ.get("MAP_REDUCE_COMPILED") == "0":
        raise ImportError("MAP_REDUCE_COMPILED is 0")
    made: Any = importlib.import_module("map_reduce._kernel")
    if getattr(made, "VERSION", None) != VERSION:
        raise ImportError("_kernel is of another version: install the package anew")
except ImportError:
    compiled = None
    count_line_ends, lines_of = python_count_line_ends, python_lines_of
else:
    compiled = made
    count_line_ends, lines_of = made.count_line_ends, made.lines_of
