"""The folder that a node keeps its data in: nobody else may write to it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from map_reduce.errors import ConfigError


def make_private(folder: Path) -> None:
    """Make it, closed to others; one that is there already may be read by others.

    A group may write to it, since volumes of containers are handed out so. Whoever else may would
    decide what this node serves as its blocks and records.

    Raises:
        ConfigError: it can't be made, belongs to a user who is neither this one nor root, or
            anybody may write to it; says what to do.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
    except OSError as error:
        raise ConfigError(f"cannot keep data in {folder}: {error.strerror}") from error
    me = os.geteuid()
    if me and found.st_uid not in (0, me):  # whom root is given a folder of, root trusts
        raise ConfigError(
            f"cannot keep data in {folder}: it belongs to user {found.st_uid}, and this node runs "
            f"as user {me}; chown it, or name another data folder (MR_DATA_FOLDER)"
        )
    if found.st_mode & stat.S_IWOTH:
        raise ConfigError(
            f"cannot keep data in {folder}: anybody on this machine may write to it; run "
            f"chmod o-w {folder}"
        )
