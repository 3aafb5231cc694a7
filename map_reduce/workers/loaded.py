"""Loaded user functions, kept in a worker process from one task of a job to the next."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from map_reduce.core.messages import StartAttempt
from map_reduce.execution.attempt import LoadedFunctions, load_functions

JOBS_MAX = 8
"""Jobs whose functions are kept; the one that was not needed for longest goes first."""


class _Entry(NamedTuple):
    digest: bytes
    functions: LoadedFunctions


class LoadedByJob:
    """The functions of the jobs that this process works for.

    Two jobs never share loaded functions, though their pickles be equal: what one leaves in
    their globals is not for the other to see.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def get(self, order: StartAttempt, pickled: Path | None) -> LoadedFunctions:
        """The functions that the order needs; ``pickled`` is their file, None where inline.

        Raises:
            FunctionError: they do not unpickle.
            OSError: the file cannot be read.
        """
        job_id, wanted = order.attempt.job_id, order.functions
        entry = self._entries.get(job_id)
        if entry is None or entry.digest != wanted.digest:
            data = wanted.inline if pickled is None else pickled.read_bytes()
            entry = _Entry(wanted.digest, load_functions(data))
            self._entries[job_id] = entry
        self._entries.move_to_end(job_id)
        while len(self._entries) > JOBS_MAX:
            self._entries.popitem(last=False)
        return entry.functions

    def forget(self, job_id: str) -> None:
        """Unload the functions of a job that has ended."""
        self._entries.pop(job_id, None)
