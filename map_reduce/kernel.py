"""The innermost loops, compiled where that could be done, and in Python.

Where there is a C compiler, installing the package makes ``map_reduce._kernel`` of ``_kernel.c``;
where there is none, or ``MAP_REDUCE_COMPILED`` is 0, everything works alike and takes longer.
Nothing else in the package may tell whether it is there, apart from this module.

    function             without it
    ───────────────────  ────────────────────────────────────────────────────────────────────
    count_line_ends      ``bytes.count``, byte by byte in the versions of CPython so far
    lines_of             to decode, to look for ``\\r\\n``, to split
    add_pairs            the loops of ``execution/summing.py`` and ``execution/map_side.py``
    append_pairs         themselves: a function of Python's would cost more than it saves
    add_from             the same, where map yields its pairs, or they have to be combined
    append_from

The last four take in pairs, those of a list that map gave for a record or of an iterator, as far
as they are plain: exact tuples of two, their keys str, bytes, int, or tuples of these, their
values, where they are added up, ints. What else there may be, they leave to the loops that are
there without them, from the first such pair on. So there is one place where pairs are judged, and
errors told.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

try:
    if os.environ.get("MAP_REDUCE_COMPILED") == "0":
        raise ImportError("MAP_REDUCE_COMPILED is 0")
    from map_reduce import _kernel
except ImportError:
    COMPILED = False
else:
    COMPILED = True


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


count_line_ends: Callable[[bytes | bytearray, int, int], int]
lines_of: Callable[[bytes], list[str]]

AddPairs = Callable[[dict[Any, Any], Any, "int | None"], "int | None"]
"""Adds up ``sums[key] += value`` for the plain pairs that a list begins with, or a number each.
Gives how many they were; None: all."""

AppendPairs = Callable[[dict[Any, list[Any]], Any], "int | None"]
"""The same with ``groups[key].append(value)``."""

AddFrom = Callable[[dict[Any, Any], Iterator[Any], "int | None"], "int | tuple[Any]"]
"""As AddPairs, up to the first pair that is not plain, which it gives in a tuple, or to the end of
the iterator: then how many there were."""

AppendFrom = Callable[[dict[Any, list[Any]], Iterator[Any]], "int | tuple[Any]"]

add_pairs: AddPairs | None
append_pairs: AppendPairs | None
add_from: AddFrom | None
append_from: AppendFrom | None

if COMPILED:
    count_line_ends, lines_of = _kernel.count_line_ends, _kernel.lines_of
    add_pairs, append_pairs = _kernel.add_pairs, _kernel.append_pairs
    add_from, append_from = _kernel.add_from, _kernel.append_from
else:
    count_line_ends, lines_of = python_count_line_ends, python_lines_of
    add_pairs = append_pairs = add_from = append_from = None
