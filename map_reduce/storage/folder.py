"""A folder in which something is to outlive a crash: the few operations that this takes.

They are what a POSIX file system promises, and no more. What was written to a file is there after a
crash once the file was synchronised; before, any part of it may be, in any order. A name is there
once the folder was synchronised; renaming replaces a name as a whole or not at all.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol

from map_reduce.errors import ConfigError

LOCK_NAME = "owner.lock"


class File(Protocol):
    """A file that is being written. Everything raises OSError where it fails."""

    def append(self, data: bytes) -> None:
        """Write all of it at the end."""

    def overwrite(self, offset: int, data: bytes) -> None:
        """Write all of it elsewhere; within one sector of the disk that is all or nothing."""

    def sync(self) -> None:
        """Return once the disk has what was written before this was called."""

    def close(self) -> None: ...


class Folder(Protocol):
    """Everything raises OSError where it fails."""

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where there is none."""

    def create(self, name: str) -> File:
        """A new empty file, in the place of one that had the name."""

    def rename(self, old: str, new: str) -> None: ...

    def sync(self) -> None:
        """Return once the disk has the names as they were when this was called."""

    def close(self) -> None: ...


def sync_path(path: Path) -> None:
    """Return once the disk has what was written to a file, or what a folder names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class OsFile:
    """A File of the operating system."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._end = 0

    def append(self, data: bytes) -> None:
        self.overwrite(self._end, data)
        self._end += len(data)

    def overwrite(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written

    def sync(self) -> None:
        if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync leaves it in the disk's own cache
            fcntl.fcntl(self._descriptor, fcntl.F_FULLFSYNC)
        elif hasattr(os, "fdatasync"):
            os.fdatasync(self._descriptor)
        else:
            os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class OsFolder:
    """A Folder of the operating system, of which there is one at a time.

    Raises:
        ConfigError: another process, or this one, has it already.
        OSError: it can't be made or written to.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._lock = open(path / LOCK_NAME, "a")  # noqa: SIM115  # held until close
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise ConfigError(
                f"{path} is in use by another node; stop that one, or name another data folder "
                "(MR_DATA_FOLDER)"
            ) from None

    def __str__(self) -> str:
        return str(self._path)

    def read(self, name: str) -> bytes | None:
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def create(self, name: str) -> OsFile:
        return OsFile(self._path / name)

    def rename(self, old: str, new: str) -> None:
        (self._path / old).replace(self._path / new)

    def sync(self) -> None:
        sync_path(self._path)

    def close(self) -> None:
        self._lock.close()
