"""A node as a process of its own: until it is told to stop, by signal, request or lifeline."""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Sequence

from map_reduce.core.identifiers import Address
from map_reduce.server.allocator import Allocator
from map_reduce.server.configs import ClusterConfig, NodeConfig
from map_reduce.server.founding import all_behind, own_host
from map_reduce.server.node import Node
from map_reduce.server.trust import credentials
from map_reduce.transport.credentials import Certificates, Credentials
from map_reduce.transport.pyro import PyroTransport

OPEN_FILES_MAX = 8192


def serve(
    cluster: ClusterConfig,
    config: NodeConfig,
    join: Sequence[Address],
    *,
    found: bool = False,
    ready_fd: int | None = None,
    lifeline: bool = False,
) -> None:
    """Run a node until it is to stop; returns once all of it has ended.

    Args:
        join: nodes of a ring, or names that stand for several.
        found: begin a ring if it is in none that one of them is in: see ``founding.py``.
        ready_fd: a file descriptor to write the node's address to, once it is a member.
        lifeline: stop when standard input ends, so when whoever started the node is gone.

    Raises:
        ConfigError, ClusterError: it could not start.
    """
    if hasattr(signal, "SIGUSR1") and sys.__stderr__ is not None:
        # For whoever wonders why a node does nothing: what all its threads are at.
        faulthandler.register(signal.SIGUSR1, sys.__stderr__, all_threads=True)
    _allow_open_files()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    proof = credentials(config.certs_folder)
    config = dataclasses.replace(config, host=own_host(config.host))
    seeds = [seed for seed in all_behind(join) if seed != Address(config.host, config.port)]
    transport = PyroTransport(proof, packing=bool(config.compression))
    node = Node(transport, cluster=cluster, config=config, join=seeds, found=found)
    try:
        print(f"node {node.address} is up ({_closed_to_whom(proof)})", flush=True)
        if ready_fd is not None:
            with os.fdopen(ready_fd, "w") as ready:
                ready.write(f"{node.address}\n")
        if lifeline:
            threading.Thread(target=_wait_for_end, args=(stop,), daemon=True).start()
        # One wait for three causes: handlers only set events, and a signal wakes a main thread
        # that waits with a timeout.
        allocator = Allocator()
        while not (stop.wait(0.1) or node.stop_requested.is_set()):
            allocator.see_to(time.monotonic())
    finally:
        node.close()


def _allow_open_files() -> None:
    """As many as the system lets it have, within reason: each waiting client is a connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinity = resource.RLIM_INFINITY
    wanted = OPEN_FILES_MAX if hard == infinity else min(OPEN_FILES_MAX, hard)
    if soft != infinity and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # it does with what it has
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _closed_to_whom(proof: Credentials) -> str:
    if isinstance(proof, Certificates):
        return f"for holders of certificates; its own is valid until {proof.loaded.expires}"
    return "for this user's processes on this machine"


def _wait_for_end(stop: threading.Event) -> None:
    # Not through sys.stdin, whose lock a waiting thread would hold when the interpreter ends.
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    stop.set()
