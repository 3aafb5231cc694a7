"""The worker processes of a node, as its settings want them.

What is needed to start the first of them is imported with this module, and that is little: a script
whose node is embedded has the rest of its imports to make while the process comes up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from map_reduce.server.configs import ClusterConfig, NodeConfig
from map_reduce.server.scratch import Scratch
from map_reduce.storage.data_folder import make_private
from map_reduce.workers.births import Births
from map_reduce.workers.confinement import Limits
from map_reduce.workers.launch import Launch
from map_reduce.workers.user import WorkerUser

if TYPE_CHECKING:
    from map_reduce.workers.pool import ProcessWorkerPool

NICENESS = 5
"""Of workers, so that the node beside them answers its neighbours in time."""


class Beginnings(NamedTuple):
    """The temporary folder of a node, and what its workers are to be born from."""

    scratch: Scratch
    births: Births

    def close(self) -> None:
        self.births.close()
        self.scratch.close()


class Workplace(NamedTuple):
    """A node's workers, and the temporary folder that they and the node use."""

    scratch: Scratch
    pool: ProcessWorkerPool

    def close(self) -> None:
        self.pool.close()
        self.scratch.close()


def prepare(
    node: str, cluster: ClusterConfig, config: NodeConfig, niceness: int = NICENESS
) -> Beginnings:
    """Begin to start the workers of the node at this address, so much nicer than this process.

    Raises:
        ConfigError: the user that the workers are to be is not there, or can't be.
    """
    scratch = Scratch()
    try:
        births = Births(_launch(node, cluster, config, scratch, niceness))
    except BaseException:
        scratch.close()
        raise
    births.prepare()
    return Beginnings(scratch, births)


def workplace(beginnings: Beginnings, config: NodeConfig) -> Workplace:
    """Go on with it: the pool then closes what the workers come from."""
    from map_reduce.workers.pool import ProcessWorkerPool  # late: see the module's text

    pool = ProcessWorkerPool(
        config.slots, beginnings.births, tasks_per_worker_max=config.tasks_per_worker_max
    )
    return Workplace(beginnings.scratch, pool)


def _launch(
    node: str, cluster: ClusterConfig, config: NodeConfig, scratch: Scratch, niceness: int
) -> Launch:
    workers = scratch.folder("workers")
    # What the workers are handed to read lies in there.
    read = (scratch.folder("fetched"), config.data_folder or scratch.folder("blocks"))
    user = WorkerUser.named(config.worker_user)
    if user is not None:
        if config.data_folder is not None:
            make_private(config.data_folder)  # it may not be there yet
        user.share((scratch.path, workers), read)
    return Launch(
        node,
        cluster.hash_seed,
        workers,
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
