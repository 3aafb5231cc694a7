"""The answering side's sockets: the part of Pyro4 (``socketserver``) that we replace.

Pyro4's thread server reads from newcomers in its accept loop when its pool is full, so that one
silent connection stops it and one reset ends it. The rules here:

- The accept loop accepts, counts and starts a thread. It never reads, never writes, never waits
  for a connection, and survives whatever ``accept`` or starting a thread raises.
- A connection has a thread of its own, and a fault in it costs that connection.
- There are at most ``connections_max``, ``connections_per_address_max`` of one address, and
  ``greetings_per_address_max`` of one address that have not proved yet who they are. At a
  bound a newcomer takes the place of the one that matters least (of the same address, where
  that is at its bound): first those that have not greeted, then those without a request, then
  those in the middle of sending one, then those that do not fetch their reply; among equals the
  one that has been so longest. Whoever fills the server with silent, slow or idle connections
  pushes out his own. One whose request is being handled is not chosen; if all are, the
  newcomer is closed unread and its caller told that nobody answered.
- A connection whose request is held (pyro_holding.py) is not chosen either, nor does it count at
  any bound, so that those who wait are in nobody's way. How many there are is up to the node.
- A client whose connection was taken so finds it closed before any byte of a reply and asks
  once more over a new one (pyro.py), which all our messages allow.
- Each stage has its time: to greet, to begin a request, to send it whole, to fetch the reply.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import selectors
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from map_reduce.core.identifiers import Address
from map_reduce.core.roles import Caller
from map_reduce.errors import ProtocolError
from map_reduce.transport.pyro_channel import Channel

log = logging.getLogger("map_reduce.transport")

ACCEPT_PAUSE_S = 0.05  # after a failed accept, as when the process is out of file descriptors
WARN_INTERVAL_S = 10.0  # between two lines in the log about a full server
LEAVING_MAX = 64  # threads of connections that were cut and have not ended yet


@dataclass(frozen=True)
class Limits:
    """How long and how many, for the answering side of one daemon."""

    connections_max: int = 256
    connections_per_address_max: int = 256  # on loopback all peers have the same one
    greetings_per_address_max: int = 256
    greeting_s_max: float = 2.0
    idle_s_max: float = 60.0
    frame_s_max: float = 10.0
    connection_s_max: float = 3600.0  # between two requests, then a new one is wanted
    close_s_max: float = 5.0

    @classmethod
    def at(cls, address: Address) -> Limits:
        """For a daemon at this address. Away from loopback, whoever floods it with connections
        has one address among many: bounds for each keep his flood in its own bed."""
        if address.is_loopback:
            return cls()
        return cls(connections_per_address_max=128, greetings_per_address_max=32)


class Stage(enum.IntEnum):
    """What a connection is doing, in the order in which they are given up."""

    GREETING = 0
    IDLE = 1
    RECEIVING = 2
    SENDING = 3
    HANDLING = 4
    HELD = 5  # the request is, until there is news


class ServedChannel(Channel):
    """A connection of the answering side: a channel that knows its stage."""

    def __init__(self, sock: socket.socket, host: str) -> None:
        super().__init__(sock)
        self.host = host
        self.caller: Caller | None = None  # not known yet
        self.accepted_at = time.monotonic()
        self.news = threading.Event()  # wakes its thread while its request is held
        self.enter(Stage.GREETING)

    def cut(self) -> None:
        """As any channel; its thread is woken where it does not wait in the connection, too."""
        super().cut()
        self.news.set()

    def enter(self, stage: Stage) -> None:
        """Note the stage and since when, for who looks for a connection to give up."""
        self.stage_since = (stage, time.monotonic())

    def frame_begins(self) -> None:
        if self.stage_since[0] is Stage.IDLE:
            self.enter(Stage.RECEIVING)


class ConnectionServer:
    """A transport server as ``Pyro4.core.Daemon`` drives it: init, loop, shutdown, close."""

    def __init__(self, listener: socket.socket, limits: Limits, name: str) -> None:
        self.sock = listener
        self.limits = limits
        self.name = name
        self.locationStr = ""
        self._daemon: Any = None
        self._lock = threading.Lock()
        self._served: dict[threading.Thread, ServedChannel] = {}
        self._leaving: set[threading.Thread] = set()
        self._stopping = threading.Event()
        self._turned_away = 0
        self._warned_at = -WARN_INTERVAL_S
        self._wake_receiver, self._wake_sender = socket.socketpair()
        listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)

    # ---- what the daemon calls

    def init(self, daemon: Any, host: str, port: int, unixsocket: str | None = None) -> None:
        """Called by Pyro4 while it makes the daemon; the listener is bound already."""
        self._daemon = daemon
        host, port = self.sock.getsockname()[:2]
        self.locationStr = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def sockets(self) -> list[socket.socket]:
        return [self.sock]

    def loop(self, loopCondition: object = None) -> None:
        """Accept until :meth:`shutdown`. Pyro4's own condition is not asked: evaluating it uses
        a method that Python is about to remove."""
        while not self._stopping.is_set():
            self._selector.select()
            if self._stopping.is_set():
                return
            try:
                self._accept()
            except Exception:  # no newcomer may end the loop, whatever it provokes
                log.exception("%s: a connection could not be taken", self.name)
                self._stopping.wait(ACCEPT_PAUSE_S)

    def shutdown(self) -> None:
        """Stop accepting and cut every connection; does not wait."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._stopping.set()
            for channel in self._served.values():
                channel.cut()
        self._wake_sender.send(b"!")

    def close(self) -> None:
        """Wait until every connection's thread has ended, and free the sockets.

        Whoever runs :meth:`loop` has seen it return since :meth:`shutdown`.
        """
        self.shutdown()
        deadline = time.monotonic() + self.limits.close_s_max
        with self._lock:
            threads = [*self._served, *self._leaving]
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    log.error("%s: did not end within %g s", thread.name, self.limits.close_s_max)
        self._selector.close()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)  # frees the port even if a fork holds the socket
        for sock in (self.sock, self._wake_receiver, self._wake_sender):
            sock.close()

    # ---- the accept loop

    def _accept(self) -> None:
        try:
            sock, peer = self.sock.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return  # the newcomer left between select and accept
        except OSError as error:
            log.warning("%s: cannot accept a connection: %s", self.name, error)
            with self._lock:
                self._give_up_one(None)
            self._stopping.wait(ACCEPT_PAUSE_S)
            return
        try:
            channel = ServedChannel(sock, peer[0])
        except OSError:
            sock.close()  # reset before its options could be set
            return
        admitted = False
        try:
            admitted = self._admit(channel)
        finally:
            if not admitted:
                channel.close()
        if not admitted:
            self._turned_away += 1
            if time.monotonic() - self._warned_at > WARN_INTERVAL_S:
                self._warned_at = time.monotonic()
                log.warning(
                    "%s: every connection is busy; turned away %d so far, the last from %s",
                    self.name,
                    self._turned_away,
                    peer[0],
                )

    def _admit(self, channel: ServedChannel) -> bool:
        """Make room for a connection and start its thread; whether that was possible."""
        with self._lock:
            if self._stopping.is_set() or len(self._leaving) >= LEAVING_MAX:
                return False
            others = [(other.host, other.stage_since[0]) for other in self._served.values()]
            hosts = [host for host, stage in others if stage is not Stage.HELD]
            if (
                hosts.count(channel.host) >= self.limits.connections_per_address_max
                or others.count((channel.host, Stage.GREETING))
                >= self.limits.greetings_per_address_max
            ):
                if not self._give_up_one(channel.host):
                    return False
            elif len(hosts) >= self.limits.connections_max and not self._give_up_one(None):
                return False
            name = f"{self.name} connection from {channel.host}"
            thread = threading.Thread(target=self._serve, args=(channel,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                log.warning("%s: cannot start a thread: %s", self.name, error)
                return False
            self._served[thread] = channel
            return True

    def _give_up_one(self, host: str | None) -> bool:
        """Cut the connection that matters least, of one address or of all. Holds the lock."""
        candidates = [
            (channel.stage_since, thread)
            for thread, channel in self._served.items()
            if host in (None, channel.host) and channel.stage_since[0] < Stage.HANDLING
        ]
        if not candidates:
            return False
        _, least = min(candidates, key=lambda candidate: candidate[0])
        self._served.pop(least).cut()
        self._leaving.add(least)
        return True

    # ---- one connection

    def _serve(self, channel: ServedChannel) -> None:
        try:
            if self._daemon._handshake(channel):
                while not self._stopping.is_set():
                    self._daemon.handleRequest(channel)
        except (TimeoutError, ConnectionError) as error:
            log.debug("%s: connection from %s ended: %s", self.name, channel.host, error)
        except ProtocolError as error:
            log.info("%s: connection from %s was closed: %s", self.name, channel.host, error)
        except Exception:  # whatever a peer provoked may cost its connection, never the server
            log.exception("%s: connection from %s was closed", self.name, channel.host)
        finally:
            with self._lock:  # so that nobody cuts a socket whose number is already another's
                channel.close()
                self._served.pop(threading.current_thread(), None)
                self._leaving.discard(threading.current_thread())
