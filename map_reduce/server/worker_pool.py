"""The worker processes of a node, as its settings want them."""

from __future__ import annotations

from typing import NamedTuple

from map_reduce.core.identifiers import Address
from map_reduce.server.configs import ClusterConfig, NodeConfig
from map_reduce.server.scratch import Scratch
from map_reduce.storage.data_folder import make_private
from map_reduce.workers.confinement import Limits
from map_reduce.workers.pool import ProcessWorkerPool
from map_reduce.workers.user import WorkerUser


class Workplace(NamedTuple):
    """A node's workers, and the temporary folder that they and the node use."""

    scratch: Scratch
    pool: ProcessWorkerPool


NICENESS = 5
"""Of workers, so that the node beside them answers its neighbours in time."""


def workplace(
    address: Address, cluster: ClusterConfig, config: NodeConfig, niceness: int = NICENESS
) -> Workplace:
    """Start the workers of the node at ``address``, so much nicer than this process.

    Raises:
        ConfigError: the user that the workers are to be is not there, or can't be.
    """
    scratch = Scratch()
    try:
        return Workplace(scratch, _worker_pool(address, cluster, config, scratch, niceness))
    except BaseException:
        scratch.close()
        raise


def _worker_pool(
    address: Address, cluster: ClusterConfig, config: NodeConfig, scratch: Scratch, niceness: int
) -> ProcessWorkerPool:
    workers = scratch.folder("workers")
    # What the workers are handed to read lies in there.
    read = (scratch.folder("fetched"), config.data_folder or scratch.folder("blocks"))
    user = WorkerUser.named(config.worker_user)
    if user is not None:
        if config.data_folder is not None:
            make_private(config.data_folder)  # it may not be there yet
        user.share((scratch.path, workers), read)
    return ProcessWorkerPool(
        config.slots,
        scratch=workers,
        node=str(address),
        hash_seed=cluster.hash_seed,
        tasks_per_worker_max=config.tasks_per_worker_max,
        niceness=niceness,
        limits=Limits(
            config.worker_open_files_max,
            config.worker_file_mb_max,
            config.worker_memory_mb_max,
            config.slots,
        ),
        variables=frozenset(config.worker_variables.replace(",", " ").split()),
        user=user,
    )
