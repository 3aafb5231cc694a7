"""Who gets in: the machine's other users do not, and with certificates the roles hold."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from certificate_folders import AUTHORITY, FOREIGN_AUTHORITY, make_folder
from message_samples import sample

from map_reduce.cli import main
from map_reduce.client.handle import JobHandle
from map_reduce.client.server_interface import ServerInterface
from map_reduce.client.status import cluster_status, open_cluster, stop_cluster
from map_reduce.client.submission import Submitted
from map_reduce.core.messages import Done, JobSpec, StopNode, SubmitJob
from map_reduce.core.messages.records import GetReplica, ReplicaIs
from map_reduce.core.registers.birth import Birth
from map_reduce.core.roles import Role
from map_reduce.errors import ConfigError, JobLostError, NoNodeError, Refused
from map_reduce.server.configs import ClusterConfig, NodeConfig
from map_reduce.server.embedded import embed
from map_reduce.server.local_cluster import LocalCluster
from map_reduce.transport.credentials import AUTHORITIES_NAME

WAIT_S = 60.0
TEXT = ["a b a", "b c", "a"]
COUNTS = {"a": 3, "b": 2, "c": 1}


def words(number: int, line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


def total(word: str, counts: list[int]) -> int:
    return sum(counts)


ANOTHER_USER = """
import os, sys, tempfile
import map_reduce
from map_reduce.client.server_interface import ServerInterface
from map_reduce.errors import ConfigError, NoNodeError
import map_reduce.server.access, map_reduce.transport.pyro
address, token_file, cluster_file = sys.argv[1:]
home = tempfile.mkdtemp(dir="/tmp")
os.chown(home, 65534, 65534)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for path in (token_file, cluster_file):
    try:
        open(path).read()
    except PermissionError:
        print("cannot read it")
try:
    ServerInterface(address, quiet=True)
except ConfigError as error:
    print(error)
os.environ["MAP_REDUCE_TOKEN_FILE"] = home + "/token"
try:
    ServerInterface(address, quiet=True)
except NoNodeError as error:
    print(error)
os.unlink(home + "/token")
os.rmdir(home)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs to become another user")
def test_another_user_of_the_machine_gets_nowhere(tmp_path: Path) -> None:
    with LocalCluster(1, slots=1) as cluster:
        cluster_file = tmp_path / "cluster.json"
        cluster_file.write_text("")
        cluster_file.chmod(0o600)
        address = str(cluster.nodes[0].address)
        command = [sys.executable, "-c", ANOTHER_USER, address]
        command += [os.environ["MAP_REDUCE_TOKEN_FILE"], str(cluster_file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[:2] == ["cannot read it"] * 2
        assert "token" in lines[2]
        assert "does not have this user's token" in lines[3]
        with ServerInterface(address, quiet=True) as server:  # and its owner still does
            assert server.startup(TEXT, words, total).result(WAIT_S) == COUNTS


def test_a_ring_with_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job, renewal while the ring runs, and who may not do what."""
    node, bob = make_folder(tmp_path / "n1"), make_folder(tmp_path / "bob", Role.CLIENT)
    eve = make_folder(tmp_path / "eve", Role.CLIENT, authority=FOREIGN_AUTHORITY)
    monkeypatch.setenv("MR_CERTS_FOLDER", str(node))
    with LocalCluster(2, slots=1) as cluster:
        address = str(cluster.nodes[0].address)
        assert cluster.cluster_file().token_file == ""
        with ServerInterface(address, certs=bob, quiet=True) as server:
            assert server.startup(TEXT, words, total).result(WAIT_S) == COUNTS
            both = FOREIGN_AUTHORITY.certificate + AUTHORITY.certificate
            with pytest.raises(NoNodeError, match=r"authority that is not in|does not have our"):
                ServerInterface(address, certs=eve, quiet=True)
            (bob / AUTHORITIES_NAME).write_bytes(both)
            make_folder(node, authority=FOREIGN_AUTHORITY, trusted=both)
            assert server.startup(TEXT, words, total).result(WAIT_S) == COUNTS
        with ServerInterface(address, certs=eve, quiet=True) as server:
            assert server.startup(TEXT, words, total).result(WAIT_S) == COUNTS
        monkeypatch.delenv("MR_CERTS_FOLDER")
        with pytest.raises(NoNodeError, match="MR_CERTS_FOLDER"):
            ServerInterface(address, quiet=True)
        assert main(["stop", "--address", address, "--certs", str(bob)]) == 1
        assert "client bob" in capsys.readouterr().err
        with pytest.raises(Refused, match="StopNode is for nodes alone"):
            stop_cluster(address, bob)
        assert len(cluster_status(address, bob).nodes) == 2
        access = open_cluster(address, node)
        for member in access.members():
            assert access.peers.request(member.address, StopNode(), Done) == Done()
        access.close()
        assert [one.process.wait(WAIT_S) for one in cluster.nodes] == [0, 0]


def test_a_node_away_from_loopback_needs_certificates(capsys: pytest.CaptureFixture[str]) -> None:
    # Not "--host 0.0.0.0", which no node may listen on with certificates either.
    for host, named in ("0.0.0.0", "ADDRESS"), ("192.0.2.1", "192.0.2.1"):
        assert main(["node", "--host", host]) == 2
        said = capsys.readouterr().err
        assert "map-reduce certs init" in said
        assert f"map-reduce certs issue NAME --host {named}" in said


def test_certificates_that_cannot_be_used_are_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no"):
        ServerInterface("127.0.0.1:9", certs=tmp_path, quiet=True)


def test_a_data_folder_that_a_node_makes_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "data"
    with contextlib.closing(embed(ClusterConfig(), NodeConfig(slots=1, data_folder=folder))):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"partitions": 1 << 40}, "partitions for each"),
        ({"job_id": "../.."}, "that of job '../..'"),
    ],
)
def test_no_master_begins_a_job_that_no_client_of_ours_submits(
    wrong: dict[str, Any], why: str
) -> None:
    """It would fill the memory of one master after the other, or speak for another job."""
    with contextlib.closing(embed(ClusterConfig(), NodeConfig(slots=1))) as access:
        node = access.members()[0]
        replica = access.peers.request(node.address, GetReplica(), ReplicaIs).replica
        birth = Birth(b"about", bytes(16), (replica,))
        right = {"job_id": birth.name, "birth": birth.encode(), "partitions": 1}
        spec = msgspec.structs.replace(sample(JobSpec), **right | wrong)
        ref = access.blocks.put(birth.name, spec.encode())
        access.peers.request(node.address, SubmitJob(birth.name, ref), Done)
        handle = JobHandle(access, Submitted(birth.name, None), "x", show_progress=False)
        with pytest.raises(JobLostError, match=why):
            handle.result(WAIT_S)
