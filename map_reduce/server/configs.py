"""Every setting: its default, its environment variable, its bounds.

``ClusterConfig`` must be equal on every node of a ring and is checked when a node joins;
``NodeConfig`` may differ. Both are frozen values that are handed in. The environment is read
once, by :func:`ClusterConfig.from_environment` and :func:`NodeConfig.from_environment`; flags
override it by ``dataclasses.replace``.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from map_reduce.errors import ConfigError

REQUEST_TIMEOUT = 0.5
"""Seconds that one control request may take (``MR_REQUEST_TIMEOUT``)."""

MAX_TASK_TIMEOUT = 300
"""Seconds that one attempt at a task may take (``MR_MAX_TASK_TIMEOUT``)."""

ITEMS_PER_CHUNK = 16
"""The fewest items that are worth a task of their own (``MR_ITEMS_PER_CHUNK``)."""

DHT_REPLICATION_SIZE = 5
"""Copies of functions, input blocks and results in the ring (``MR_DHT_REPLICATION_SIZE``)."""

WORKER_MEMORY_MB_MIN = 128
"""A lower bound on the memory of worker processes would not let them start."""

ENVIRONMENT_PREFIX = "MR_"


def _setting(
    default: Any, variable: str, low: float = -math.inf, high: float = math.inf, about: str = ""
) -> Any:
    """A dataclass field that knows its variable, bounds (both allowed) and meaning."""
    bounds = {"variable": ENVIRONMENT_PREFIX + variable, "low": low, "high": high, "about": about}
    if callable(default):
        return field(default_factory=default, metadata=bounds)
    return field(default=default, metadata=bounds)


def processors() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


Config = TypeVar("Config", bound="_Settings")


class _Settings:
    @classmethod
    def from_environment(cls: type[Config], environ: Mapping[str, str] = os.environ) -> Config:
        """Defaults, overridden by the environment variables that are set.

        Raises:
            ConfigError: a variable's text is not of its type, or out of bounds.
        """
        given: dict[str, Any] = {}
        for setting in dataclasses.fields(cls):  # type: ignore[arg-type]
            variable = setting.metadata["variable"]
            if text := environ.get(variable, "").strip():
                kind = {"int": int, "float": float, "Path | None": Path}.get(str(setting.type), str)
                try:
                    given[setting.name] = kind(text)
                except ValueError:
                    noun = {"int": "a whole number", "float": "a number"}[str(setting.type)]
                    raise ConfigError(f"{variable}={text!r} is not {noun}") from None
        return cls(**given)

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, setting.name)
            low, high = setting.metadata["low"], setting.metadata["high"]
            if isinstance(value, int | float) and not low <= value <= high:
                upper = "" if high == math.inf else f" and at most {high:g}"
                raise ConfigError(
                    f"{setting.name} ({setting.metadata['variable']}) is {value:g}; "
                    f"it must be at least {low:g}{upper}"
                )


@dataclass(frozen=True)
class ClusterConfig(_Settings):
    """What every node of a ring must agree on.

    Raises:
        ConfigError: a value is out of its bounds; names the setting and its variable.
    """

    request_timeout_s: float = _setting(
        REQUEST_TIMEOUT, "REQUEST_TIMEOUT", 0.01, 60, "seconds one control request may take"
    )
    task_timeout_s_max: float = _setting(
        MAX_TASK_TIMEOUT,
        "MAX_TASK_TIMEOUT",
        0.1,
        7 * 86400,
        "seconds one attempt may take, where its job does not say",
    )
    items_per_chunk: int = _setting(
        ITEMS_PER_CHUNK, "ITEMS_PER_CHUNK", 1, 1 << 30, "fewest items worth a task of their own"
    )
    replicas: int = _setting(
        DHT_REPLICATION_SIZE, "DHT_REPLICATION_SIZE", 1, 16, "copies of each block in the ring"
    )
    successors: int = _setting(16, "SUCCESSORS", 1, 64, "length of the successor list")
    stabilize_interval_s: float = _setting(
        0.5, "STABILIZE_INTERVAL", 0.01, 60, "seconds between two rounds of ring maintenance"
    )
    dead_after_s: float = _setting(
        5.0, "DEAD_AFTER", 0.1, 600, "seconds of refused connections after which a node is dead"
    )
    silent_after_s: float = _setting(
        20.0, "SILENT_AFTER", 0.1, 600, "seconds of mere silence after which a node is dead"
    )
    attempts_max: int = _setting(
        3, "ATTEMPTS_MAX", 1, 100, "failed attempts at a task until its job fails"
    )
    backups: int = _setting(
        1, "BACKUPS", 0, 1, "1: tasks that lag behind are begun a second time; 0: never"
    )
    lease_s: float = _setting(
        1.5, "LEASE", 0.05, 600, "seconds that a job's silent master is left in peace"
    )
    hash_seed: int = _setting(
        0, "HASH_SEED", 0, 4294967295, "PYTHONHASHSEED of the worker processes"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.successors < self.replicas - 1:
            raise ConfigError(
                f"successors (MR_SUCCESSORS) is {self.successors}, too few for "
                f"{self.replicas} replicas; it must be at least {self.replicas - 1}"
            )

    def settings(self) -> dict[str, int | float | str]:
        """As plain values, for comparison between nodes."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class NodeConfig(_Settings):
    """What each node may have its own way.

    Raises:
        ConfigError: a value is out of its bounds; names the setting and its variable.
    """

    host: str = _setting(
        "127.0.0.1", "HOST", about="address or host name to listen on; auto: that of this machine"
    )
    port: int = _setting(0, "PORT", 0, 65535, "port to listen on; 0 takes a free one")
    cluster_id: str = _setting(
        "", "CLUSTER_ID", about="name of the ring that this node may begin; drawn where unset"
    )
    certs_folder: Path | None = _setting(
        None, "CERTS_FOLDER", about="certificates to prove oneself by; unset: loopback only"
    )
    slots: int = _setting(processors, "SLOTS", 1, 1024, "worker processes")
    data_folder: Path | None = _setting(
        None,
        "DATA_FOLDER",
        about="where blocks and records are kept; where unset, nothing outlives the node",
    )
    memory_blocks_mb_max: int = _setting(
        256, "MEMORY_BLOCKS_MB_MAX", 0, 1 << 20, "small blocks kept in memory, in MiB in all"
    )
    tasks_per_worker_max: int = _setting(
        1000, "TASKS_PER_WORKER_MAX", 1, 1 << 30, "tasks after which a worker process is replaced"
    )
    worker_open_files_max: int = _setting(
        4096, "WORKER_OPEN_FILES_MAX", 64, 1 << 20, "files a worker process may have open"
    )
    worker_file_mb_max: int = _setting(
        65536, "WORKER_FILE_MB_MAX", 1, 1 << 30, "length of a file it may write, in MiB"
    )
    worker_variables: str = _setting(
        "", "WORKER_VARIABLES", about="environment variables it gets although they look secret"
    )
    worker_memory_mb_max: int = _setting(
        0, "WORKER_MEMORY_MB_MAX", 0, 1 << 20, "MiB a worker may use for an attempt; 0: no bound"
    )
    worker_user: str = _setting(
        "", "WORKER_USER", about="whom it runs as, if the node is root; unset: the node's user"
    )
    result_ttl_s: float = _setting(
        3600.0, "RESULT_TTL", 1, 365 * 86400, "seconds that results are kept after a job's end"
    )
    repair_interval_s: float = _setting(
        60.0, "REPAIR_INTERVAL", 0.1, 86400, "seconds between two looks for blocks that lack copies"
    )
    repair_mb_per_s_max: float = _setting(
        32.0,
        "REPAIR_MB_PER_S_MAX",
        0.1,
        1 << 20,
        "MiB a second that a node moves to restore copies",
    )
    handover_s_max: float = _setting(
        10.0,
        "HANDOVER_S_MAX",
        0,
        3600,
        "seconds a node may take to hand over its blocks on leaving, and again for its records",
    )
    record_move_after_s: float = _setting(
        30.0, "RECORD_MOVE_AFTER", 0.1, 86400, "seconds after which a lost node's records are moved"
    )
    compression: int = _setting(
        1, "COMPRESSION", 0, 1, "1: data is deflated where a slow network makes it pay; 0: never"
    )
    deleted_jobs_max: int = _setting(
        100_000, "DELETED_JOBS_MAX", 100, 10_000_000, "deleted jobs whose names are remembered"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.worker_memory_mb_max < WORKER_MEMORY_MB_MIN:
            raise ConfigError(
                f"worker_memory_mb_max (MR_WORKER_MEMORY_MB_MAX) is {self.worker_memory_mb_max}; a "
                f"worker process needs {WORKER_MEMORY_MB_MIN} MiB, and 0 means no bound"
            )
