"""Where this user's programs keep what they want to find again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ADDRESS_VARIABLE = "MAP_REDUCE_ADDRESS"
FILE_VARIABLE = "MAP_REDUCE_CLUSTER_FILE"


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """``map-reduce`` in the user's state folder."""
    state = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "map-reduce"


def cluster_file_path(environ: Mapping[str, str] = os.environ) -> Path:
    """``MAP_REDUCE_CLUSTER_FILE``, else ``map-reduce/cluster.json`` in the user's state folder."""
    if named := environ.get(FILE_VARIABLE):
        return Path(named)
    return state_folder(environ) / "cluster.json"


def may_know_a_cluster(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether it is worth to look for one: there is a variable, or something at the file's path."""
    if environ.get(ADDRESS_VARIABLE):
        return True
    try:
        os.lstat(cluster_file_path(environ))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # whoever reads it will say what is wrong
    return True
