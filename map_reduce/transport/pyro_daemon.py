"""What a node's Pyro4 daemon can be asked: one method of one object, with bytes for bytes.

``Pyro4.core.Daemon`` keeps the objects, decides which of their methods are exposed, and runs the
loop. Its two entrances for bytes from the network are overridden, since each lets a stranger
choose what decodes them: ``_handshake`` and ``handleRequest`` below read only the frames that
``pyro_channel.py`` lets through. Its ``Pyro.Daemon`` object, which tells anybody what is
registered, is not there.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from functools import partial

from Pyro4 import core, message, util

from map_reduce.core.messages import Request
from map_reduce.core.roles import Caller
from map_reduce.errors import ProtocolError
from map_reduce.ports import Handler, ToHold
from map_reduce.transport.answering import Wait, answer, hold_of
from map_reduce.transport.credentials import Credentials
from map_reduce.transport.pyro_greeting import Rejected, let_in, send_text
from map_reduce.transport.pyro_holding import await_news
from map_reduce.transport.pyro_packing import Paces
from map_reduce.transport.pyro_serializer import (
    OBJECT_ID,
    RESULT_HEAD,
    OpaqueSerializer,
)
from map_reduce.transport.pyro_server import ConnectionServer, Limits, ServedChannel, Stage

log = logging.getLogger("map_reduce.transport")


class Rpc:
    """The object that is exposed."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def rpc(self, data: memoryview, caller: Caller, wait: Wait) -> bytes:
        """The reply to an encoded request, encoded (``wire.py``). Raises what ``wait`` does."""
        return answer(self._handler, data, caller, wait)


core.expose(Rpc)


class NodeDaemon(core.Daemon):  # type: ignore[misc]
    """A Pyro4 daemon that reads nothing but our frames.

    ``plane`` is what it is greeted as, ``welcome`` what it says to who belongs here. With ``paces``
    frames may be deflated.
    """

    def __init__(
        self,
        listener: socket.socket,
        limits: Limits,
        name: str,
        credentials: Credentials,
        *,
        plane: str,
        welcome: str,
        paces: Paces | None = None,
    ) -> None:
        self._connections = ConnectionServer(listener, limits, name)
        self._limits = limits
        self._credentials = credentials
        self._plane = plane
        self._welcome = welcome
        self._paces = paces
        self._serializer = OpaqueSerializer()
        self._to_hold: ToHold | None = None
        super().__init__(*listener.getsockname()[:2])
        self.objectsById.clear()  # of Pyro.Daemon

    @property
    def transportServer(self) -> ConnectionServer:
        return self._connections

    @transportServer.setter
    def transportServer(self, offered: object) -> None:
        """Pyro4 brings its own server when it starts and None when it ends; ours stays."""

    def answer_with(self, handler: Handler, to_hold: ToHold | None) -> None:
        """Expose the handler. Not by ``register``, which would also tell every serializer of
        this process, ours or not, to send such objects as proxies."""
        self._to_hold = to_hold
        self.objectsById[OBJECT_ID] = Rpc(handler)

    def _handshake(self, conn: ServedChannel, denied_reason: str | None = None) -> bool:
        """Exchange greetings; whether the connection may stay. Called first by its thread."""
        deadline = time.monotonic() + self._limits.greeting_s_max
        try:
            conn.caller = let_in(conn, self._credentials, self._plane, deadline)
        except Rejected as error:
            log.info("%s: turned away %s: %s", self._connections.name, conn.host, error)
            if not isinstance(error.__cause__, ssl.SSLError):  # or else nothing more can be said
                send_text(conn, message.MSG_CONNECTFAIL, error.hint, deadline)
            return False
        # Noted before the peer knows it, so that whoever was welcomed counts as such.
        conn.enter(Stage.IDLE)
        send_text(conn, message.MSG_CONNECTOK, self._welcome, deadline)
        if self._paces is not None:
            conn.pack_by(self._paces.packer(conn.host))
        return True

    def handleRequest(self, conn: ServedChannel) -> None:
        """Wait for one call, and answer it.

        Raises:
            TimeoutError, ConnectionError: the connection was idle or slow for too long, or ended.
            ProtocolError: what came is no call of ours.
        """
        limits = self._limits
        if time.monotonic() - conn.accepted_at > limits.connection_s_max:
            raise TimeoutError("it is time to prove oneself anew")
        frame = conn.receive(
            (message.MSG_INVOKE,), time.monotonic() + limits.idle_s_max, limits.frame_s_max
        )
        conn.enter(Stage.HANDLING)
        object_id, method, arguments, _ = self._serializer.loadsCall(frame.body)
        exposed = self.objectsById.get(object_id)
        if exposed is None:
            raise ProtocolError(f"a call of {method!r} of an object {object_id!r}")
        try:
            call = util.getAttribute(exposed, method)
        except AttributeError as error:
            raise ProtocolError(f"a call of {method!r}: {error}") from error
        assert conn.caller is not None  # set by the greeting
        reply = call(*arguments, conn.caller, partial(self._wait, conn, frame.sequence))
        conn.enter(Stage.SENDING)
        deadline = time.monotonic() + limits.frame_s_max
        conn.send(message.MSG_RESULT, frame.sequence, RESULT_HEAD, reply, deadline)
        conn.enter(Stage.IDLE)

    def _wait(self, conn: ServedChannel, sequence: int, request: Request) -> None:
        """Until the request is to be answered. Raises as :meth:`handleRequest`."""
        hold = hold_of(self._to_hold, request)
        if hold is not None:
            await_news(conn, sequence, hold, self._limits.frame_s_max)
