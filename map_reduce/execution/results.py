"""What a reduce task hands over: its results, in parts of bounded size.

    ┌ part ─────────────────────┐┌ part ─────────────────────┐┌ …
    │ pickled ([keys], [values]) ││ pickled ([keys], [values]) ││
    └───────────────────────────┘└───────────────────────────┘└ …

A pickle says where it ends, so the parts just stand one after another, and whoever reads them
(``client/results.py``) holds one at a time. Few results are one part, which travels in the
outcome itself; more go to a file as they are made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from map_reduce.core.digests import new_digest
from map_reduce.core.messages import BlockRef, OutputPart
from map_reduce.errors import ReduceError
from map_reduce.execution.failures import Stopped, shown
from map_reduce.execution.pickles import at_a_time, dump_lists, pickles

INLINE_BYTES_MAX = 64 << 10
"""Results of up to this size travel in the outcome itself."""

PART_RECORDS_MAX = 1 << 16


class ResultWriter:
    """Takes results, and writes them out as they become many.

    Attributes:
        keys, values: results not written yet, ``values[i]`` of ``keys[i]``; to be appended to.
        records: results in all parts that are written.

    Args:
        path: a file to be made where the results are more than ``INLINE_BYTES_MAX``.
    """

    nothing = dump_lists([], [])
    """The bytes of no results."""

    def __init__(self, path: Path) -> None:
        self.keys: list[Any] = []
        self.values: list[Any] = []
        self.records = 0
        self.bytes = 0
        self._path = path
        self._inline = b""
        self._file: BinaryIO | None = None
        self._digest = new_digest()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held that is not written yet."""
        return not self.keys

    def settle(self) -> None:
        """Write out what there is, if it is enough for a part. Raises as :meth:`flush`."""
        if len(self.keys) >= PART_RECORDS_MAX:
            self.flush()

    def flush(self) -> None:
        """Write out what there is.

        Raises:
            Stopped: a result does not pickle; names its key and type.
        """
        keys, values = self.keys, self.values
        first = 0
        while first < len(keys):
            last = first + at_a_time(values, first, PART_RECORDS_MAX)
            self._write(keys[first:last], values[first:last])
            first = last
        self.records += len(keys)
        keys.clear()
        values.clear()

    def _write(self, keys: list[Any], values: list[Any]) -> None:
        try:
            data = self._encoded(keys, values)
        except MemoryError:
            raise
        except Exception as error:  # a user's __reduce__ may raise anything
            raise _unpicklable(keys, values, error) from error
        self._put(data)

    def _put(self, data: bytes) -> None:
        self.bytes += len(data)
        if self._file is None:
            if self.bytes <= INLINE_BYTES_MAX:
                self._inline += data
                return
            self._file = open(self._path, "wb")  # noqa: SIM115  closed by close()
            data, self._inline = self._inline + data, b""
        self._file.write(data)
        self._digest.update(data)

    def _encoded(self, keys: list[Any], values: list[Any]) -> bytes:
        return dump_lists(keys, values, apart=1)

    def finish(self) -> OutputPart:
        """Write the rest. With an unnamed ref where there is a file, as the node is to name it.

        Raises:
            Stopped: as :meth:`flush`.
            OSError: the file cannot be written.
        """
        self.flush()
        if self._file is None:
            inline = self._inline or self.nothing
            self.bytes = len(inline)
            return OutputPart(self.records, inline, None)
        self._file.close()
        return OutputPart(self.records, b"", BlockRef("", self.bytes, self._digest.digest()))

    def close(self) -> None:
        """Close the file, whatever has happened; harmless after :meth:`finish`."""
        if self._file is not None:
            self._file.close()


def _unpicklable(keys: list[Any], values: list[Any], error: Exception) -> Stopped:
    for key, value in zip(keys, values, strict=True):
        if why := pickles(value):
            return Stopped(
                ReduceError,
                f"from reduce, for key {shown(key)}: {shown(value)}",
                f"reduce returned a {type(value).__name__}, which cannot be sent to "
                f"another process ({why}); return plain data, such as a number, a str, "
                "a list or a dict",
                unpicklable=True,
            )
    return Stopped(ReduceError, "from reduce", original=error)
