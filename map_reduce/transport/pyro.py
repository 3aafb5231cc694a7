"""The transport between processes, over Pyro4.

    calling side                                        answering side
    PyroTransport.call                                  two NodeDaemons, each with a loop thread
      ConnectionPool ── greeting, frames ──▶ control      ConnectionServer: a thread a connection
                     ── greeting, frames ──▶ bulk           answer(handler, request)

The rules, besides those that the modules of the two sides state:

- A call has one deadline over all it does: connect, greet, learn where bulk data goes, send,
  receive, and a second try.
- A second try is made when a connection that was kept from before turns out to have ended before
  any byte of the reply came: the peer restarted, or dropped it as idle or in favour of another.
  It is over a new connection, and the last. The first request may have been carried out: every
  message is made so that repeating it is harmless.
- A reply that may be held may come as much later, as long as the peer shows that it is there
  (pyro_holding.py). Where such a connection ends after the deadline, there is no second try.
- Requests of ``messages.BULK`` go to the peer's bulk daemon. Its port is learnt on greeting the
  control daemon and remembered until that port refuses, or does not know the token.
- Before anything is asked or answered, each end of a connection has proved to the other that it
  belongs to the cluster (pyro_greeting.py): by certificates, or on loopback by a token. So an
  address that a peer named is never believed: who listens there must prove to be a node, and
  with certificates a node that may be at that address.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import secrets
import socket
import threading
import time

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import BULK, Message, Request
from map_reduce.errors import (
    ConfigError,
    NotListening,
    NotTrusted,
    PortTakenError,
    ProtocolError,
    Unreachable,
)
from map_reduce.ports import Handler, ToHold
from map_reduce.transport import wire
from map_reduce.transport.credentials import Credentials, Token
from map_reduce.transport.pyro_channel import Cut
from map_reduce.transport.pyro_daemon import NodeDaemon
from map_reduce.transport.pyro_greeting import CONTROL, PROTOCOL, BulkPlane, GreetingRefused
from map_reduce.transport.pyro_holding import SIGN_OF_LIFE_S, hold_s_of
from map_reduce.transport.pyro_packing import Paces
from map_reduce.transport.pyro_pool import Connection, ConnectionPool
from map_reduce.transport.pyro_server import Limits
from map_reduce.transport.resolver import Resolver

log = logging.getLogger("map_reduce.transport")

BACKLOG = 1024
LOOKUP_S_MAX = 5.0  # of the own host's name


class PyroTransport:
    """The ``Transport`` port over Pyro4.

    Args:
        credentials: what this process proves itself by. With a token it listens on loopback,
            and calls loopback, only.
        request_handlers_max: connections, and so requests at a time, on the control plane.
        bulk_handlers_max: the same on the bulk plane. Each may hold a message of up to
            ``wire.MESSAGE_BYTES_MAX`` bytes, and its reply.
        idle_connections_max: connections to peers that are kept for the next call.
        idle_s_max: seconds that they are kept; less than ``limits.idle_s_max``.
        limits: times, and bounds per address, of the answering side; by default those of
            ``Limits.at`` the address that is listened on.
        packing: whether bulk data is deflated where that saves time (pyro_packing.py).
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        request_handlers_max: int = 256,
        bulk_handlers_max: int = 64,
        idle_connections_max: int = 64,
        idle_s_max: float = 30.0,
        limits: Limits | None = None,
        packing: bool = True,
    ) -> None:
        self._limits = limits
        self._handlers_max = (request_handlers_max, bulk_handlers_max)
        self._credentials = credentials
        self._paces = Paces(packing=packing)
        self._pool = ConnectionPool(credentials, idle_connections_max, idle_s_max, self._paces)
        self._lock = threading.Lock()
        self._address: Address | None = None
        self._daemons: list[NodeDaemon] = []
        self._loops: list[threading.Thread] = []
        self._closed = False
        self._process = os.getpid()

    # ---- the answering side

    def listen(self, address: Address) -> Address:
        """As the port says. A name is listened on at the first of its addresses."""
        self._credentials.check_listening(address)
        host = _own_address(address)
        with self._lock:
            if self._address is not None or self._closed:
                raise ConfigError(f"this transport is closed or listens already: {self._address}")
            control = _listener(host, address.port, address)
            try:
                bulk = _listener(host, 0, Address(host, 0))
            except BaseException:
                control.close()
                raise
            self._address = Address(address.host, control.getsockname()[1])
            plane = BulkPlane(bulk.getsockname()[1], secrets.token_hex(16))
            name = f"map-reduce {self._address}"
            limits = self._limits or Limits.at(address)
            for_control, for_bulk = (
                dataclasses.replace(limits, connections_max=most) for most in self._handlers_max
            )
            self._daemons = [
                NodeDaemon(
                    control,
                    for_control,
                    f"{name} control",
                    self._credentials,
                    plane=CONTROL,
                    welcome=str(plane),
                ),
                NodeDaemon(
                    bulk,
                    for_bulk,
                    f"{name} bulk",
                    self._credentials,
                    plane=plane.instance,
                    welcome=PROTOCOL,
                    paces=self._paces,
                ),
            ]
            return self._address

    def serve(self, handler: Handler, to_hold: ToHold | None = None) -> None:
        """As the port says.

        Raises:
            ConfigError: nothing listens, or it serves already.
        """
        with self._lock:
            if not self._daemons or self._loops or self._closed:
                raise ConfigError("serve() comes once, after listen() and before close()")
            for daemon in self._daemons:
                daemon.answer_with(handler, to_hold)
                name = f"{daemon.transportServer.name} loop"
                loop = threading.Thread(target=daemon.requestLoop, name=name, daemon=True)
                loop.start()
                self._loops.append(loop)

    def close(self) -> None:
        """As the port says. A thread that does not end in time is named in the log."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._pool.close()
        if self._process != os.getpid():
            return  # in a fork: what answers is the parent's
        for daemon in self._daemons:
            daemon.transportServer.shutdown()
        for daemon, loop in zip(self._daemons, self._loops, strict=False):  # none without serve
            loop.join(daemon.transportServer.limits.close_s_max)
            if loop.is_alive():
                log.error("%s: did not end when the transport was closed", loop.name)
        for daemon in self._daemons:
            daemon.close()

    # ---- the calling side

    def call(self, peer: Address, request: Request, timeout_s: float) -> Message:
        """As the port says."""
        deadline = time.monotonic() + timeout_s
        data = wire.encode_request(request)
        name = type(request.body).__name__
        hold_s = hold_s_of(request.body)
        if self._closed:
            raise Unreachable(f"{peer}: this node's own transport is closed")
        if isinstance(self._credentials, Token) and not peer.is_loopback:
            raise Unreachable(
                f"{peer} was not called: without certificates only nodes on this machine are; "
                "name the folder of yours by MR_CERTS_FOLDER"
            )
        try:
            if isinstance(request.body, BULK):
                reply = self._ask_bulk(peer, data, deadline)
            else:
                reply = self._ask(peer, CONTROL, data, deadline, hold_s)
        except TimeoutError as error:
            within = f"within {timeout_s:g} s"
            if hold_s:
                within = f"nor a sign of life for {timeout_s + SIGN_OF_LIFE_S:g} s"
            raise Unreachable(f"{peer}: no reply to {name} {within} ({error})") from error
        except ConnectionRefusedError as error:
            raise NotListening(f"{peer}: nobody listens there (connection refused)") from error
        except OSError as error:
            raise Unreachable(f"{peer}: no reply to {name}: {error}") from error
        except ProtocolError as error:
            raise ProtocolError(f"{peer}: the reply to {name} is not one: {error}") from error
        try:
            return wire.decode_reply(reply)
        except ProtocolError as error:
            raise ProtocolError(f"{peer}, asked for {name}: {error}") from error

    def _ask(
        self, address: Address, plane: str, data: bytes, deadline: float, hold_s: float = 0.0
    ) -> memoryview:
        """Ask over a kept connection, or else, or when that has ended, over a new one."""
        kept = self._pool.take(address)
        if kept is not None:
            try:
                return self._ask_over(kept, data, deadline, hold_s)
            except Cut as error:
                if error.midway or self._closed or time.monotonic() >= deadline:
                    raise
                self._pool.drop_idle(address)
        return self._ask_over(self._open(address, plane, deadline), data, deadline, hold_s)

    def _ask_over(
        self, connection: Connection, data: bytes, deadline: float, hold_s: float
    ) -> memoryview:
        try:
            reply = connection.ask(data, deadline, hold_s)
        except BaseException:  # a KeyboardInterrupt too leaves a reply in it that nobody expects
            self._pool.drop(connection)
            raise
        self._pool.give(connection)
        return reply

    def _ask_bulk(self, peer: Address, data: bytes, deadline: float) -> memoryview:
        plane = self._pool.bulk_plane(peer)
        if plane is not None:
            try:
                return self._ask(plane.at(peer), plane.instance, data, deadline)
            except (ConnectionRefusedError, GreetingRefused, NotTrusted, ProtocolError) as error:
                log.debug("%s: its bulk daemon is no longer at %d: %s", peer, plane.port, error)
            except TimeoutError:
                self._pool.forget(peer)  # somebody else may have the port and keep silent
                raise
        self._pool.give(self._open(peer, CONTROL, deadline))
        plane = self._pool.bulk_plane(peer)
        assert plane is not None
        return self._ask(plane.at(peer), plane.instance, data, deadline)

    def _open(self, address: Address, plane: str, deadline: float) -> Connection:
        """A new connection; one to a control daemon also says where its bulk daemon is."""
        connection = self._pool.open(address, plane, deadline)
        if plane == CONTROL:
            try:
                self._pool.remember(address, BulkPlane.parse(connection.welcome))
            except ProtocolError:
                self._pool.drop(connection)
                raise
        return connection


def _own_address(address: Address) -> str:
    """The address to bind. Raises ConfigError: the host's name has none."""
    try:
        return Resolver().addresses(address.host, time.monotonic() + LOOKUP_S_MAX)[0]
    except OSError as error:
        raise ConfigError(f"cannot listen on {address}: {error}") from error


def _listener(host: str, port: int, asked: Address) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(
                f"{asked} is in use by another program; stop it, or choose another port "
                "(port 0 takes a free one)"
            ) from error
        raise ConfigError(f"cannot listen on {asked}: {error.strerror}") from error
    return sock
