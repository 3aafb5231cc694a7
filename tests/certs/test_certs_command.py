"""The command ``map-reduce certs``: what it makes, refuses, and says."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from map_reduce.certs.folders import issue_to
from map_reduce.cli import main
from map_reduce.core.roles import Role
from map_reduce.errors import ConfigError
from map_reduce.transport.credentials import Certificates

Run = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "map-reduce" / "certs"


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``map-reduce certs …``; what it printed, on whichever stream."""

    def certs(*arguments: str, status: int = 0) -> str:
        assert main(["certs", *arguments]) == status
        return "".join(capsys.readouterr())

    return certs


def test_from_nothing_to_a_node_and_a_client(run: Run, folder: Path) -> None:
    assert "map-reduce certs issue NODE --host ADDRESS" in run("init")
    said = run("issue", "n1", "--host", "10.0.0.5", "--host", "node1.example.org")
    assert f"copy {folder / 'n1'}" in said
    assert "MR_CERTS_FOLDER" in said
    run("issue", "--client", "bob")
    node, client = (Certificates(folder / name).loaded.own for name in ("n1", "bob"))
    assert (node.role, node.hosts) == (Role.NODE, {"10.0.0.5", "node1.example.org"})
    assert (client.role, client.hosts) == (Role.CLIENT, frozenset())
    shown = run("show").splitlines()
    assert len(shown) == 3
    assert "authority" in shown[0]
    assert "client bob, until" in shown[1]
    assert "node n1 at 10.0.0.5, node1.example.org, until" in shown[2]


def test_a_node_may_be_anywhere_in_a_network(run: Run, folder: Path) -> None:
    run("init")
    run("issue", "nodes", "--network", "10.0.0.0/30", "--host", "node")
    own = Certificates(folder / "nodes").loaded.own
    assert own.hosts == {"10.0.0.1", "10.0.0.2", "node"}


def test_all_is_closed_to_other_users(run: Run, folder: Path) -> None:
    run("init")
    run("issue", "n1", "--host", "::1")
    for path in (folder, *folder.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_nothing_is_overwritten(run: Run, folder: Path) -> None:
    run("init")
    run("issue", "n1", "--host", "::1")
    before = {path: path.read_bytes() for path in folder.rglob("*.pem")}
    assert "holds an authority already" in run("init", status=2)
    assert "is there already; pass --renew" in run("issue", "n1", "--host", "::1", status=2)
    assert "is there already" in run("issue", "--client", "n1", status=2)
    assert {path: path.read_bytes() for path in folder.rglob("*.pem")} == before


def test_renewing_keeps_what_it_is_for(run: Run, folder: Path) -> None:
    run("init")
    run("issue", "n1", "--host", "10.0.0.5", "--days", "1")
    before = Certificates(folder / "n1").loaded
    run("issue", "n1", "--renew")
    after = Certificates(folder / "n1").loaded
    assert after.own == before.own
    assert after.expires_at_s > before.expires_at_s
    run("issue", "n1", "--renew", "--host", "10.0.0.6")
    assert Certificates(folder / "n1").loaded.own.hosts == {"10.0.0.6"}
    assert "there is no" in run("issue", "n2", "--renew", status=2)


def test_rolling_over(run: Run, folder: Path) -> None:
    run("init")
    run("issue", "n1", "--host", "::1")
    assert str(folder / "n1") in run("roll-over")
    assert "a roll-over has begun" in run("roll-over", status=2)
    Certificates(folder / "n1")  # of the old authority, which is still trusted
    run("issue", "n2", "--host", "::1")
    assert len(run("show").splitlines()) == 4
    run("roll-over", "--finish")
    Certificates(folder / "n2")
    with pytest.raises(ConfigError, match="not in authorities"):
        Certificates(folder / "n1")
    assert "n1: " in run("show")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["issue", "n1", "--host", "*.example.org"], "neither an address nor the name of one"),
        (["issue", "n1", "--host", "10.0.0.5:9000"], "without a port"),
        (["issue", "n1", "--host", "ä.example"], "neither an address"),
        (["issue", "n1", "--host", ""], "neither an address"),
        (["issue", "n1"], "--host"),
        (["issue"], "--client NAME"),
        (["issue", "n1", "--client", "bob", "--host", "::1"], "--client NAME"),
        (["issue", "--client", "bob", "--host", "::1"], "listens nowhere"),
        (["issue", "../n1", "--host", "::1"], "is no name"),
        (["issue", "n1", "--host", "::1", "--days", "0"], "--days"),
        (["issue", "n1", "--network", "10.0.0.0/16"], "at most 256 addresses"),
        (["issue", "n1", "--network", "10.0.0.1/24"], "is no network"),
        (["issue", "--client", "bob", "--network", "10.0.0.0/30"], "listens nowhere"),
    ],
)
def test_what_cannot_be_issued(run: Run, folder: Path, arguments: list[str], says: str) -> None:
    run("init")
    assert says in run(*arguments, status=2)
    assert [path for path in folder.iterdir() if path.is_dir()] == []


def test_without_an_authority(run: Run) -> None:
    assert "map-reduce certs init" in run("issue", "n1", "--host", "::1", status=2)
    assert "map-reduce certs init" in run("roll-over", status=2)
    assert "there is no" in run("show", status=2)


def test_an_authority_whose_key_others_may_read_is_not_used(run: Run, folder: Path) -> None:
    run("init")
    (folder / "authority-key.pem").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        issue_to(folder, "n1", Role.NODE, ["::1"], 1)


def test_without_the_package_that_makes_them(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("init")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for name in ("map_reduce.certs.folders", "map_reduce.certs.authority"):
        monkeypatch.delitem(sys.modules, name)
    assert "pip install 'map-reduce[certs]'" in run("issue", "n1", "--host", "::1", status=2)
    assert "authority" in run("show")
