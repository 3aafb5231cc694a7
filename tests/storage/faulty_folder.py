"""A folder in memory that can be full, and that loses in a crash what a disk may lose.

After a crash a file has what it had when it was last synchronised, and of each write since then all
of it, nothing, or some of its bytes. A write within one sector is there or not. Names are as they
were when the folder was last synchronised, or as the renames since then left them, in their order.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

SECTOR_BYTES = 512

Pick = Callable[[int, int], int]
"""A whole number between two, both included: chance, or hypothesis."""


class FaultyFile:
    def __init__(self, folder: FaultyFolder, content: bytes = b"") -> None:
        self._folder = folder
        self.durable = content
        self.content = bytearray(content)
        self.pending: list[tuple[int, bytes]] = []

    def append(self, data: bytes) -> None:
        self.overwrite(len(self.content), data)

    def overwrite(self, offset: int, data: bytes) -> None:
        try:
            self._folder.operate()
        except OSError:
            if not _is_in_one_sector(offset, data):
                self._write(offset, data[: len(data) // 2])  # what there was room for
            raise
        self._write(offset, data)

    def _write(self, offset: int, data: bytes) -> None:
        _put(self.content, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        self._folder.operate()
        self.durable, self.pending = bytes(self.content), []

    def close(self) -> None:
        pass

    def crashed(self, pick: Pick) -> bytes:
        content = bytearray(self.durable)
        for offset, data in self.pending:
            start, end = pick(0, len(data)), pick(0, len(data))
            if _is_in_one_sector(offset, data) or pick(0, 2) == 0:
                start, end = 0, pick(0, 1) * len(data)
            _put(content, offset + start, data[start:end])
        return bytes(content)


class FaultyFolder:
    """See the module's text. After ``operations_max`` operations it is full; writes then fail
    half done."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = {name: FaultyFile(self, data) for name, data in (files or {}).items()}
        self._durable_names = dict(self.files)
        self._renames: list[tuple[str, str]] = []
        self.operations = 0
        self.operations_max: float = float("inf")

    def __str__(self) -> str:
        return "a folder"

    def operate(self) -> None:
        self.operations += 1
        if self.operations > self.operations_max:
            raise OSError(errno.ENOSPC, "No space left on device")

    def read(self, name: str) -> bytes | None:
        return bytes(self.files[name].content) if name in self.files else None

    def create(self, name: str) -> FaultyFile:
        self.operate()
        self.files[name] = FaultyFile(self)
        return self.files[name]

    def rename(self, old: str, new: str) -> None:
        self.operate()
        self.files[new] = self.files.pop(old)
        self._renames.append((new, old))

    def sync(self) -> None:
        self.operate()
        self._durable_names, self._renames = dict(self.files), []

    def close(self) -> None:
        pass

    def crash(self, pick: Pick) -> FaultyFolder:
        """What is there afterwards."""
        names = dict(self._durable_names)
        for new, old in self._renames[: pick(0, len(self._renames))]:
            names[new] = self.files[new]
            names.pop(old, None)
        return FaultyFolder({name: file.crashed(pick) for name, file in names.items()})


def _is_in_one_sector(offset: int, data: bytes) -> bool:
    return offset // SECTOR_BYTES == (offset + len(data) - 1) // SECTOR_BYTES


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if data:
        content.extend(bytes(max(0, offset + len(data) - len(content))))
        content[offset : offset + len(data)] = data
