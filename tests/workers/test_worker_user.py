"""Worker processes as another user than their node, where that is root."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from worker_orders import order, process_pool, run, start

from map_reduce.core.messages import MapOutput
from map_reduce.errors import ConfigError
from map_reduce.server.configs import ClusterConfig, NodeConfig
from map_reduce.server.embedded import embed
from map_reduce.workers.notes import read_note
from map_reduce.workers.user import WorkerUser

NOBODY = pwd.getpwuid(65534).pw_name if os.getuid() == 0 else ""

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs to become another user")


def nobody_can_run_python() -> bool:
    if os.getuid() != 0:
        return False
    command = [sys.executable, "-c", "import map_reduce.workers.process"]
    with contextlib.suppress(PermissionError):
        return subprocess.run(command, user=NOBODY, group=65534, extra_groups=[]).returncode == 0
    return False


needs_python = pytest.mark.skipif(
    not nobody_can_run_python(), reason="needs root, and a Python that another user can run"
)


@pytest.fixture
def nobody(tmp_path: Path) -> WorkerUser:
    for folder in (tmp_path, *tmp_path.parents, Path(tempfile.gettempdir())):
        if "pytest" in str(folder):  # pytest's own, which it closes to others
            folder.chmod(0o711)
    user = WorkerUser.named(NOBODY)
    assert user is not None
    return user


@needs_root
def test_who_it_may_be() -> None:
    assert WorkerUser.named("") is None
    with pytest.raises(ConfigError, match="no user 'nobody-of-that-name'"):
        WorkerUser.named("nobody-of-that-name")
    with pytest.raises(ConfigError, match="another user than root"):
        WorkerUser.named("root")


@pytest.mark.skipif(os.getuid() == 0, reason="root may")
def test_only_root_can_change_the_user() -> None:
    with pytest.raises(ConfigError, match="runs as root"):
        WorkerUser.named("nobody")


@needs_root
def test_folders_are_shared_and_nothing_else(tmp_path: Path, nobody: WorkerUser) -> None:
    through, readable = tmp_path / "through", tmp_path / "readable"
    through.mkdir()
    readable.mkdir()
    nobody.share([through], [readable])
    assert stat.S_IMODE(through.stat().st_mode) == 0o711
    (readable / "file").write_text("x")
    assert (readable / "file").stat().st_gid == readable.stat().st_gid == nobody.gid
    before = os.umask(0o077)
    try:
        with pytest.raises(ConfigError, match=r"umask 077.*umask 027"):
            nobody.share([], [])
    finally:
        os.umask(before)


@needs_root
@pytest.mark.parametrize("trick", ["link", "hard link", "folder", "root's"])
def test_an_output_that_leads_elsewhere_is_not_taken(
    tmp_path: Path, nobody: WorkerUser, trick: str
) -> None:
    secret, output = tmp_path / "secret", tmp_path / "output"
    secret.write_text("x")
    if trick == "link":
        output.symlink_to(secret)
    elif trick == "hard link":
        os.link(secret, output)
    elif trick == "folder":
        output.mkdir()
    else:
        output.write_text("x")
    with pytest.raises(OSError):  # noqa: PT011  whichever way it is none
        nobody.take_back(output)
    assert secret.read_text() == "x"
    assert secret.stat().st_uid == 0


@needs_root
def test_an_output_is_its_nodes_then(tmp_path: Path, nobody: WorkerUser) -> None:
    output = tmp_path / "output"
    output.write_text("x")
    os.chown(output, nobody.uid, nobody.gid)
    nobody.take_back(output)
    status = output.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, nobody.gid, 0o640)


@pytest.mark.parametrize("trick", ["link", "pipe", "folder", "long"])
def test_a_note_that_leads_elsewhere_is_not_read(tmp_path: Path, trick: str) -> None:
    note = tmp_path / "note"
    if trick == "link":
        (tmp_path / "other").write_bytes(b"\1" + bytes(4096))
        note.symlink_to(tmp_path / "other")
    elif trick == "pipe":
        os.mkfifo(note)
    elif trick == "folder":
        note.mkdir()
    else:
        note.write_bytes(b"\1" + bytes(10_000))
    assert read_note(note) == ""


def _who(index: int, item: Any) -> Any:
    yield "ids", (os.getuid(), os.geteuid(), os.getgid(), tuple(os.getgroups()))
    yield "home", os.environ["HOME"]
    for path in item:
        try:
            yield "read", open(path).read()  # noqa: SIM115
        except OSError as error:
            yield "read", type(error).__name__


@needs_python
def test_user_code_is_another_user(scratch: Path, tmp_path: Path, nobody: WorkerUser) -> None:
    key, split = tmp_path / "key.pem", tmp_path / "blocks" / "split"
    key.write_text("secret")
    key.chmod(0o600)
    split.parent.mkdir()
    nobody.share([scratch], [split.parent])
    split.write_text("input")
    with process_pool(scratch, user=nobody) as pool:
        seen = run(pool, _who, [[str(key), str(split)]])
        assert seen["ids"] == [(nobody.uid, nobody.uid, nobody.gid, ())]
        assert seen["home"] == [nobody.home]
        assert seen["read"] == ["PermissionError", "input"]
        large = "x" * (1 << 20)  # a small output is no file
        started = start(pool, order(lambda index, item: [(item, large)], [1], phase="map"))
        outcome, path = started.next()
        assert isinstance(outcome, MapOutput), outcome
        assert path is not None
        assert path.stat().st_uid == 0
        path.unlink()


@needs_python
def test_a_node_whose_workers_are_another_user(tmp_path: Path, nobody: WorkerUser) -> None:
    """A whole job, with input and map outputs in files."""
    from map_reduce.client.server_interface import ServerInterface

    config = NodeConfig(
        slots=2, worker_user=NOBODY, data_folder=tmp_path / "data", memory_blocks_mb_max=0
    )
    with ServerInterface(slots=1, quiet=True) as server:
        server._access.close()
        server._access = embed(ClusterConfig(), config)
        text = ["a b a" * 50_000, "b"]
        job = server.startup(text, lambda n, t: [(w, 1) for w in t.split()], lambda k, v: sum(v))
        assert job.result(60)["b"] == 50_001
