"""A worker process as its pool sees it: started, spoken to, ended, reaped.

Owned by one thread; nothing in here is shared.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import tempfile

from map_reduce.errors import ProtocolError
from map_reduce.workers.births import Births
from map_reduce.workers.exits import exit_in_words
from map_reduce.workers.protocol import FromWorker, Ready, ToWorker, daemon_side, framed

END_WAIT_S = 0.5
REAP_WAIT_S = 5.0
ERROR_BYTES_MAX = 2000
HOW_IS_UNKNOWN = "ended; how is not known, as the process that it was forked from has ended, too"


class Child:
    """One worker process.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, births: Births) -> None:
        self.ready = False
        self.attempts = 0
        self.closed = False
        """The process has closed its end of the connection: it has ended, or is lost to us."""
        self.killed = False
        """It was ended by SIGKILL, and not by us: by the kernel, out of memory, or by somebody."""
        self._births = births
        self._fault = ""
        self._reader = daemon_side()
        self._outgoing = bytearray()
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as given:
            self._errors = undo.enter_context(tempfile.TemporaryFile(dir=births.launch.scratch))
            self.socket, theirs = socket.socketpair()
            undo.callback(self.socket.close)
            given.callback(theirs.close)
            lifeline, self._lifeline = os.pipe()
            given.callback(os.close, lifeline)
            undo.callback(os.close, self._lifeline)
            self._process = births.start(theirs.fileno(), lifeline, self._errors.fileno())
            undo.pop_all()
        self.socket.setblocking(False)

    @property
    def pid(self) -> int:
        """Its number; 0 while it has none."""
        return self._process.pid

    # -------------------------------------------------------------- speaking

    def send(self, message: ToWorker) -> None:
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
        process = self._process
        by_itself = self.closed and process.has_ended(END_WAIT_S)
        process.kill()
        os.close(self._lifeline)
        status = process.reap(REAP_WAIT_S)
        if status is None and process.pid:
            self._await_hangup()
        self._births.let_go(process)
        self.socket.close()
        self._errors.close()
        if by_itself and status is not None:
            self.killed = status == -signal.SIGKILL
            return exit_in_words(status)
        if self.closed and status is None:
            return HOW_IS_UNKNOWN
        return self._fault or "ended by its node"

    def _await_hangup(self) -> None:
        """Nobody can say when it has ended, but it then closes its end of the connection."""
        poller = select.poll()
        poller.register(self.socket, 0)
        poller.poll(1000 * END_WAIT_S)

    def disown(self) -> None:
        """In a forked copy of this process: close all that ties it to the worker process, which,
        where it lives still when its node is gone, then kills itself."""
        self.socket.close()
        os.close(self._lifeline)
        self._errors.close()
        self._process.close()

    def first_words(self) -> str:
        """The end of what it wrote to standard error before it was ready."""
        self._errors.seek(0)
        return self._errors.read()[-ERROR_BYTES_MAX:].decode("utf-8", "replace").strip()
