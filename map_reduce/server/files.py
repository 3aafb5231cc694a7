"""Whether this node sees the files that a client means."""

from __future__ import annotations

import os
from pathlib import Path

from map_reduce.core.messages import FileStamp


def sees(stamp: FileStamp) -> bool:
    """Whether this node's file of that path is the very same file."""
    try:
        here = Path(stamp.path).stat()
    except OSError:
        return False
    return (here.st_dev, here.st_ino, here.st_size, here.st_mtime_ns) == (
        stamp.device,
        stamp.inode,
        stamp.size,
        stamp.mtime_ns,
    ) and os.access(stamp.path, os.R_OK)
