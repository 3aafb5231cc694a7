"""Nodes that are all started by the same command, as containers of one service are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from map_reduce.client.server_interface import ServerInterface

COMMAND = [sys.executable, "-m", "map_reduce"]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Alike:
    """Nodes at fixed ports, each told the addresses of all, and with a data folder."""

    def __init__(self, count: int, folder: Path) -> None:
        self.addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        self.environ = {
            **os.environ,
            "MR_CLUSTER_ID": "alike",
            "MAP_REDUCE_CLUSTER_FILE": str(folder / "cluster.json"),
            "TMPDIR": str(folder),  # what is left of killed nodes goes with it
        }
        self._folder = folder
        self._nodes: list[subprocess.Popen[bytes]] = []

    def start(self, *numbers: int) -> None:
        joins = [flag for address in self.addresses for flag in ("--join", address)]
        for number in numbers:
            port = self.addresses[number].rpartition(":")[2]
            data = ["--data-folder", str(self._folder / str(number))]
            command = [*COMMAND, "node", "--port", port, "--slots", "1", *data, "--found", *joins]
            self._nodes.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=self.environ,
                )
            )

    def kill_all(self) -> None:
        while self._nodes:
            node = self._nodes.pop()
            node.send_signal(signal.SIGKILL)
            node.wait()

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=110,
            check=False,
        )

    def await_ring_of(self, count: int) -> None:
        done = self.call("use", *self.addresses, "--nodes", str(count))
        assert done.returncode == 0, done.stderr
        assert f"finds the ring of {count}" in done.stdout


@pytest.fixture
def alike(tmp_path: Path) -> Iterator[Alike]:
    nodes = Alike(3, tmp_path)
    yield nodes
    nodes.kill_all()


def test_nodes_started_at_once_are_one_ring_and_again_with_their_results_after_all_have_died(
    alike: Alike,
) -> None:
    alike.start(2, 1, 0)
    alike.await_ring_of(3)
    pinged = alike.call("ping", "--address", alike.addresses[1])
    assert pinged.returncode == 0, pinged.stderr
    assert "is in its ring, with 2 successors" in pinged.stdout
    assert '"cluster_id": "alike"' in alike.call("status", "--json").stdout
    with ServerInterface(alike.addresses[0], quiet=True) as server:
        job = server.startup(
            [1, 2, 3], lambda n, item: [("all", item)], lambda key, items: sum(items)
        )
        never = threading.Event()
        while job.state != "done":  # its results are not fetched, as that would release it
            never.wait(0.05)

    alike.kill_all()
    assert alike.call("ping", "--address", alike.addresses[1]).returncode == 1
    alike.start(1, 2)  # not the one that began the ring
    alike.await_ring_of(2)
    with ServerInterface(alike.addresses[1], quiet=True) as server:
        assert server.attach(job.id).result(60) == {"all": 6}

    forgotten = alike.call("use", "--forget")
    assert "forgot the cluster alike" in forgotten.stdout
    assert "no cluster is known" in alike.call("status").stderr
