"""What a task leaves behind in its process, cleared away or, where that can't be, reported.

Every task of any job may run in a process that others used before. What a task may have
changed falls in two groups. Put back by us: working folder, environment variables, import
path, umask, alarm. Beyond putting back: threads that go on, child processes, closed standard
streams, open files without end. For those the process is replaced. (Threads marked as daemons
are left alone: many libraries keep some for good.)
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

from map_reduce.workers.descriptors import identity_of

DESCRIPTORS_LEAKED_MAX = 100
"""Files that tasks may leave open in a process before it is replaced."""


class Surroundings:
    """The process as it was before any user code ran."""

    def __init__(self) -> None:
        self._folder = os.getcwd()
        self._environ = dict(os.environ)
        self._variables = dict(_variables())
        self._path = list(sys.path)
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._threads = set(threading.enumerate())
        self._streams = [identity_of(descriptor) for descriptor in range(3)]
        self._descriptor = _lowest_free_descriptor()

    def restore(self) -> str:
        """Put back what can be; return why the process must be replaced, or an empty text."""
        try:
            os.chdir(self._folder)
        except OSError as error:
            return f"its working folder is out of reach: {error}"
        if _variables() != self._variables:
            os.environ.clear()
            os.environ.update(self._environ)
        if sys.path != self._path:
            sys.path[:] = self._path
        os.umask(self._umask)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return self._irreparable()

    def _irreparable(self) -> str:
        for thread in threading.enumerate():
            if not thread.daemon and thread not in self._threads:
                return f"thread {thread.name!r} goes on"
        if _has_children():
            return "child processes go on"
        if [identity_of(descriptor) for descriptor in range(3)] != self._streams:
            return "standard input, output or error was closed or replaced"
        if _lowest_free_descriptor() > self._descriptor + DESCRIPTORS_LEAKED_MAX:
            return f"more than {DESCRIPTORS_LEAKED_MAX} files were left open"
        return ""


def _variables() -> Mapping[Any, Any]:
    """The environment to be compared: as the dict that os.environ has it in, where it is the one
    of the standard library. To compare os.environ itself is to decode every name and value, which
    takes longer than all else here."""
    found: Mapping[Any, Any] = getattr(os.environ, "_data", os.environ)
    return found


def _has_children() -> bool:
    """Whether a child process lives on. Those that have ended are reaped."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return False
    return True


def _lowest_free_descriptor() -> int:
    try:
        probe = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 1 << 30  # none is free
    os.close(probe)
    return probe
