"""A node as a child process of this one: start it, wait until it is up, end it.

The child ends when it is told to and when this process dies, however that happens: it holds the
other end of a pipe and stops when that is closed (``serve.py``).
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from map_reduce.core.identifiers import Address
from map_reduce.errors import NoNodeError

log = logging.getLogger(__name__)

START_S_MAX = 20.0
STOP_S_MAX = 1.5

Output = int | IO[bytes] | None
"""Where a node's output goes, as for subprocess; None: to this process's own."""


@dataclass
class NodeProcess:
    """A child process that runs one node."""

    process: subprocess.Popen[bytes]
    address: Address


class Launch:
    """A node process that is starting.

    Args:
        port: 0 takes a free one.
        join: members of the ring to join; empty to begin one.
        slots: worker processes.
        data_folder: where it keeps its blocks; None: in a temporary folder.
        settings: environment variables on top of this process's own.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        join: Sequence[Address] = (),
        slots: int,
        data_folder: Path | None = None,
        output: Output = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._ready, ready_child = os.pipe()
        command = [sys.executable, "-m", "map_reduce", "node", "--port", str(port)]
        command += ["--slots", str(slots), "--ready-fd", str(ready_child), "--lifeline"]
        for address in join:
            command += ["--join", str(address)]
        if data_folder is not None:
            command += ["--data-folder", str(data_folder)]
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # the lifeline: closed when this process ends, however
                stdout=output,
                stderr=output,
                pass_fds=[ready_child],
                env={**os.environ, **(settings or {})},
                start_new_session=True,  # a terminal's Ctrl-C is for us, who stop the nodes
            )
        except BaseException:
            os.close(self._ready)
            raise
        finally:
            os.close(ready_child)

    def await_up(self) -> NodeProcess:
        """The node, once it has said where it listens. To be called once.

        Raises:
            NoNodeError: it ended before that, or takes longer than 20 seconds.
        """
        try:
            readable, _, _ = select.select([self._ready], [], [], START_S_MAX)
            line = os.read(self._ready, 4096) if readable else b""
        finally:
            os.close(self._ready)
        if not line:
            raise NoNodeError(
                "a node process ended before it was up"
                if readable
                else f"a node process was not up within {START_S_MAX:g} s"
            )
        return NodeProcess(self.process, Address.parse(line.decode().strip()))


def end_all(processes: Sequence[subprocess.Popen[bytes]], within_s: float = STOP_S_MAX) -> None:
    """Ask all to end, wait so long, kill. Returns when all have ended."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline_s = time.monotonic() + within_s
    for process in processes:
        try:
            process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("node process %d did not end in time and was killed", process.pid)
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()
