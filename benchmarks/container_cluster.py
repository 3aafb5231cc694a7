"""Clusters of real containers, started by the scripts that users start them with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from map_reduce.client.ring_report import RingReport, report_of, report_text
from map_reduce.core.identifiers import Address
from map_reduce.errors import ClusterError
from map_reduce.server.access import Access, connect
from map_reduce.server.trust import credentials
from map_reduce.transport.pyro import PyroTransport

ROOT = Path(__file__).resolve().parents[1]
DOCKER = os.environ.get("DOCKER", "docker")
PORT = 9000
COMMAND_S_MAX = 120.0
SCRIPT_S_MAX = 300.0
POLL_S = 0.1


def docker(*arguments: str, check: bool = True) -> str:
    """What the client prints. Raises AssertionError: it failed, and ``check``."""
    done = subprocess.run(
        [DOCKER, *arguments], capture_output=True, text=True, timeout=COMMAND_S_MAX, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()


def has_engine() -> bool:
    if shutil.which(DOCKER) is None:
        return False
    done = subprocess.run([DOCKER, "version"], capture_output=True, timeout=30, check=False)
    return done.returncode == 0


@dataclass(frozen=True)
class Container:
    """A node's container: its name, and where it is on which network."""

    name: str
    host: str
    network: str

    @property
    def address(self) -> Address:
        return Address(self.host, PORT)


class Cluster:
    """A cluster by ``scripts/batch_run``, with its state in a folder of its own.

    Args:
        image, network: their names.
        settings: more environment variables of the scripts, ``MR_…`` of the nodes among them.
    """

    def __init__(
        self, name: str, folder: Path, *, image: str, network: str, **settings: str
    ) -> None:
        self.name = name
        self.network = network
        self.environ = {
            **os.environ,
            "XDG_STATE_HOME": str(folder),
            "MR_IMAGE": image,
            "MR_NETWORK": network,
            "VENV": os.environ.get("VENV", ".venv"),
            **settings,
        }
        self.certs = folder / "map-reduce" / "containers" / name / "client"
        self.file = folder / "map-reduce" / "cluster.json"

    # ------------------------------------------------------------------ its life

    def script(self, script: str, *arguments: str, check: bool = True) -> str:
        """What a script prints, on either stream. Raises AssertionError, as :func:`docker`."""
        done = subprocess.run(
            [str(ROOT / "scripts" / script), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environ,
            cwd=ROOT,
            timeout=SCRIPT_S_MAX,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{script} {' '.join(arguments)}: {done.stdout}")
        return done.stdout

    def start(self, nodes: int, *options: str) -> str:
        return self.script("batch_run", self.name, str(nodes), "--no-build", *options)

    def end(self) -> None:
        self.script("batch_kill", self.name, "--now", "--volumes")

    def command(self, *arguments: str, check: bool = True) -> str:
        """``map-reduce …`` on this machine. Raises AssertionError, as :func:`docker`."""
        done = subprocess.run(
            [sys.executable, "-m", "map_reduce", *arguments],
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=COMMAND_S_MAX,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"map-reduce {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def client(
        self, program: str, *arguments: str, inside: bool, output: int, errors: int
    ) -> subprocess.Popen[bytes]:
        """A program of the clone that is a client, on this machine or in a container."""
        script = str(ROOT / "scripts" / "run_client")
        start = [script, self.name] if inside else [sys.executable]
        return subprocess.Popen(
            [*start, program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=self.environ,
            cwd=ROOT,
            start_new_session=True,
        )

    # ------------------------------------------------------------------ its containers

    def container(self, number: int) -> str:
        return f"map-reduce-{self.name}-{number}"

    def containers(self, *filters: str) -> list[str]:
        """Names of all of them, or of those that pass, as in ``status=running``."""
        asked = [f"label=map-reduce.cluster={self.name}", *filters]
        options = [option for one in asked for option in ("--filter", one)]
        return sorted(docker("ps", "--all", *options, "--format", "{{.Names}}").split())

    def inspect(self, name: str) -> Container:
        """One that runs, and is on the network."""
        where = f'{{{{(index .NetworkSettings.Networks "{self.network}").IPAddress}}}}'
        return Container(name, docker("inspect", "--format", where, name), self.network)

    def address(self, number: int) -> str:
        return str(self.inspect(self.container(number)).address)

    # ------------------------------------------------------------------ its ring

    def access(self, addresses: Sequence[Address]) -> Access:
        """What a client is made of; the caller closes it. Raises NoNodeError."""
        transport = PyroTransport(credentials(self.certs))
        try:
            return connect(addresses, transport)
        except BaseException:
            transport.close()
            raise

    def report(self, addresses: Sequence[Address]) -> RingReport:
        """The ring now, asked of all nodes. Raises NoNodeError, ClusterError."""
        access = self.access(addresses)
        try:
            return report_of(access, addresses)
        finally:
            access.close()

    def await_whole(self, nodes: int) -> None:
        """Return when the ring is whole, of so many nodes."""
        addresses = [self.address(n + 1) for n in range(len(self.containers()))]
        self.command("use", *addresses, "--certs", str(self.certs), "--nodes", str(nodes))

    def await_copies(self, addresses: Sequence[Address], within_s: float) -> None:
        """Return when the ring is whole, of exactly these nodes, no block lacks copies and no
        record members. Raises ClusterError: it is not; says in what."""
        until_s, never = time.monotonic() + within_s, threading.Event()
        while True:
            last = "nobody answered"
            try:
                report = self.report(addresses)
            except ClusterError as error:
                last = str(error)
            else:
                if has_copies(report, addresses):
                    return
                last = report_text(report)
            if time.monotonic() > until_s:
                raise ClusterError(f"not within {within_s:g} s: all copies are made\n{last}")
            never.wait(POLL_S)


def has_copies(report: RingReport, addresses: Sequence[Address]) -> bool:
    """Whether it is a whole ring of exactly these, in which nothing lacks copies."""
    blocks, records = report.health, report.records
    missing = (blocks.short, blocks.problems, records.short, records.problems)
    members = {member.address for member in report.census.ring()}
    return report.whole and not any(missing) and members == set(addresses)


def wait_until(what: str, is_so: Callable[[], bool], within_s: float = 60.0) -> None:
    """Ask again and again. Raises AssertionError, with ``what`` was waited for."""
    until_s, never = time.monotonic() + within_s, threading.Event()
    while not is_so():
        assert time.monotonic() < until_s, f"{what}: not within {within_s:g} s"
        never.wait(POLL_S)
