"""What a worker process is not given, and the bounds that it cannot raise."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path
from typing import Any

import pytest
from worker_orders import order, process_pool, run, start

from map_reduce.core.messages import Failed
from map_reduce.workers.confinement import Limits, without_secrets

SECRETS = {
    "MAP_REDUCE_TOKEN_FILE": "/home/a/token",
    "MR_CERTS_FOLDER": "/home/a/certs",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_SESSION_TOKEN": "x",
    "GITHUB_TOKEN": "x",
    "DB_PASSWORD": "x",
    "db_passwd": "x",
    "OPENAI_API_KEY": "x",
    "AUTHTOKEN": "x",
    "X_SECRETS_FILE": "x",
    "MY_APIKEY": "x",
    "SSH_AUTH_SOCK": "/tmp/agent",
    "GOOGLE_APPLICATION_CREDENTIALS": "/home/a/google.json",
    "KUBECONFIG": "/home/a/kube",
}
HARMLESS = {"PATH": "/bin", "HOME": "/home/a", "LANG": "C", "KEYBOARD": "us", "MR_SLOTS": "2"}
HARMLESS |= {"TOKENIZERS_PARALLELISM": "false", "COOKIECUTTER_CONFIG": "x", "SECRETARY": "x"}


def test_what_looks_like_a_secret_is_left_out() -> None:
    assert without_secrets({**SECRETS, **HARMLESS}, frozenset()) == HARMLESS
    wanted = frozenset({"DB_PASSWORD", "GITHUB_TOKEN"})
    kept = without_secrets({**SECRETS, **HARMLESS}, wanted)
    assert kept == {**HARMLESS, "DB_PASSWORD": "x", "GITHUB_TOKEN": "x"}


def _environment(index: int, item: Any) -> Any:
    return [(name, 1) for name in os.environ]


def test_user_code_does_not_see_them(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HARMLESS", "1")
    with process_pool(scratch, variables=frozenset({"GITHUB_TOKEN"})) as pool:
        seen = set(run(pool, _environment, ["x"]))
    assert {"PATH", "HARMLESS", "GITHUB_TOKEN"} <= seen
    assert not (seen & set(SECRETS)) - {"GITHUB_TOKEN"}


def _descriptors(index: int, item: Any) -> Any:
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    for number in os.listdir(folder):
        try:
            yield os.readlink(f"{folder}/{number}").partition(":")[0], int(number)
        except OSError:
            continue  # that of the listing itself


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_user_code_does_not_see_what_its_node_has_open(scratch: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    with (
        open(secret, "rb") as file,
        socket.create_server(("127.0.0.1", 0)) as listener,
        process_pool(scratch) as pool,
    ):
        os.set_inheritable(file.fileno(), True)
        os.set_inheritable(listener.fileno(), True)
        seen = run(pool, _descriptors, ["x"])
    assert str(secret) not in seen
    assert seen["/dev/null"] == [0]
    assert len(seen["socket"]) == 1  # the connection to its node


def _limits(index: int, item: Any) -> Any:
    kinds = (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)
    return [("limits", resource.getrlimit(kind)) for kind in kinds]


def _raise_limits(index: int, item: Any) -> Any:
    resource.setrlimit(resource.RLIMIT_NOFILE, (65, 1 << 20))
    return []


def _write_much(index: int, item: Any) -> Any:
    with open(item, "wb") as file:
        for _ in range(3):
            file.write(bytes(1 << 20))
    return []


def _open_much(index: int, item: Any) -> Any:
    kept = [open(os.devnull) for _ in range(200)]  # noqa: SIM115  the point is to have them open
    return [(len(kept), 1)]


def test_limits_hold_and_an_error_says_which(scratch: Path, tmp_path: Path) -> None:
    with process_pool(scratch, limits=Limits(open_files_max=100, file_mb_max=1)) as pool:
        seen = run(pool, _limits, ["x"])
        assert seen == {"limits": [(0, 0), (100, 100), (1 << 20, 1 << 20)]}
        for function, says in ((_write_much, "File too large"), (_open_much, "Too many open")):
            outcome = start(pool, order(function, [str(tmp_path / "file")])).outcome()
            assert isinstance(outcome, Failed)
            assert says in outcome.failure.message
        assert (tmp_path / "file").stat().st_size == 1 << 20
        assert run(pool, _limits, ["x"]) == seen


@pytest.mark.skipif(os.getuid() == 0, reason="root may raise its limits")
def test_user_code_cannot_raise_its_limits(scratch: Path) -> None:
    with process_pool(scratch, limits=Limits(open_files_max=100)) as pool:
        outcome = start(pool, order(_raise_limits, ["x"])).outcome()
    assert isinstance(outcome, Failed)
