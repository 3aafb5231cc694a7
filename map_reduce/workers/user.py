"""Worker processes as another user than their node.

A node that runs as root, as it does in many containers, can give its workers to a user who owns
nothing: then user code can read neither the node's keys and token nor its memory, and end no
process but its own kind. What the two share are files:

    the node's folders   open to the group of that user for reading: input blocks, fetched files
    a process's folder   belongs to that user, whose attempts write outputs and notes there
    an output            is moved away first, and believed only if it is a plain file then

The group is taken as that user's own: others in it could read blocks, too.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from map_reduce.errors import ConfigError


class WorkerUser(NamedTuple):
    """Whom worker processes run as."""

    name: str
    uid: int
    gid: int
    home: str

    @classmethod
    def named(cls, name: str) -> WorkerUser | None:
        """The user of that name; None for "", which leaves workers the node's user.

        Raises:
            ConfigError: there is none, or this process may not become another user.
        """
        if not name:
            return None
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise ConfigError(f"worker_user (MR_WORKER_USER): there is no user {name!r}") from None
        if entry.pw_uid == 0:
            raise ConfigError("worker_user (MR_WORKER_USER) must be another user than root")
        if os.geteuid() != 0:
            raise ConfigError(
                f"worker_user (MR_WORKER_USER) is {name!r}, but only a node that runs as root can "
                "run its workers as another user"
            )
        return cls(name, entry.pw_uid, entry.pw_gid, entry.pw_dir)

    @property
    def environment(self) -> dict[str, str]:
        return {"USER": self.name, "LOGNAME": self.name, "HOME": self.home}

    def share(self, through: Iterable[Path], readable: Iterable[Path]) -> None:
        """Let this user pass through folders of the node without seeing what else is there, and
        read others: those themselves, and what is made in them from now on.

        Raises:
            ConfigError: this process's umask would close what is made there again.
        """
        umask = os.umask(0o077)
        os.umask(umask)
        if umask & 0o040:
            raise ConfigError(
                f"the umask {umask:03o} closes files to the group of worker_user {self.name!r}; "
                "start the node with umask 027"
            )
        for folder in through:
            folder.chmod(0o711)
        for folder in readable:
            os.chown(folder, -1, self.gid)
            folder.chmod(0o2750)

    def give(self, folder: Path) -> None:
        """Make over the folder of a process."""
        os.chown(folder, self.uid, self.gid)

    def take_back(self, path: Path) -> None:
        """Own what an attempt has made, once it is where its process cannot move it.

        Raises:
            OSError: it is no plain file, so a trick.
        """
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != self.uid:
            path.unlink()
            raise OSError(f"the output {path.name} is not a file of user {self.name}")
        os.chown(path, 0, self.gid)
        path.chmod(0o640)
