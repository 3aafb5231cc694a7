"""Which cluster is known on this machine: told of one, ask a node of it, forget it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from map_reduce.client.ring_report import report_of
from map_reduce.client.status import open_cluster
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import FindSuccessor, Route, identifier_bytes
from map_reduce.errors import ClusterError, ConfigError, NoNodeError, Unreachable
from map_reduce.server.access import Access, connect
from map_reduce.server.configs import NodeConfig
from map_reduce.server.discovery import ClusterFile, read_cluster_file, write_cluster_file
from map_reduce.server.founding import own_host
from map_reduce.server.state import cluster_file_path
from map_reduce.server.trust import credentials

WHOLE_S_MAX = 90.0
POLL_S = 0.2


def ping(address: str | None, certs: Path | None) -> str:
    """Ask one node, by default that of this machine's settings, whether it is in its ring.

    Raises:
        NoNodeError: it does not answer.
        Unreachable: it answers, but is in no ring, or cut off from it.
    """
    if address is None:
        config = NodeConfig.from_environment()
        if not config.port:
            raise ConfigError("name the node by --address, or by MR_HOST and MR_PORT")
        address = str(Address(own_host(config.host), config.port))
    access = open_cluster(address, certs)
    try:
        node = Address.parse(address)
        target = FindSuccessor(identifier_bytes(node.identifier))
        route = access.peers.request(node, target, Route)
    except ClusterError as error:
        raise Unreachable(f"{address} answers, but is not in a ring: {error}") from error
    finally:
        access.close()
    if not route.owns:
        raise Unreachable(f"{address} has no settled place in its ring yet")
    return f"{address} is in its ring, with {len(route.members) - 1} successors"


def use(addresses: Sequence[str], certs: Path | None, nodes: int | None, source: str) -> str:
    """Write the cluster file; where ``nodes`` is given, once the ring is whole and of that size.

    Raises:
        NoNodeError: nobody answers.
        ClusterError: the ring is not whole after 90 s; says what is wrong with it.
        ConfigError: the certificates or an address can't be used.
    """
    from map_reduce.transport.pyro import PyroTransport

    entries = [Address.parse(text) for text in addresses]
    proof = credentials(certs)
    until_s = time.monotonic() + (WHOLE_S_MAX if nodes else 0.0)
    while True:
        transport = PyroTransport(proof)
        try:
            access = connect(entries, transport)
        except NoNodeError as error:
            transport.close()
            if time.monotonic() >= until_s:
                raise
            missing = str(error)
        else:
            try:
                members, missing = _looked_at(access, nodes)
            except ClusterError as error:
                missing = str(error)
            finally:
                access.close()
            if not missing:
                break
        if time.monotonic() >= until_s:
            raise ClusterError(f"the ring is not whole after {WHOLE_S_MAX:g} s: {missing}")
        time.sleep(POLL_S)
    path = cluster_file_path()
    folder = "" if certs is None else str(certs.resolve())
    found = tuple(str(member.address) for member in members)
    write_cluster_file(ClusterFile(access.cluster_id, found, 0, "", folder, source), path)
    return f"ServerInterface() finds the ring of {len(members)} by {path}"


def _looked_at(access: Access, nodes: int | None) -> tuple[Sequence[Member], str]:
    """The ring's members, and what it lacks to be whole and of so many, "" where it is nothing.

    Where a number is asked for, the members are those that the report has found one by one: what
    a single node says of the ring may be older.
    """
    members = access.members()
    if nodes is None:
        return members, ""
    report = report_of(access, [member.address for member in members])
    if (there := len(report.census.places)) != nodes:
        return members, f"it has {there} of {nodes} nodes"
    return [place.member for place in report.census.places], "; ".join(
        [*report.wrong, *report.flaws][:3]
    )


def forget(source: str) -> str:
    """Remove the cluster file; where a source is named, only if that wrote it."""
    path = cluster_file_path()
    content = read_cluster_file(path)
    if content is None or (source and content.source != source):
        return "there is nothing to forget"
    path.unlink(missing_ok=True)
    return f"forgot the cluster {content.cluster_id}"
