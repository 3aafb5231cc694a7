"""Temporary folders, and those of processes that were killed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from map_reduce.server import scratch as scratch_module
from map_reduce.server.scratch import PREFIX, Scratch


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_it_is_there_until_it_is_closed(temporary):
    scratch = Scratch()
    folder = scratch.folder("blocks")
    (folder / "x").write_text("x")
    assert folder.parent.parent == temporary
    scratch.close()
    assert list(temporary.iterdir()) == []


def test_a_living_nodes_folder_is_left_alone(temporary):
    one = Scratch()
    two = Scratch()
    assert one.path.exists()
    one.close()
    two.close()


def test_the_folder_of_a_killed_process_is_removed_by_the_next(temporary):
    code = (
        "import os, signal; from map_reduce.server.scratch import Scratch;"
        "Scratch().folder('blocks'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environ = {"TMPDIR": str(temporary), "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environ, check=False)
    (abandoned,) = temporary.iterdir()
    assert abandoned.name.startswith(PREFIX)
    scratch = Scratch()
    assert list(temporary.iterdir()) == [scratch.path]
    scratch.close()


def test_a_folder_is_never_seen_without_its_lock(temporary, monkeypatch):
    looked = []
    lock = scratch_module.fcntl.flock

    def look_and_lock(file, how):
        if how == scratch_module.fcntl.LOCK_EX:  # a new folder's own lock, not a sweep's
            looked.append([path.name.startswith(PREFIX) for path in temporary.iterdir()])
        lock(file, how)

    monkeypatch.setattr(scratch_module.fcntl, "flock", look_and_lock)
    Scratch().close()
    assert looked == [[False]]


def test_folders_of_others_are_not_touched(temporary):
    (temporary / f"{PREFIX}without-a-lock").mkdir()
    (temporary / "something-else").mkdir()
    Scratch().close()
    assert len(list(temporary.iterdir())) == 2
