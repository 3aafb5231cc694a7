"""The template: a process that imports what a worker needs, and forks workers when it is told to.

``workers/template.py`` says what for, and draws what is said. Here is its loop. It has one thread
and runs no code of users, or else what it forks would find locks that nobody lets go of, and things
left by others; so it counts its threads before each fork, and ends where it has more.

A worker that has ended stays a zombie until its group has been killed and it is reaped, in one go:
its number is nobody else's while anything is done by that number.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from typing import NoReturn

from map_reduce.workers.exits import EXIT_NOT_ALONE, EXIT_NOT_BORN
from map_reduce.workers.handle import (
    BORN,
    DESCRIPTORS_PER_FORK,
    ENDED,
    FORK,
    SAID_BYTES_MAX,
    SERVING,
    kill_group,
)
from map_reduce.workers.process import Orders, die_with, work


class _Worker:
    """A process that was forked here, until it has been reaped and its slot has let go of it."""

    def __init__(self, pid: int, handle: socket.socket) -> None:
        self.handle = handle
        self._pid = pid  # 0 once it is reaped

    def tell(self, what: bytes, number: int) -> None:
        with contextlib.suppress(OSError):  # its slot no longer listens
            self.handle.send(what + str(number).encode())

    def is_wanted(self) -> bool:
        """Whether its slot still holds the other end; what it has said is taken off."""
        while True:
            try:
                if not self.handle.recv(SAID_BYTES_MAX):
                    return False
            except BlockingIOError:
                return True
            except OSError:
                return False

    def kill(self) -> None:
        if self._pid:
            kill_group(self._pid)
            os.kill(self._pid, signal.SIGKILL)  # just forked, it may have no group of its own yet

    def reap(self) -> bool:
        """Whether it has ended. Its slot is told how."""
        if os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            return False
        self.kill()
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        self.tell(ENDED, os.waitstatus_to_exitcode(status))
        return True


class TemplateProcess:
    """What it does once it has imported everything."""

    def __init__(self, requests: socket.socket, lifeline: int, orders: Orders) -> None:
        self._requests = requests
        self._lifeline = lifeline
        self._orders = orders
        self._living: set[_Worker] = set()
        self._by_handle: dict[int, _Worker] = {}  # until their slots close these
        self._poller = select.poll()
        self._hear, self._ring = os.pipe()  # rung by the kernel when a child has ended
        for end in (self._hear, self._ring):
            os.set_blocking(end, False)

    def serve(self) -> None:
        """Until the node closes its end."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # A node's program may have blocked it, and that is inherited.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)
        for end in (self._hear, self._requests.fileno()):
            self._poller.register(end, select.POLLIN)
        gc.freeze()  # or else a collection in a worker would make its own copy of every page
        self._requests.send(SERVING)
        while True:
            ready = {number for number, _ in self._poller.poll()}
            if self._hear in ready:
                os.read(self._hear, 1 << 12)
                self._reap()
            for number in ready & self._by_handle.keys():
                self._hear_of(self._by_handle[number])
            if self._requests.fileno() in ready and not self._take_request():
                return

    def _take_request(self) -> bool:
        """Fork a worker, where there is one to fork; False: the node has closed its end."""
        said, given, _, _ = socket.recv_fds(
            self._requests, SAID_BYTES_MAX, DESCRIPTORS_PER_FORK, socket.MSG_CMSG_CLOEXEC
        )
        if said != FORK:
            return False
        if len(os.listdir("/proc/self/task")) > 1:
            print("it has other threads than its own", file=sys.stderr)
            os._exit(EXIT_NOT_ALONE)
        handle = socket.socket(fileno=given[0])
        handle.setblocking(False)
        if not _hears_nothing(handle) or not self._fork(handle, *given[1:]):
            handle.close()
        for descriptor in given[1:]:
            os.close(descriptor)
        return True

    def _fork(self, handle: socket.socket, connection: int, lifeline: int, errors: int) -> bool:
        try:
            pid = os.fork()
        except OSError as error:
            os.write(errors, f"cannot fork: {error.strerror}".encode())
            return False
        if not pid:
            self._be_a_worker(handle, connection, lifeline, errors)
        worker = _Worker(pid, handle)
        worker.tell(BORN, pid)
        self._living.add(worker)
        self._by_handle[handle.fileno()] = worker
        self._poller.register(handle, select.POLLIN)
        return True

    def _be_a_worker(
        self, handle: socket.socket, connection: int, lifeline: int, errors: int
    ) -> NoReturn:
        """In the fork: let go of all that is the template's, and begin."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            os.dup2(errors, 2)
            os.close(errors)
            for own in (self._hear, self._ring, self._lifeline):
                os.close(own)
            others = [worker.handle for worker in self._by_handle.values()]
            for mine in (self._requests, handle, *others):
                mine.close()
            work(connection, lifeline, self._orders)
        except BaseException:  # noqa: BLE001  whatever it is, it must not go on as the template
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(EXIT_NOT_BORN)

    def _hear_of(self, worker: _Worker) -> None:
        """It is to be killed, or its slot has let go of it, which means the same."""
        worker.kill()
        if not worker.is_wanted():
            self._poller.unregister(worker.handle)
            del self._by_handle[worker.handle.fileno()]
            worker.handle.close()

    def _reap(self) -> None:
        for worker in [*self._living]:
            if worker.reap():
                self._living.discard(worker)


def _hears_nothing(handle: socket.socket) -> bool:
    """Neither "kill" nor the end, before there is anything to kill."""
    try:
        handle.recv(SAID_BYTES_MAX)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def main() -> None:
    """Entry point; the arguments are those that ``workers/template.py`` gives."""
    requests, lifeline, *orders = sys.argv[1:]
    die_with(int(lifeline))
    sock = socket.socket(fileno=int(requests))
    TemplateProcess(sock, int(lifeline), Orders.read(orders)).serve()
