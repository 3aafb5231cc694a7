"""Where the output of a map task goes: to a file, or, while it is small, into memory.

To make a file, move it and delete it takes longer than a small task does.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

SMALL_BYTES_MAX = 64 << 10
"""An output of no more bytes is small."""


class MapOutputWriter:
    """Takes the segments, one after another.

    Args:
        path: of the file.
        small: takes a small output, in place of the file; whatever is in it goes. None: there is
            always a file.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, small: bytearray | None) -> None:
        self._path = path
        self._small = small
        self._file: BinaryIO | None = None
        if small is None:
            self._open()
        else:
            small.clear()

    def write(self, data: bytes) -> None:
        """Append. Raises OSError."""
        if self._file is None:
            assert self._small is not None
            if len(self._small) + len(data) <= SMALL_BYTES_MAX:
                self._small += data
                return
            self._open().write(self._small)
            self._small.clear()
        assert self._file is not None
        self._file.write(data)

    def finish(self) -> Path | None:
        """The file, which is complete; None where the output is small. Raises OSError."""
        if self._file is None:
            return None
        self._file.close()
        return self._path

    def close(self) -> None:
        """Close the file, whatever has happened; harmless after :meth:`finish`."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> BinaryIO:
        self._file = open(self._path, "wb")  # noqa: SIM115  closed by close()
        return self._file
