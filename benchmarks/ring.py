"""A ring of node processes, started and stopped by the command line, as a user would."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping

import measure

NODES = 3
COMMAND = (sys.executable, "-m", "map_reduce")


@contextlib.contextmanager
def of_processes(env: Mapping[str, str]) -> Iterator[None]:
    """``env`` names the cluster file by which a client in the same environment finds the ring."""
    measure.run([*COMMAND, "cluster", "--nodes", str(NODES), "--detach"], env, timeout_s=60)
    pids = node_pids(env)
    try:
        if len(pids) != NODES:
            raise RuntimeError(f"asked for {NODES} nodes, and status shows {len(pids)}")
        yield
    finally:
        try:
            measure.run([*COMMAND, "stop"], env, timeout_s=60)
        except RuntimeError:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise


def node_pids(env: Mapping[str, str]) -> list[int]:
    status = json.loads(measure.run([*COMMAND, "status", "--json"], env, timeout_s=60))
    return [node["pid"] for node in status["nodes"]]
