"""Every attack that worked on Pyro4 as it comes, on a live ring, while a job runs on it."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from attacks import ATTACKS
from certificate_folders import FOREIGN_AUTHORITY, make_folder

from map_reduce.client import shipping
from map_reduce.client.server_interface import ServerInterface
from map_reduce.core.identifiers import Address
from map_reduce.core.messages import GetPiece, NoBlock, Request
from map_reduce.core.roles import Role
from map_reduce.server.local_cluster import LocalCluster
from map_reduce.server.trust import credentials
from map_reduce.transport.pyro import PyroTransport

TESTS = Path(__file__).parents[1]
WAIT_S = 60.0
MEMORY_MB_MAX = 150  # more than before, of a node: 320 connections, most with a thread and TLS
ITEMS = 200
TASK_S = 0.02


def slow(number: int, item: int) -> list[tuple[int, int]]:
    threading.Event().wait(TASK_S)  # as if it computed
    return [(item % 7, item)]


def total(key: int, values: list[int]) -> int:
    return sum(values)


EXPECTED = {key: sum(range(key, ITEMS, 7)) for key in range(7)}


@contextlib.contextmanager
def attackers(addresses: list[Address], marker: Path, certs: Path) -> Iterator[dict[str, int]]:
    """Attack from another process, another user's where that can be; how often, at the end."""
    command = [sys.executable, str(TESTS / "attacks.py"), str(marker), *map(str, addresses)]
    with subprocess.Popen(
        [*command, "--certs", str(certs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MAP_REDUCE_TOKEN_FILE": ""},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"attacking\n"
        made: dict[str, int] = {}
        try:
            yield made
        finally:
            output, _ = process.communicate(b"", WAIT_S)
            made.update(json.loads(output))


def ports_of(address: Address) -> list[Address]:
    """Of the control and of the bulk daemon, which a scan would find."""
    with contextlib.closing(PyroTransport(credentials())) as transport:
        reply = transport.call(address, Request("", None, GetPiece("x", 0, 1)), WAIT_S)
        assert isinstance(reply, NoBlock)
        plane = transport._pool.bulk_plane(address)
    assert plane is not None
    return [address, plane.at(address)]


def memory_mb(cluster: LocalCluster) -> list[float]:
    return [psutil.Process(n.process.pid).memory_info().rss / (1 << 20) for n in cluster.nodes]


@pytest.mark.parametrize("proof", ["token", "certificates"])
def test_a_job_is_right_whatever_strangers_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proof: str
) -> None:
    trap, marker = tmp_path / "trap", tmp_path / "marker"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS / "trap"), *sys.path]))
    monkeypatch.setenv("MAP_REDUCE_TRAP", str(trap))
    foreign = make_folder(tmp_path / "eve", Role.CLIENT, authority=FOREIGN_AUTHORITY)
    if proof == "certificates":
        monkeypatch.setenv("MR_CERTS_FOLDER", str(make_folder(tmp_path / "n1")))
    with LocalCluster(3, slots=1) as cluster:
        ports = [port for node in cluster.nodes for port in ports_of(node.address)]
        before = memory_mb(cluster)
        with attackers(ports, marker, foreign) as made:
            with ServerInterface(str(cluster.nodes[1].address), quiet=True) as server:
                assert server.startup(list(range(ITEMS)), slow, total).result(WAIT_S) == EXPECTED
            after = memory_mb(cluster)
        assert len(cluster.running()) == 3
        for grown in (there - here for here, there in zip(before, after, strict=True)):
            assert grown < MEMORY_MB_MAX
    assert not marker.exists()
    assert not trap.exists(), trap.read_text()
    assert set(made) == {attack.__name__ for attack in ATTACKS}


def test_the_trap_is_one(tmp_path: Path) -> None:
    """Not only silent because it was never set."""
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS / "trap"), *sys.path]),
        "MAP_REDUCE_TRAP": str(tmp_path / "trap"),
    }
    code = "import pickle, marshal, zlib; pickle.loads(pickle.dumps(1)); marshal.loads(b'N')"
    subprocess.run([sys.executable, "-c", code, "node"], env=environ, check=True, timeout=WAIT_S)
    assert (tmp_path / "trap").read_text() == "__main__: loads\n" * 2


def test_a_client_unpickles_results_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    class Watched(shipping._Unpickler):
        def load(self) -> object:
            opened.append(sys._getframe(2).f_globals["__name__"])
            return super().load()

    def never(*args: object, **kwargs: object) -> object:
        raise AssertionError("something is unpickled where nothing should be")

    monkeypatch.setattr(shipping, "_Unpickler", Watched)
    for name in ("load", "loads"):
        monkeypatch.setattr(pickle, name, never)
    with (
        LocalCluster(1, slots=1) as cluster,
        ServerInterface(str(cluster.nodes[0].address), quiet=True) as server,
    ):
        job = server.startup(list(range(ITEMS // 10)), slow, total)
        job.progress  # noqa: B018  it asks the master
        assert opened == []
        assert job.result(WAIT_S)[0] == sum(range(0, ITEMS // 10, 7))
    assert set(opened) == {"map_reduce.client.results"}
