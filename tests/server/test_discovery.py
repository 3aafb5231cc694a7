"""Where a client looks for a cluster, and whom it believes."""

from __future__ import annotations

import os
import stat

import pytest

from map_reduce.core.identifiers import Address
from map_reduce.errors import ConfigError
from map_reduce.server.discovery import (
    ClusterFile,
    find_cluster,
    read_cluster_file,
    remove_cluster_file,
    write_cluster_file,
)
from map_reduce.server.state import cluster_file_path

CONTENT = ClusterFile("abc", ("127.0.0.1:9000", "127.0.0.1:9001"), 123)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "cluster.json"


def test_what_is_written_is_read(path):
    write_cluster_file(CONTENT, path)
    assert read_cluster_file(path) == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["cluster.json"]


def test_no_file_is_no_cluster(path):
    assert read_cluster_file(path) is None
    assert find_cluster(None, {"MAP_REDUCE_CLUSTER_FILE": str(path)}) is None


def test_the_argument_comes_before_the_environment_before_the_file(path):
    write_cluster_file(CONTENT, path)
    environ = {"MAP_REDUCE_CLUSTER_FILE": str(path)}
    by_file = find_cluster(None, environ)
    assert by_file is not None
    assert by_file.addresses == (Address("127.0.0.1", 9000), Address("127.0.0.1", 9001))
    assert not by_file.binding
    environ["MAP_REDUCE_ADDRESS"] = "127.0.0.1:1, [::1]:2"
    by_environment = find_cluster(None, environ)
    assert by_environment is not None
    assert by_environment.addresses == (Address("127.0.0.1", 1), Address("::1", 2))
    assert by_environment.binding
    by_argument = find_cluster("127.0.0.1:3", environ)
    assert by_argument is not None
    assert by_argument.addresses == (Address("127.0.0.1", 3),)


def test_a_file_that_others_may_write_is_not_believed(path):
    write_cluster_file(CONTENT, path)
    os.chmod(path, 0o622)
    with pytest.raises(ConfigError, match="another user"):
        read_cluster_file(path)


@pytest.mark.parametrize("text", ["", "{", '{"addresses": 3}', "[]"])
def test_a_damaged_file_says_which_it_is(path, text):
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"cluster\.json is damaged"):
        read_cluster_file(path)


def test_only_the_own_clusters_file_is_removed(path):
    write_cluster_file(CONTENT, path)
    remove_cluster_file(path, "another")
    assert path.exists()
    remove_cluster_file(path, "abc")
    assert not path.exists()
    remove_cluster_file(path, "abc")


def test_the_file_is_in_the_users_state_folder():
    environ = {"XDG_STATE_HOME": "/state"}
    assert str(cluster_file_path(environ)) == "/state/map-reduce/cluster.json"
    assert str(cluster_file_path({})).endswith(".local/state/map-reduce/cluster.json")


@pytest.mark.parametrize("text", ["", "9000", ":9000", "host:", "host:http", "h:99999", "::1:9000"])
def test_what_is_not_an_address_is_refused(text):
    with pytest.raises(ConfigError, match="not an address"):
        find_cluster(text, {})
