"""What the settings of a node say of its workers reaches them."""

from __future__ import annotations

import contextlib

from map_reduce.server.configs import ClusterConfig, NodeConfig
from map_reduce.server.worker_pool import NICENESS, prepare, workplace
from map_reduce.workers.confinement import Limits


def test_every_setting_of_workers_reaches_them() -> None:
    config = NodeConfig(
        slots=2,
        worker_open_files_max=100,
        worker_file_mb_max=7,
        worker_memory_mb_max=300,
        worker_variables="A, B C",
    )
    assert len(Limits._fields) == 4  # a new one is to be in this test
    with contextlib.closing(prepare("127.0.0.1:1", ClusterConfig(hash_seed=5), config)) as begun:
        launch = begun.births.launch
        with contextlib.closing(workplace(begun, config).pool) as pool:
            assert pool.slots == 2
    assert launch.limits == Limits(100, 7, 300, 2)
    assert launch.variables == {"A", "B", "C"}
    assert (launch.hash_seed, launch.user, launch.niceness) == (5, None, NICENESS)
