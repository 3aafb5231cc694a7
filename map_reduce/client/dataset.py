"""An input that is stored once in the ring and read by any number of jobs.

A dataset is a job without any input, and its blocks are its own: so they are kept, copied and
deleted as everything of a job is, whichever node dies. Each block is one split, in order.
"""

from __future__ import annotations

from typing import Any

from map_reduce.client.inputs import InRing, RingInput, Source
from map_reduce.core.messages import Split, size_bytes_of
from map_reduce.errors import JobError


class Dataset(InRing):
    """What :meth:`ServerInterface.dataset` returns; pass it to ``startup`` in place of the data.

    A ``with`` block releases it at its end. It is deleted when it is released and no job reads it
    any more, at the latest when its time is up.

    Attributes:
        id: of the job that it is stored for, in ``map-reduce jobs``.
        size_bytes: of its blocks, in one copy.
    """

    def __init__(self, job: InRing, job_id: str, splits: tuple[Split, ...]) -> None:
        super().__init__()
        self.id = job_id
        self.size_bytes = sum(map(size_bytes_of, splits))
        self._job = job
        self._splits = splits
        self._deleted = False

    def __repr__(self) -> str:
        return f"<Dataset {self.id}, {len(self._splits)} blocks, {self.size_bytes:,} bytes>"

    def as_source(self) -> Source:
        """For ``startup``. Raises JobError: it was released."""
        if self._deleted:
            raise JobError(f"dataset {self.id} was released; store it again")
        return RingInput(self._splits)

    def _delete(self) -> None:
        self._deleted = True
        self._job.release()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def no_map(key: Any, value: Any) -> list[Any]:
    """Of the job that a dataset is stored for: it is never called."""
    return []


def no_reduce(key: Any, values: list[Any]) -> None:
    """As :func:`no_map`."""
