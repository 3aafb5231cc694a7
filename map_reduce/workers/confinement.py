"""What a worker process is not given, and how much of the machine it may take.

User code runs with what its node's user may do, so a bound here is no wall against code that means
ill: it keeps secrets of the node out of the reach of code that prints or ships its environment,
and one task from taking what all need.

- **Environment**: a worker process has that of its node, but for what looks like a secret: names in
  ``WITHHELD`` and those that ``LOOKS_SECRET`` matches. What the functions need nevertheless is
  named by the setting ``worker_variables``.
- **Descriptors**: standard input is empty; besides output, errors, its connection to the node and
  its lifeline it has none, whatever its node has open.
- **Limits** of the kernel, which user code cannot raise: files open at once, the length of a file
  that it writes, no core dumps (they would hold what the functions had in memory). Time is the
  pool's affair, which kills whoever runs over.
"""

from __future__ import annotations

import re
import resource
from collections.abc import Mapping
from typing import NamedTuple

WITHHELD = frozenset(
    {
        *("MAP_REDUCE_TOKEN_FILE", "MR_CERTS_FOLDER"),
        *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "GPG_AGENT_INFO", "DBUS_SESSION_BUS_ADDRESS"),
        *("KUBECONFIG", "DOCKER_CONFIG", "DOCKER_HOST", "NETRC", "PGPASSFILE"),
        *("GOOGLE_APPLICATION_CREDENTIALS", "DATABASE_URL", "SSLKEYLOGFILE"),
    }
)
"""Variables that name a secret, or a way to one."""

LOOKS_SECRET = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|COOKIE"
    r"|(API|ACCESS|PRIVATE|AUTH|SIGNING|ENCRYPTION)_?KEY)S?(_|$)"
)
"""Where the name of a variable, in capitals, looks like that of a secret: DB_PASSWORD,
AWS_SECRET_ACCESS_KEY, AUTHTOKEN, but not TOKENIZERS_PARALLELISM."""


class Limits(NamedTuple):
    """What a worker process may take. ``memory_mb_max`` is for each attempt (``memory.py``);
    ``slots`` worker processes share the machine."""

    open_files_max: int = 4096
    file_mb_max: int = 65536
    memory_mb_max: int = 0  # no bound
    slots: int = 1


DEFAULT_LIMITS = Limits()


def without_secrets(environ: Mapping[str, str], wanted: frozenset[str]) -> dict[str, str]:
    """The environment of a worker process; ``wanted`` are variables that it is to have anyway."""
    return {
        name: value
        for name, value in environ.items()
        if name in wanted or not _looks_secret(name.upper())
    }


def _looks_secret(name: str) -> bool:
    return name in WITHHELD or LOOKS_SECRET.search(name) is not None


def confine(limits: Limits) -> None:
    """Take on the limits, in the worker process itself. Where the system's are lower they stay."""
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, limits.open_files_max),
        (resource.RLIMIT_FSIZE, limits.file_mb_max << 20),
    ):
        _, hard = resource.getrlimit(kind)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))
