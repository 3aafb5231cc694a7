"""Reading results: part by part, so that no more than one is held.

What a reduce task hands over is one pickled ([keys], [values]) after another (see
``execution/results.py``), inline in the job's status where it is small, else in a block. A block is
brought into a file first, where its digest is checked; so what is given out is undamaged.
"""

from __future__ import annotations

import contextlib
import gc
import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from map_reduce.client.shipping import unpickle_next
from map_reduce.core.messages import JobStatus, OutputPart, PartItems
from map_reduce.errors import UserCodeError
from map_reduce.server.access import Access

INLINE_BYTES_MAX = 64 << 10
"""Of small parts that make one split."""

Pairs = list[tuple[Any, Any]]
Lists = tuple[list[Any], list[Any]]
"""Keys, and the result of each."""


def lists_of(part: OutputPart, access: Access, job_id: str) -> Iterator[Lists]:
    """One task's results, some tens of thousands at a time at most.

    Raises:
        UserCodeError: they do not unpickle in this process.
        ClusterError: no node that answers has them.
    """
    if part.ref is None:
        yield from _lists(io.BytesIO(part.inline), job_id)
        return
    with tempfile.TemporaryDirectory(prefix="map-reduce-results-") as folder:
        path = access.blocks.fetch(part.ref, Path(folder) / "part")
        with open(path, "rb") as file:
            yield from _lists(file, job_id)


def pieces_of(part: OutputPart, access: Access, job_id: str) -> Iterator[Pairs]:
    """The same as (key, value) pairs. Raises as :func:`lists_of`."""
    for keys, values in lists_of(part, access, job_id):
        yield list(zip(keys, values, strict=True))


def dict_of(parts: Iterable[OutputPart], access: Access, job_id: str) -> dict[Any, Any]:
    """All parts, in order. Raises as :func:`lists_of`."""
    results: dict[Any, Any] = {}
    for part in parts:
        for keys, values in lists_of(part, access, job_id):
            results.update(zip(keys, values, strict=True))
    return results


def form_of(status: JobStatus) -> str:
    """In which format the tasks of an ended job have written its results; "": they are pairs."""
    return status.parts[0].form if status.parts else ""


def splits_of(parts: Iterable[OutputPart]) -> tuple[PartItems, ...]:
    """The parts as the input of another job, in order: a split for each block, and one for
    neighbours that are small enough to travel with the job."""
    splits: list[PartItems] = []
    for part in parts:
        last = splits[-1] if splits else None
        inline = part.inline if last is None else last.inline + part.inline
        joins = last is not None and last.ref is None and part.ref is None
        if last is not None and joins and len(inline) <= INLINE_BYTES_MAX:
            splits[-1] = PartItems(inline, None, last.count + part.records)
        elif part.records:
            splits.append(PartItems(part.inline, part.ref, part.records))
    return tuple(splits)


def _lists(file: BinaryIO, job_id: str) -> Iterator[Lists]:
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    while file.tell() < end:
        try:
            with _not_collecting():
                keys, values = unpickle_next(file)
        except Exception as error:  # whatever a user's class does when it is unpickled
            raise UserCodeError(
                f"the results of job {job_id} cannot be unpickled here: "
                f"{type(error).__name__}: {error}"
            ) from error
        yield keys, values


@contextlib.contextmanager
def _not_collecting() -> Iterator[None]:
    """No garbage collection while a few megabytes are unpickled: all that is made is kept, and to
    look through it time and again takes several times as long as to make it."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
