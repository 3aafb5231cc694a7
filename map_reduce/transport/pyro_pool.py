"""The calling side's connections: to whom, how many, for how long.

A connection is used by one caller at a time and kept for the next one. At most
``idle_connections_max`` are kept, the most recently used; none longer than ``idle_s_max``, which
is less than the answering side waits. What is kept is looked at before it is used again: a peer
that ended the connection meanwhile is noticed for the price of one system call.

A connection belongs to the process that made it. After a fork the child forgets what it
inherited without ending it: the parent still speaks over it.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections import OrderedDict

from Pyro4 import message

from map_reduce.core.identifiers import Address
from map_reduce.errors import ProtocolError
from map_reduce.transport.credentials import Credentials
from map_reduce.transport.pyro_channel import Channel, Cut, Frame
from map_reduce.transport.pyro_greeting import CONTROL, BulkPlane, introduce
from map_reduce.transport.pyro_holding import SIGN_OF_LIFE_S
from map_reduce.transport.pyro_packing import Paces
from map_reduce.transport.pyro_serializer import (
    METHOD,
    OBJECT_ID,
    OpaqueSerializer,
    call_head,
)
from map_reduce.transport.resolver import Resolver

_REPLY_OR_SIGN = (message.MSG_RESULT, message.MSG_PING)
_CALL_HEAD = call_head(OBJECT_ID, METHOD)
PEERS_REMEMBERED_MAX = 4096
CONNECTION_S_MAX = 3600.0  # then it is made anew, with the certificates of that time


class Connection(Channel):
    """A connection to a daemon. ``welcome`` is what that answered to the greeting."""

    def __init__(self, address: Address, sock: socket.socket) -> None:
        super().__init__(sock)
        self.address = address
        self.opened_at = self.used_at = time.monotonic()
        self._serializer = OpaqueSerializer()
        self._sequence = 0
        self.welcome = ""

    def ask(self, data: bytes, deadline: float, hold_s: float = 0.0) -> memoryview:
        """Send an encoded request and return the encoded reply.

        Args:
            hold_s: for so much longer the answer may be held, with signs of life meanwhile.

        Raises:
            TimeoutError, Cut: as the channel does. The connection is of no use any more.
            ProtocolError: what came back is no reply.
        """
        self._sequence = (self._sequence + 1) & 0xFFFF
        silence_s_max = deadline - time.monotonic() + SIGN_OF_LIFE_S
        self.send(message.MSG_INVOKE, self._sequence, _CALL_HEAD, data, deadline)
        if hold_s:
            frame = self._receive_held(deadline + hold_s, silence_s_max)
        else:
            frame = self.receive((message.MSG_RESULT,), deadline)
        if frame.sequence != self._sequence:
            raise ProtocolError(f"reply {frame.sequence} to request {self._sequence}")
        reply = self._serializer.loads(frame.body)
        if isinstance(reply, str):
            raise ProtocolError("a greeting instead of a result")
        self.used_at = time.monotonic()
        return reply

    def _receive_held(self, deadline: float, silence_s_max: float) -> Frame:
        while True:
            heard_by = time.monotonic() + silence_s_max
            frame = self.receive(_REPLY_OR_SIGN, min(deadline, heard_by))
            if frame.kind != message.MSG_PING:
                return frame


class ConnectionPool:
    """Connections by the address they lead to. Safe to use from many threads."""

    def __init__(
        self,
        credentials: Credentials,
        idle_connections_max: int,
        idle_s_max: float,
        paces: Paces,
    ) -> None:
        self._paces = paces
        self._credentials = credentials
        self._resolver = Resolver()
        self._idle_max = idle_connections_max
        self._idle_s_max = idle_s_max
        self._start_empty()

    def _start_empty(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._serial = itertools.count()
        self._idle: OrderedDict[int, Connection] = OrderedDict()  # least recently used first
        self._busy: set[Connection] = set()
        self._planes: dict[Address, BulkPlane] = {}
        self._closed = False

    def take(self, address: Address) -> Connection | None:
        """An open idle connection to the address, or None. Give or drop it afterwards."""
        self._check_process()
        while True:
            with self._lock:
                self._forget_the_old()
                for number in reversed(self._idle):
                    if self._idle[number].address == address:
                        connection = self._idle.pop(number)
                        self._busy.add(connection)
                        break
                else:
                    return None
            too_old = time.monotonic() - connection.opened_at > CONNECTION_S_MAX
            if not too_old and connection.is_quiet():
                return connection
            self.drop(connection)

    def open(self, address: Address, plane: str, deadline: float) -> Connection:
        """A new connection to the daemon called ``plane``. Give or drop it afterwards.

        Raises:
            TimeoutError: not connected and greeted before the deadline.
            OSError: nobody listens there, or the connection ended.
            NotTrusted, GreetingRefused: see there.
            ProtocolError: whoever listens there does not speak as our daemons do.
        """
        self._check_process()
        connection = Connection(address, _connect(address, self._resolver, deadline))
        try:
            with self._lock:
                self._busy.add(connection)
                if self._closed:
                    raise Cut("this node's own transport was closed", midway=False)
            connection.welcome = introduce(connection, self._credentials, address, plane, deadline)
            if plane != CONTROL:
                connection.pack_by(self._paces.packer(address.host))
        except BaseException:  # whatever ended it, its socket is freed here or never
            self.drop(connection)
            raise
        return connection

    def give(self, connection: Connection) -> None:
        """Keep a connection that has done its work in order."""
        with self._lock:
            self._busy.discard(connection)
            if not self._closed:
                self._idle[next(self._serial)] = connection
                self._forget_the_old()
                return
        connection.close()

    def drop(self, connection: Connection) -> None:
        """Close a connection that is of no use any more."""
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def drop_idle(self, address: Address) -> None:
        """Close what is kept of an address whose node seems to have restarted."""
        with self._lock:
            stale = [number for number in self._idle if self._idle[number].address == address]
            for number in stale:
                self._idle.pop(number).close()

    def remember(self, peer: Address, plane: BulkPlane) -> None:
        """Note where a peer's bulk daemon is; of many peers, those noted last."""
        with self._lock:
            self._planes.pop(peer, None)
            self._planes[peer] = plane
            if len(self._planes) > PEERS_REMEMBERED_MAX:
                del self._planes[next(iter(self._planes))]

    def forget(self, peer: Address) -> None:
        """Undo :meth:`remember`."""
        with self._lock:
            self._planes.pop(peer, None)

    def bulk_plane(self, peer: Address) -> BulkPlane | None:
        """Where a peer's bulk daemon was when its control daemon last said so."""
        self._check_process()
        with self._lock:
            return self._planes.get(peer)

    def close(self) -> None:
        """Close what is kept and cut what is in use; nothing new is opened."""
        self._check_process()
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.popitem()[1].close()
            for connection in self._busy:
                connection.cut()

    def _forget_the_old(self) -> None:
        expired_before = time.monotonic() - self._idle_s_max
        while self._idle:
            oldest = next(iter(self._idle))
            if len(self._idle) <= self._idle_max and self._idle[oldest].used_at > expired_before:
                return
            self._idle.pop(oldest).close()

    def _check_process(self) -> None:
        if self._process == os.getpid():
            return
        inherited = [*self._idle.values(), *self._busy]
        self._paces = Paces(packing=self._paces.packing)  # its lock may be held, for ever
        self._start_empty()
        for connection in inherited:
            connection.sock.close()  # not cut: it is the parent's


def _connect(address: Address, resolver: Resolver, deadline: float) -> socket.socket:
    """A connected socket."""
    failed: OSError | None = None
    for host in resolver.addresses(address.host, deadline):
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("connecting: the time is up")
            sock.settimeout(left_s)
            sock.connect((host, address.port))
            if sock.getsockname() == sock.getpeername():
                raise ConnectionRefusedError("nobody listens there")  # it met itself
        except OSError as error:
            sock.close()
            if isinstance(error, TimeoutError):
                raise
            failed = error
        else:
            return sock
    raise failed or ConnectionRefusedError(f"the name {address.host} stands for no address")
