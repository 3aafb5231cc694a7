"""Settings: defaults, environment, bounds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from map_reduce.errors import ConfigError
from map_reduce.server import configs
from map_reduce.server.configs import ClusterConfig, NodeConfig


def test_the_promised_settings_and_their_defaults():
    assert configs.REQUEST_TIMEOUT == 0.5
    assert configs.MAX_TASK_TIMEOUT == 300
    assert configs.ITEMS_PER_CHUNK == 16
    assert configs.DHT_REPLICATION_SIZE == 5
    cluster = ClusterConfig()
    assert cluster.request_timeout_s == configs.REQUEST_TIMEOUT
    assert cluster.task_timeout_s_max == configs.MAX_TASK_TIMEOUT
    assert cluster.items_per_chunk == configs.ITEMS_PER_CHUNK
    assert cluster.replicas == configs.DHT_REPLICATION_SIZE


def test_each_setting_has_its_environment_variable():
    environ = {
        "MR_REQUEST_TIMEOUT": "0.25",
        "MR_MAX_TASK_TIMEOUT": " 7 ",
        "MR_ITEMS_PER_CHUNK": "4",
        "MR_DHT_REPLICATION_SIZE": "3",
        "MR_SLOTS": "9",
        "MR_DATA_FOLDER": "/data",
        "MR_HOST": "127.0.0.2",
    }
    cluster = ClusterConfig.from_environment(environ)
    assert cluster == ClusterConfig(
        request_timeout_s=0.25, task_timeout_s_max=7.0, items_per_chunk=4, replicas=3
    )
    node = NodeConfig.from_environment(environ)
    assert (node.slots, node.data_folder, node.host) == (9, Path("/data"), "127.0.0.2")


def test_an_empty_environment_gives_the_defaults():
    assert ClusterConfig.from_environment({"MR_ITEMS_PER_CHUNK": ""}) == ClusterConfig()
    assert NodeConfig.from_environment({}) == NodeConfig()


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("MR_ITEMS_PER_CHUNK", "many", "not a whole number"),
        ("MR_ITEMS_PER_CHUNK", "2.5", "not a whole number"),
        ("MR_REQUEST_TIMEOUT", "soon", "not a number"),
        ("MR_REQUEST_TIMEOUT", "-1", "at least"),
        ("MR_REQUEST_TIMEOUT", "nan", "at least"),
        ("MR_DHT_REPLICATION_SIZE", "0", "at least 1"),
        ("MR_MAX_TASK_TIMEOUT", "1e99", "at most"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(variable, text, says):
    with pytest.raises(ConfigError, match=says) as caught:
        ClusterConfig.from_environment({variable: text})
    assert variable in str(caught.value)


def test_replicas_need_a_successor_list_to_stand_on():
    with pytest.raises(ConfigError, match="MR_SUCCESSORS"):
        ClusterConfig(replicas=5, successors=3)


def test_settings_that_must_agree_are_plain_values():
    assert set(ClusterConfig().settings()) == {
        field.name for field in dataclasses.fields(ClusterConfig)
    }


def test_configurations_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ClusterConfig().replicas = 3  # type: ignore[misc]
