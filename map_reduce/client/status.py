"""What a cluster looks like from outside, and how to stop it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from map_reduce.core.identifiers import Member
from map_reduce.core.messages import Done, GetNode, JobLine, Node, Ping, Pong, StopNode
from map_reduce.errors import ClusterError, NoNodeError, Unreachable
from map_reduce.server.access import Access, connect
from map_reduce.server.discovery import find_cluster, remove_cluster_file
from map_reduce.server.state import cluster_file_path
from map_reduce.server.trust import credentials

STOP_S_MAX = 5.0
STOP_POLL_S = 0.05


class ClusterStatus(NamedTuple):
    cluster_id: str
    nodes: tuple[Node, ...]
    silent: tuple[Member, ...]  # members that are named by others and do not answer


def open_cluster(address: str | None, certs: str | Path | None = None) -> Access:
    """A client's access to the cluster at ``address``, or the one that is discovered.

    Raises:
        NoNodeError: there is none.
        ConfigError: the certificates in the folder ``certs`` can't be used.
    """
    from map_reduce.transport.pyro import PyroTransport

    found = find_cluster(address)
    if found is None:
        raise NoNodeError("no cluster is known here; start one with: map-reduce cluster")
    transport = PyroTransport(credentials(certs or found.certs_folder, found.token_file))
    try:
        return connect(found.addresses, transport)
    except NoNodeError as error:
        transport.close()
        if found.binding:
            raise
        raise NoNodeError(
            f"{found.source} names a cluster that has ended: nobody answers at "
            f"{' or '.join(map(str, found.addresses))}. Start one with: map-reduce cluster"
        ) from error
    except BaseException:
        transport.close()
        raise


def cluster_status(address: str | None, certs: str | Path | None = None) -> ClusterStatus:
    """Ask every node about itself. Raises NoNodeError, ClusterError."""
    access = open_cluster(address, certs)
    try:
        nodes, silent = [], []
        for member in access.members():
            try:
                nodes.append(access.peers.request(member.address, GetNode(), Node))
            except ClusterError:
                silent.append(member)
        return ClusterStatus(access.cluster_id, tuple(nodes), tuple(silent))
    finally:
        access.close()


def status_json(status: ClusterStatus) -> str:
    """``{"cluster_id", "nodes": [{"address", "pid", "id", …}], "jobs": […], "silent": […]}``."""
    return json.dumps(
        {
            "cluster_id": status.cluster_id,
            "nodes": [_node(node) for node in status.nodes],
            "jobs": [_job(node, job) for node in status.nodes for job in node.jobs],
            "silent": [str(member) for member in status.silent],
        },
        indent=1,
    )


def _node(node: Node) -> dict[str, Any]:
    return {
        "address": str(node.member.address),
        "pid": node.pid,
        "id": f"{node.member.identifier:040x}",
        "incarnation": node.member.incarnation,
        "slots": node.slots,
        "slots_busy": node.slots_busy,
        "blocks": node.blocks,
        "block_bytes": node.block_bytes,
        "predecessor": None if node.predecessor is None else str(node.predecessor),
        "successors": [str(member) for member in node.successors],
        "python": node.python,
        "version": node.version,
    }


def _job(node: Node, job: JobLine) -> dict[str, Any]:
    progress = job.progress
    return {
        "id": job.job_id,
        "name": job.name,
        "master": str(node.member.address),
        "phase": progress.phase,
        "tasks_done": progress.map_tasks_done + progress.reduce_tasks_done,
        "tasks_total": progress.map_tasks_total + progress.reduce_tasks_total,
        "records": progress.records,
        "elapsed_s": round(progress.elapsed_s, 3),
        "counters": dict(job.counters),
        "skipped": job.skipped,
    }


LITTLE_SAFETY = {
    0: "no node answers",
    1: "one node: if it is lost, so are its jobs",
    2: "two nodes: if one is lost, so are some of the jobs",
    3: "less than five nodes: one may be lost at a time, not two at once",
}


def status_text(status: ClusterStatus) -> str:
    """A table for people, with what the size of the ring means for safety."""
    size = len(status.nodes)
    lines = [f"cluster {status.cluster_id}: {size} node{'s' if size != 1 else ''}", ""]
    lines.append(f"{'address':<22}{'id':<10}{'pid':>8}{'busy':>8}{'blocks':>8}{'MB':>8}")
    for node in status.nodes:
        busy = f"{node.slots_busy}/{node.slots}"
        lines.append(
            f"{node.member.address!s:<22}{node.member.identifier:040x}"[:30] + "  "
            f"{node.pid:>8}{busy:>8}{node.blocks:>8}{node.block_bytes / 1e6:>8.1f}"
        )
    lines += [f"{member!s:<22}does not answer" for member in status.silent]
    jobs = [(node, job) for node in status.nodes for job in node.jobs]
    jobs += [
        (node, job) for node in status.nodes for job in node.watched if job.waiting_for or job.note
    ]
    if jobs:
        lines += ["", f"{'job':<34}{'name':<20}{'phase':<11}{'tasks':>10}{'records':>12}"]
    for node, job in jobs:
        line = _job(node, job)
        tasks = f"{line['tasks_done']}/{line['tasks_total']}"
        lines.append(
            f"{job.job_id[:32]:<34}{job.name[:19]:<20}{line['phase']:<11}{tasks:>10}"
            f"{line['records']:>12,}"
        )
        counted = [f"{name} {count:,}" for name, count in job.counters]
        counted += [f"left out {job.skipped:,}"] if job.skipped else []
        if job.waiting_for:
            counted.append(f"waits for {', '.join(map(str, job.waiting_for))}")
        counted += [f"{node.member} {job.note}"] if job.note else []
        if counted:
            lines.append(f"    {'; '.join(counted)}")
    if size < 5:
        lines += ["", LITTLE_SAFETY[min(size, 3)]]
    return "\n".join(lines)


def stop_cluster(address: str | None, certs: str | Path | None = None) -> str:
    """Ask every node to stop, and wait until all have ended; what was done, for people.

    Raises:
        NoNodeError: there is no cluster.
        Refused: a node does not take that from us; with certificates, only a node's will do.
        ClusterError: some node is still there after 5 seconds; names it.
    """
    access = open_cluster(address, certs)
    try:
        nodes = []
        for member in access.members():
            # Who does not answer has gone already, or can't be told.
            with contextlib.suppress(Unreachable):
                nodes.append(access.peers.request(member.address, GetNode(), Node))
                access.peers.request(member.address, StopNode(), Done)
        waiting = list(nodes)
        deadline_s = time.monotonic() + STOP_S_MAX
        while waiting := [node for node in waiting if _is_there(access, node)]:
            if time.monotonic() > deadline_s:
                names = ", ".join(str(node.member) for node in waiting)
                raise ClusterError(f"told to stop, but still there after {STOP_S_MAX:g} s: {names}")
            time.sleep(STOP_POLL_S)
        remove_cluster_file(cluster_file_path(), access.cluster_id)
        return f"stopped {len(nodes)} node{'s' if len(nodes) != 1 else ''}"
    finally:
        access.close()


def _is_there(access: Access, node: Node) -> bool:
    """Whether its process has not ended: seen directly on this machine, else by its silence."""
    if node.member.address.is_loopback:
        try:
            os.kill(node.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # another user's, so ask
        else:
            return True
    try:
        access.peers.request(node.member.address, Ping(), Pong)
    except ClusterError:
        return False
    return True
