"""The temporary folder of a node, and what to do about those of nodes that were killed.

A node keeps a lock on a file in its folder while it lives. A folder whose lock nobody holds
belonged to a process that had no time to clean up; whoever makes a folder next removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "map-reduce-"
MAKING_PREFIX = ".making-map-reduce-"
LOCK_NAME = "owner.lock"


class Scratch:
    """A new temporary folder, deleted by :meth:`close`."""

    def __init__(self) -> None:
        remove_abandoned()
        self._owner_pid = os.getpid()
        made = Path(tempfile.mkdtemp(prefix=MAKING_PREFIX))
        self._lock = open(made / LOCK_NAME, "w")  # noqa: SIM115  # held while the node lives
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Only now under a name at which others would look, and find no lock.
        self.path = made.rename(made.with_name(PREFIX + made.name.removeprefix(MAKING_PREFIX)))

    def folder(self, name: str) -> Path:
        """A subfolder, made if missing."""
        path = self.path / name
        path.mkdir(exist_ok=True)
        return path

    def close(self) -> None:
        if os.getpid() != self._owner_pid:
            return  # a fork has the object, not the folder
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def remove_abandoned() -> None:
    """Delete this user's scratch folders whose owner is gone."""
    for folder in Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        # Anything may vanish, or belong to another user, while we look at it.
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with open(folder / LOCK_NAME, "r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
