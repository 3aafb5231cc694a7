"""What a node's Pyro4 daemon can be asked: one method of one object, with bytes for bytes.

``Pyro4.core.Daemon`` keeps the objects, decides which of their methods are exposed, and runs the
loop. Its two entrances for bytes from the network are overridden, since each lets a stranger
choose what decodes them: ``_handshake`` and ``handleRequest`` below read only the frames that
``pyro_channel.py`` lets through. Its ``Pyro.Daemon`` object, which tells anybody what is
registered, is not there.
"""

from __future__ import annotations

import hmac
import socket
import time

from Pyro4 import core, message, util

from map_reduce.errors import ProtocolError
from map_reduce.ports import Handler
from map_reduce.transport.answering import answer
from map_reduce.transport.pyro_serializer import (
    GREETING_BYTES_MAX,
    OBJECT_ID,
    RESULT_HEAD,
    OpaqueSerializer,
)
from map_reduce.transport.pyro_server import ConnectionServer, Limits, ServedChannel, Stage


class Rpc:
    """The object that is exposed."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def rpc(self, data: memoryview) -> bytes:
        """The reply to an encoded request, encoded (``wire.py``). Never raises."""
        return answer(self._handler, data)


core.expose(Rpc)


class NodeDaemon(core.Daemon):  # type: ignore[misc]
    """A Pyro4 daemon that reads nothing but our frames.

    ``expects`` is the greeting it wants, ``replies`` what it answers to that.
    """

    def __init__(
        self, listener: socket.socket, limits: Limits, name: str, expects: str, replies: str
    ) -> None:
        self._connections = ConnectionServer(listener, limits, name)
        self._limits = limits
        self._expects = expects
        self._replies = replies
        self._serializer = OpaqueSerializer()
        super().__init__(*listener.getsockname()[:2])
        self.objectsById.clear()  # of Pyro.Daemon

    @property
    def transportServer(self) -> ConnectionServer:
        return self._connections

    @transportServer.setter
    def transportServer(self, offered: object) -> None:
        """Pyro4 brings its own server when it starts and None when it ends; ours stays."""

    def answer_with(self, handler: Handler) -> None:
        """Expose the handler. Not by ``register``, which would also tell every serializer of
        this process, ours or not, to send such objects as proxies."""
        self.objectsById[OBJECT_ID] = Rpc(handler)

    def _handshake(self, conn: ServedChannel, denied_reason: str | None = None) -> bool:
        """Exchange greetings; whether the connection may stay. Called first by its thread."""
        deadline = time.monotonic() + self._limits.greeting_s_max
        frame = conn.receive((message.MSG_CONNECT,), deadline, body_bytes_max=GREETING_BYTES_MAX)
        greeting = self._serializer.loads(frame.body)
        welcome = isinstance(greeting, str) and hmac.compare_digest(greeting, self._expects)
        kind = message.MSG_CONNECTOK if welcome else message.MSG_CONNECTFAIL
        reply = self._replies if welcome else "wrong greeting: another program, version or node"
        if welcome:  # noted before the peer knows it, so that whoever was welcomed counts as such
            conn.enter(Stage.IDLE)
        conn.send(kind, frame.sequence, b"", self._serializer.dumps(reply), deadline)
        return welcome

    def handleRequest(self, conn: ServedChannel) -> None:
        """Wait for one call, and answer it.

        Raises:
            TimeoutError, ConnectionError: the connection was idle or slow for too long, or ended.
            ProtocolError: what came is no call of ours.
        """
        limits = self._limits
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
        reply = call(*arguments)
        conn.enter(Stage.SENDING)
        deadline = time.monotonic() + limits.frame_s_max
        conn.send(message.MSG_RESULT, frame.sequence, RESULT_HEAD, reply, deadline)
        conn.enter(Stage.IDLE)
