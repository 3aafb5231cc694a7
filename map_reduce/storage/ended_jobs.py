"""The jobs that a node was told to delete, as lines of a file in its data folder.

A line is written and synchronised before the node says that it has heard. A last line that was not
written completely is left out, and so is what is older than such a memory lasts.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from map_reduce.core.messages import EndedJob
from map_reduce.core.repair.deletions import KEPT_S
from map_reduce.errors import ConfigError
from map_reduce.storage.folder import sync_path

NAME = "ended-jobs.jsonl"


class _Line(msgspec.Struct, frozen=True):
    at_s: float  # seconds since 1970
    job: EndedJob


class DiskEndedJobs:
    """EndedJobs in a data folder, which is made if it is missing.

    Args:
        wall_s: seconds since 1970. Where the clock was set back, what seems to come from the
            future counts as of now.

    Raises:
        ConfigError: the folder can't be made, read or written to.
    """

    def __init__(self, folder: Path, *, wall_s: Callable[[], float] = time.time) -> None:
        self._path = folder / NAME
        self._wall_s = wall_s
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lines = self._read()
            self._write_anew()
        except OSError as error:
            raise ConfigError(f"cannot keep {self._path}: {error.strerror}") from error

    def known(self) -> tuple[tuple[EndedJob, float], ...]:
        now_s = self._wall_s()
        return tuple((line.job, max(0.0, now_s - line.at_s)) for line in self._lines)

    def add(self, job: EndedJob) -> None:
        line = _encoded(_Line(self._wall_s(), job))
        with self._lock, open(self._path, "ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> list[_Line]:
        if not self._path.exists():
            return []
        oldest_s = self._wall_s() - KEPT_S
        found = []
        for text in self._path.read_bytes().splitlines():
            try:
                line = msgspec.json.decode(text, type=_Line)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue  # torn, or damaged: then this one deletion is not known
            if line.at_s >= oldest_s:
                found.append(line)
        return found

    def _write_anew(self) -> None:
        """Without what is old or torn, so that what is added begins a line."""
        new = self._path.with_suffix(".new")
        new.write_bytes(b"".join(map(_encoded, self._lines)))
        sync_path(new)
        new.replace(self._path)
        sync_path(self._path.parent)


def _encoded(line: _Line) -> bytes:
    return msgspec.json.encode(line) + b"\n"
