"""A node's data folder is its own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from map_reduce.errors import ConfigError
from map_reduce.storage.data_folder import make_private


def test_a_folder_that_is_made_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    make_private(folder)  # and is there when the node comes back


def test_a_folder_that_anybody_may_write_to_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match=f"chmod o-w {folder}"):
        make_private(folder)
    folder.chmod(0o775)  # as a volume of Kubernetes has it
    make_private(folder)


def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = tmp_path.stat().st_uid or os.geteuid() + 1
    if owner != tmp_path.stat().st_uid:
        os.chown(tmp_path, owner, -1)  # we are root, whose folders anybody may be given
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ConfigError, match=f"belongs to user {owner}, and this node runs as user"):
        make_private(tmp_path)


def test_what_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"cannot keep data in {tmp_path / 'file' / 'data'}"):
        make_private(tmp_path / "file" / "data")
