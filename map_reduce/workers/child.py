"""A worker process as its pool sees it: started, spoken to, ended, reaped.

Owned by one thread; nothing in here is shared.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from map_reduce.errors import ProtocolError
from map_reduce.workers.confinement import Limits, without_secrets
from map_reduce.workers.failures import exit_in_words
from map_reduce.workers.protocol import Forget, FromWorker, Ready, Run, daemon_side, framed
from map_reduce.workers.user import WorkerUser

_PATH_VARIABLE = "MAP_REDUCE_WORKER_PATH"

# The import path is set before anything is imported, so that no file in the current folder can
# take the place of a module of ours or of the standard library.
_BOOT = (
    f"import os, sys; sys.path[:] = os.environ.pop({_PATH_VARIABLE!r}).split('\\n'); "
    "from map_reduce.workers.process import main; main()"
)

END_WAIT_S = 0.5
REAP_WAIT_S = 5.0
ERROR_BYTES_MAX = 2000


class Launch(NamedTuple):
    """What all worker processes of a pool are started with.

    ``niceness`` is added to the scheduling priority, so that the daemons on the machine stay
    responsive while its workers compute; it costs the workers nothing on an idle machine.
    """

    node: str
    hash_seed: int
    niceness: int
    errors: int  # the descriptor that user code's standard error goes to
    scratch: Path
    limits: Limits
    variables: frozenset[str]  # that user code has although they look like secrets
    user: WorkerUser | None  # None: the node's own


def _environment(launch: Launch) -> Mapping[str, str]:
    path = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]
    environ = without_secrets(os.environ, launch.variables)
    if launch.user is not None:
        environ |= launch.user.environment
    seed = str(launch.hash_seed)
    return {**environ, "PYTHONHASHSEED": seed, _PATH_VARIABLE: "\n".join(path)}


class Child:
    """One worker process.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, launch: Launch) -> None:
        self.ready = False
        self.attempts = 0
        self.closed = False
        """The process has closed its end of the connection: it has ended, or is lost to us."""
        self.killed = False
        """It was ended by SIGKILL, and not by us: by the kernel, out of memory, or by somebody."""
        self._errors = tempfile.TemporaryFile(dir=launch.scratch)  # noqa: SIM115  closed by end()
        self._fault = ""
        self._reader = daemon_side()
        self._outgoing = bytearray()
        with contextlib.ExitStack() as stack:
            ours, theirs = socket.socketpair()
            stack.callback(theirs.close)
            stack.callback(ours.close)
            reading_end, writing_end = os.pipe()
            stack.callback(os.close, reading_end)
            stack.callback(os.close, writing_end)
            stack.callback(self._errors.close)
            given = (theirs.fileno(), reading_end, launch.errors)
            as_user: dict[str, Any] = {}
            if launch.user is not None:
                as_user = {"user": launch.user.uid, "group": launch.user.gid, "extra_groups": []}
            self._popen = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _BOOT,
                    launch.node,
                    *map(str, given),
                    *map(str, (launch.niceness, *launch.limits)),
                ],
                stdin=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=given,
                env=_environment(launch),
                start_new_session=True,
                **as_user,
            )
            stack.pop_all()
        theirs.close()
        os.close(reading_end)
        ours.setblocking(False)
        self.socket = ours
        self._lifeline = writing_end

    @property
    def pid(self) -> int:
        return self._popen.pid

    # -------------------------------------------------------------- speaking

    def send(self, message: Run | Forget) -> None:
        """Send as much as goes at once; :meth:`pump` sends the rest.

        Raises:
            ProtocolError: the message is too long.
        """
        self._outgoing += framed(message)
        self._send_more()

    @property
    def sending(self) -> bool:
        """Whether some of what was sent still waits for room in the socket."""
        return bool(self._outgoing)

    def pump(self) -> list[FromWorker]:
        """Send what goes and receive what is there, without waiting.

        Ready is not among the messages but becomes the attribute of that name. A process that
        says what no worker process says is treated as one that closed its connection.
        """
        self._send_more()
        try:
            if not self._reader.receive(self.socket):
                self.closed = True
                self._fault = "closed its connection to the node, and was ended"
            messages = list(self._reader.messages())
        except BlockingIOError:
            return []
        except ProtocolError as error:
            self.closed = True
            self._fault = f"sent what is no message, and was ended: {error}"
            return []
        self.ready = self.ready or any(isinstance(message, Ready) for message in messages)
        return [message for message in messages if not isinstance(message, Ready)]

    def _send_more(self) -> None:
        try:
            while self._outgoing:
                del self._outgoing[: self.socket.send(self._outgoing)]
        except BlockingIOError:
            return
        except ConnectionError:
            # What it said before it ended is still to be received, and then the end.
            self._outgoing.clear()

    # -------------------------------------------------------------- ending

    def end(self) -> str:
        """Kill it and all of its group, reap it, and give its descriptors back.

        Returns how it has ended, for people.
        """
        by_itself = self.closed and self._has_ended(END_WAIT_S)
        # Not reaped yet, so its number is still its own, and its group's.
        with contextlib.suppress(ProcessLookupError, PermissionError):  # none left but zombies
            os.killpg(self.pid, signal.SIGKILL)
        self.close_descriptors()
        with contextlib.suppress(subprocess.TimeoutExpired):
            # A process that the kernel cannot end now (it waits for a dead file server) is
            # left to it; subprocess reaps it later.
            self._popen.wait(REAP_WAIT_S)
        if by_itself:
            self.killed = self._popen.returncode == -signal.SIGKILL
            return exit_in_words(self._popen.returncode)
        return self._fault or "ended by its node"

    def close_descriptors(self) -> None:
        """All that ties this process to it: where it lives still, it then kills itself."""
        self.socket.close()
        os.close(self._lifeline)
        self._errors.close()

    def _has_ended(self, within_s: float) -> bool:
        """Whether it ends by itself in this time; it is left unreaped."""
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

    def first_words(self) -> str:
        """The end of what it wrote to standard error before it was ready."""
        self._errors.seek(0)
        return self._errors.read()[-ERROR_BYTES_MAX:].decode("utf-8", "replace").strip()
