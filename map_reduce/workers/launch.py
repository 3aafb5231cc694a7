"""How an interpreter for worker processes is started, and a worker process that is one.

A fresh interpreter: it inherits nothing of its node but what it is given, so no lock is copied in
the state in which some thread happened to hold it, and nothing of the node stays open in it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from map_reduce.workers.confinement import DEFAULT_LIMITS, Limits, without_secrets
from map_reduce.workers.handle import kill_group
from map_reduce.workers.user import WorkerUser

_PATH_VARIABLE = "MAP_REDUCE_WORKER_PATH"

# The import path is set before anything is imported, so that no file in the current folder can
# take the place of a module of ours or of the standard library. Imports make no garbage that is
# worth looking for.
_BOOT = (
    "import gc; gc.disable(); "
    f"import os, sys; sys.path[:] = os.environ.pop({_PATH_VARIABLE!r}).split('\\n'); "
    "from map_reduce.workers.{module} import main; main()"
)


class Launch(NamedTuple):
    """What all worker processes of a pool are started with.

    ``niceness`` is added to the scheduling priority, so that the daemons on the machine stay
    responsive while its workers compute; it costs the workers nothing on an idle machine.
    """

    node: str  # its address, for messages
    hash_seed: int
    scratch: Path  # an existing folder
    niceness: int = 5
    limits: Limits = DEFAULT_LIMITS
    variables: frozenset[str] = frozenset()  # that user code has although they look like secrets
    user: WorkerUser | None = None  # None: the node's own

    def environment(self) -> Mapping[str, str]:
        """Of an interpreter that is started now."""
        path = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]
        environ = without_secrets(os.environ, self.variables)
        if self.user is not None:
            environ |= self.user.environment
        seed = str(self.hash_seed)
        return {**environ, "PYTHONHASHSEED": seed, _PATH_VARIABLE: "\n".join(path)}

    def arguments(self, errors: int) -> list[str]:
        """What a worker process is to know, as ``workers/process.py`` reads it."""
        return [self.node, str(errors), str(self.niceness), *map(str, self.limits)]


def start_interpreter(
    launch: Launch,
    module: str,
    given: tuple[int, ...],
    errors: Any,
    environment: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    """Run ``main()`` of a module of this package, with the descriptors ``given`` and a standard
    error until it is ready, in a session of its own.

    Raises:
        OSError: it cannot be started.
    """
    as_user: dict[str, Any] = {}
    if launch.user is not None:
        as_user = {"user": launch.user.uid, "group": launch.user.gid, "extra_groups": []}
    boot = _BOOT.replace("{module}", module)
    of_users = _standard_error()
    try:
        return subprocess.Popen(
            [sys.executable, "-c", boot, *map(str, given), *launch.arguments(of_users)],
            stdin=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=(*given, of_users),
            env=environment,
            start_new_session=True,
            **as_user,
        )
    finally:
        os.close(of_users)


def _standard_error() -> int:
    """A descriptor of this process's standard error, or of nowhere where it has none: there goes
    what user code writes to its own."""
    try:
        return os.dup(2)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


class Process(Protocol):
    """A worker process, as who started it sees it: it ends, or is killed, and is reaped."""

    @property
    def pid(self) -> int:
        """Its number; 0 while it has none."""

    def has_ended(self, within_s: float) -> bool:
        """Whether it ends by itself in this time."""

    def kill(self) -> None:
        """Kill it and all of its group, if that has not been done."""

    def reap(self, within_s: float) -> int | None:
        """Its exit status, as ``Popen.returncode`` has it, once it has been killed; None where it
        is not known: the kernel cannot end it now, or nobody is left who could say."""

    def close(self) -> None:
        """Give back what is held here on its account."""


class Interpreter:
    """A worker process that is an interpreter of its own.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, launch: Launch, connection: int, lifeline: int, errors: Any) -> None:
        self._popen = start_interpreter(
            launch, "process", (connection, lifeline), errors, launch.environment()
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def has_ended(self, within_s: float) -> bool:
        """As the protocol says; it is left unreaped."""
        deadline_s = time.monotonic() + within_s
        while not self._is_zombie():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(0.005)
        return True

    def _is_zombie(self) -> bool:
        if not hasattr(os, "waitid"):  # macOS before Python 3.13: reaped at once, then
            return self._popen.poll() is not None
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def kill(self) -> None:
        # Not reaped yet, so its number is still its own, and its group's.
        kill_group(self.pid)

    def reap(self, within_s: float) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            # A process that the kernel cannot end now (it waits for a dead file server) is
            # left to it; subprocess reaps it later.
            return self._popen.wait(within_s)
        return None

    def close(self) -> None:
        pass
