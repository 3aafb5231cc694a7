"""Clusters of real containers, started by the scripts that users start them with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKER = os.environ.get("DOCKER", "docker")
IMAGE = "map-reduce-test/node"
NETWORK = "map-reduce-test"


def docker(*arguments: str, check: bool = True) -> str:
    """What the client prints."""
    done = subprocess.run(
        [DOCKER, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()


def has_engine() -> bool:
    if shutil.which(DOCKER) is None:
        return False
    done = subprocess.run([DOCKER, "version"], capture_output=True, timeout=30, check=False)
    return done.returncode == 0


class Cluster:
    """A cluster by ``scripts/batch_run``, with its state in a folder of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.environ = {
            **os.environ,
            "XDG_STATE_HOME": str(folder),
            "MR_IMAGE": IMAGE,
            "MR_NETWORK": NETWORK,
            "VENV": os.environ.get("VENV", ".venv"),
        }
        self.certs = folder / "map-reduce" / "containers" / name / "client"
        self.file = folder / "map-reduce" / "cluster.json"

    def script(self, script: str, *arguments: str, check: bool = True) -> str:
        """What a script prints, on either stream."""
        done = subprocess.run(
            [str(ROOT / "scripts" / script), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environ,
            cwd=ROOT,
            timeout=300,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{script} {' '.join(arguments)}: {done.stdout}")
        return done.stdout

    def start(self, nodes: int, *options: str) -> str:
        return self.script("batch_run", self.name, str(nodes), "--no-build", *options)

    def end(self) -> None:
        self.script("batch_kill", self.name, "--now", "--volumes")

    def container(self, number: int) -> str:
        return f"map-reduce-{self.name}-{number}"

    def containers(self) -> list[str]:
        label = f"label=map-reduce.cluster={self.name}"
        return docker("ps", "--all", "--filter", label, "--format", "{{.Names}}").split()

    def address(self, number: int) -> str:
        where = f'{{{{(index .NetworkSettings.Networks "{NETWORK}").IPAddress}}}}'
        return docker("inspect", "--format", where, self.container(number)) + ":9000"

    def command(self, *arguments: str, check: bool = True) -> str:
        """``map-reduce …`` on this machine."""
        done = subprocess.run(
            [sys.executable, "-m", "map_reduce", *arguments],
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=120,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"map-reduce {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def await_whole(self, nodes: int) -> None:
        """Return when the ring is whole, of so many nodes."""
        addresses = [self.address(n + 1) for n in range(len(self.containers()))]
        self.command("use", *addresses, "--certs", str(self.certs), "--nodes", str(nodes))


def wait_until(what: str, is_so: Callable[[], bool], within_s: float = 60.0) -> None:
    """Ask again and again; fail with ``what`` was waited for."""
    until_s, never = time.monotonic() + within_s, threading.Event()
    while not is_so():
        assert time.monotonic() < until_s, f"{what}: not within {within_s:g} s"
        never.wait(0.1)
