"""``map-reduce cluster``: a local ring in the foreground, or in the background."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from map_reduce.core.identifiers import Address
from map_reduce.errors import ConfigError, NoNodeError
from map_reduce.server.access import connect
from map_reduce.server.discovery import (
    make_cluster_folder,
    read_cluster_file,
    remove_cluster_file,
    write_cluster_file,
)
from map_reduce.server.local_cluster import LocalCluster
from map_reduce.server.node_process import START_S_MAX
from map_reduce.server.state import FILE_VARIABLE, cluster_file_path
from map_reduce.server.trust import credentials
from map_reduce.transport.pyro import PyroTransport

WATCH_INTERVAL_S = 0.2


def run_in_foreground(nodes: int, first_port: int, slots: int | None) -> int:
    """Start a ring, write the cluster file, and wait for Ctrl-C or the end of all nodes.

    Raises:
        NoNodeError: a node did not come up.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    path = cluster_file_path()
    refuse_second_cluster(path)
    make_cluster_folder(path)
    with LocalCluster(nodes, first_port=first_port, slots=slots) as cluster:
        content = cluster.cluster_file()
        write_cluster_file(content, path)
        try:
            # The last line to appear: whoever waits for it finds the cluster file written.
            print(f"a ring of {nodes} is up; ServerInterface() finds it by {path}", flush=True)
            running = cluster.running()
            while running and not stop.wait(WATCH_INTERVAL_S):
                now_running = cluster.running()
                for node in running:
                    if node not in now_running:
                        code = node.process.returncode
                        print(f"node {node.address} has ended ({_ending(code)})", flush=True)
                running = now_running
        finally:
            remove_cluster_file(path, content.cluster_id)
    return 0


def run_detached(nodes: int, first_port: int, slots: int | None) -> int:
    """Start the same in the background; return once the ring is up.

    Raises:
        NoNodeError: it did not come up; names the log.
    """
    path = cluster_file_path()
    refuse_second_cluster(path)
    make_cluster_folder(path)
    log_path = path.with_suffix(".log")
    command = [sys.executable, "-m", "map_reduce", "cluster", "--nodes", str(nodes)]
    command += ["--port", str(first_port)]
    if slots is not None:
        command += ["--slots", str(slots)]
    with open(log_path, "wb", opener=_private) as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _await_cluster_file(path, process, log_path)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        raise
    print(f"a ring of {nodes} runs in the background; ServerInterface() finds it by {path}")
    print(f"log: {log_path}; stop it with: map-reduce stop")
    return 0


def refuse_second_cluster(path: Path) -> None:
    """A second cluster would take the first one's place in the cluster file.

    Raises:
        ConfigError: the file names a cluster that answers, or is damaged.
    """
    content = read_cluster_file(path)
    if content is None:
        return
    addresses = [Address.parse(text) for text in content.addresses]
    token_file = Path(content.token_file) if content.token_file else None
    transport = PyroTransport(credentials(token_file=token_file))
    try:
        access = connect(addresses, transport)
    except NoNodeError:
        return  # what it names has ended
    finally:
        transport.close()
    raise ConfigError(
        f"a ring of {len(addresses)} that {path} names runs already (cluster {access.cluster_id}); "
        "end it with map-reduce stop, or name another file by the environment variable "
        f"{FILE_VARIABLE}"
    )


def _await_cluster_file(path: Path, process: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline_s = time.monotonic() + 2 * START_S_MAX
    while True:
        content = read_cluster_file(path)
        if content is not None and content.pid == process.pid:
            return
        if process.poll() is not None or time.monotonic() > deadline_s:
            tail = log_path.read_text(errors="replace").strip().splitlines()[-5:]
            raise NoNodeError("\n".join(["the ring did not come up:", *tail, f"log: {log_path}"]))
        time.sleep(WATCH_INTERVAL_S / 4)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"
