"""A process that worker processes are forked from, as its pool sees it.

A fresh interpreter takes some fifty milliseconds of a processor to import what a worker needs; a
fork of one that has done so takes two, and shares its memory. So a pool starts one interpreter, the
template, which does nothing but import and then fork when it is told to: it has one thread, and no
user code ever runs in it, so what is forked is as good as fresh. ``workers/template_process.py`` is
its other side.

For each worker process there is a *handle*, a socket of its own between the template, its parent,
and the slot that it belongs to; so slots never wait for one another::

    pool ── fork, with the worker's descriptors ──▶ template         (one socket for all)
    slot ◀── born 4711 ── template                                   (the handle)
    slot ◀── ended -9 ── template      it ended by itself, or since it was to be killed
    slot ── kill ──▶ template          also by closing the handle

Only the template signals and reaps its workers, and it signals none that it has reaped: a number
that the kernel has given to another process is never used.

Whatever becomes of the template, nobody hangs: where it ends, the kernel closes the handles and
whatever descriptors are still on their way to it. Workers that are there already live on, and end
with their node or when their slot lets go of them; only how they ended is not known then.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from map_reduce.workers.descriptors import identity_of
from map_reduce.workers.handle import BORN, ENDED, FORK, KILL, SAID_BYTES_MAX, SERVING
from map_reduce.workers.launch import Launch, start_interpreter

BIRTH_WAIT_S = 20.0
REAP_WAIT_S = 5.0
ERROR_BYTES_MAX = 2000

HAS_TEMPLATES = sys.platform.startswith("linux")
"""Elsewhere a fork of a process that has not executed another program is not safe to rely on: on
macOS system libraries start threads of their own."""


class _Origin(NamedTuple):
    """What an interpreter takes over from the process that starts it, and keeps."""

    environment: Mapping[str, str]
    folder: str
    output: tuple[int, int] | None
    errors: tuple[int, int] | None
    umask: bytes

    @classmethod
    def now(cls, launch: Launch) -> _Origin:
        try:
            folder = os.getcwd()
        except OSError:
            folder = ""  # it was deleted
        return cls(launch.environment(), folder, identity_of(1), identity_of(2), _umask())


def _umask() -> bytes:
    """The mask of this process; to ask os.umask would be to change it for all threads."""
    with open("/proc/self/status", "rb") as status:
        return next((line for line in status if line.startswith(b"Umask:")), b"")


class Template:
    """One template process. Safe to use from many threads.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, launch: Launch) -> None:
        self._origin = _Origin.now(launch)
        self._lock = threading.Lock()
        self._serving = False
        self.users = 0
        """Worker processes that came from it and have not been let go; counted by its pool."""
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as given:
            self._errors = undo.enter_context(tempfile.TemporaryFile(dir=launch.scratch))
            self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self._requests.close)
            given.callback(theirs.close)
            self._requests.setblocking(False)
            lifeline, self._lifeline = os.pipe()
            given.callback(os.close, lifeline)
            undo.callback(os.close, self._lifeline)
            self._popen = start_interpreter(
                launch,
                "template_process",
                (theirs.fileno(), lifeline),
                self._errors,
                self._origin.environment,
            )
            self._undo = undo.pop_all()

    def is_as_fresh(self, launch: Launch) -> bool:
        """Whether an interpreter that is started now would find itself where this one did."""
        return self._origin == _Origin.now(launch)

    @property
    def is_serving(self) -> bool:
        """Whether it has come as far as to fork what it is told to."""
        with self._lock:
            if not self._serving:
                with contextlib.suppress(OSError):
                    self._serving = self._requests.recv(SAID_BYTES_MAX) == SERVING
            return self._serving

    @property
    def status(self) -> int | None:
        """Its exit status where it has ended, else None."""
        with self._lock:
            return self._popen.poll()

    def fork(self, connection: int, lifeline: int, errors: int) -> Forked:
        """Ask for a worker process with these descriptors; it is there some time later.

        Raises:
            OSError: it has ended, or has more requests than fit.
        """
        handle, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.ExitStack() as undo, theirs:
            undo.callback(handle.close)
            given = [theirs.fileno(), connection, lifeline, errors]
            socket.send_fds(self._requests, [FORK], given)
            undo.pop_all()
        return Forked(self, handle)

    def last_words(self) -> str:
        """The end of what it wrote to its standard error."""
        size = os.fstat(self._errors.fileno()).st_size
        start = max(0, size - ERROR_BYTES_MAX)
        data = os.pread(self._errors.fileno(), ERROR_BYTES_MAX, start)
        return data.decode("utf-8", "replace").strip()

    def end(self) -> None:
        """Kill and reap it. What it has forked has been let go of before."""
        with self._lock:
            self._popen.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(REAP_WAIT_S)
        self.disown()

    def disown(self) -> None:
        """Give back what is held here on its account."""
        self._undo.close()


class Forked:
    """A worker process that a template was asked for (a :class:`.Process`); of one thread."""

    def __init__(self, template: Template, handle: socket.socket) -> None:
        self._template = template
        self._handle = handle
        handle.setblocking(False)
        self._asked_s = time.monotonic()
        self._pid = 0
        self._status: int | None = None
        self._lost = False  # the template has ended, or has let go of it

    @property
    def pid(self) -> int:
        self._hear()
        return self._pid

    @property
    def template(self) -> Template:
        return self._template

    @property
    def is_overdue(self) -> bool:
        """Whether the template, though it may be there, has not forked it in all this time."""
        return not self.pid and time.monotonic() - self._asked_s > BIRTH_WAIT_S

    def has_ended(self, within_s: float) -> bool:
        self._await_end(within_s)
        return self._status is not None

    def kill(self) -> None:
        with contextlib.suppress(OSError):  # it has ended, or the template has
            self._handle.send(KILL)

    def reap(self, within_s: float) -> int | None:
        # One that does not serve yet finds the handle closed when it does, and forks nothing. It
        # says that it serves before it looks, and we said "kill" before we ask.
        if self._template.is_serving:
            self._await_end(within_s)
        return self._status

    def close(self) -> None:
        self._handle.close()

    def _await_end(self, within_s: float) -> None:
        deadline_s = time.monotonic() + within_s
        poller = select.poll()
        poller.register(self._handle, select.POLLIN)
        self._hear()
        while self._status is None and not self._lost:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not poller.poll(1000 * left_s):
                return
            self._hear()

    def _hear(self) -> None:
        """Take in what the template has said of it."""
        while not self._lost:
            try:
                said = self._handle.recv(SAID_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:  # closed, here or there
                said = b""
            if said.startswith(BORN):
                self._pid = int(said[1:])
            elif said.startswith(ENDED):
                self._status = int(said[1:])
            else:
                self._lost = True
