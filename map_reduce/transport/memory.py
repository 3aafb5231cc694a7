"""The transport within one process: no sockets, the same promises.

Each message is encoded and decoded as if it travelled, so two nodes can never share a mutable
object by accident and an oversized or ill-typed message fails here as it would there.

A handler runs in a thread of the answering transport, not in the caller's, since no call may
outlive its deadline even if a handler does. Such threads are made as they are needed, kept for
the next request, and end at close. While a request is held, it is the caller's thread that waits.
"""

from __future__ import annotations

import logging
import queue
import threading
import time

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import Message, Request
from map_reduce.core.roles import THIS_PROCESS
from map_reduce.errors import ConfigError, NotListening, PortTakenError, Unreachable
from map_reduce.ports import Handler, ToHold
from map_reduce.transport import wire
from map_reduce.transport.answering import answer, hold_of

log = logging.getLogger("map_reduce.transport")

EMBEDDED = Address("embedded", 0)
"""What to listen on: the name says in error messages where such a node lives."""

CLOSE_S_MAX = 5.0


class MemoryNetwork:
    """Who listens where, among the transports that were given it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._listening: dict[Address, MemoryTransport] = {}
        self._last_port = 0

    def bind(self, address: Address, transport: MemoryTransport) -> Address:
        """Enter a transport, at a port of its own where the address has port 0.

        Raises:
            PortTakenError: somebody else listens there.
        """
        with self._changed:
            if address.port == 0:
                self._last_port += 1
                while Address(address.host, self._last_port) in self._listening:
                    self._last_port += 1
                address = Address(address.host, self._last_port)
            elif address in self._listening:
                raise PortTakenError(f"{address} is in use by another node of this process")
            self._listening[address] = transport
            return address

    def release(self, address: Address) -> None:
        """Remove a transport."""
        with self._changed:
            self._listening.pop(address, None)

    def changed(self) -> None:
        """Tell those who wait for a transport to answer that one does, or was closed."""
        with self._changed:
            self._changed.notify_all()

    def find(self, peer: Address, deadline: float, asker: MemoryTransport) -> MemoryTransport:
        """The transport that answers at an address; waits for one that only listens yet.

        Raises:
            Unreachable: nobody listens there, or it does not answer before the deadline, or
                before the asker is closed.
        """
        with self._changed:
            while True:
                if asker.closed:
                    raise Unreachable(f"{peer}: this node's own transport is closed")
                transport = self._listening.get(peer)
                if transport is None:
                    raise NotListening(f"{peer}: no node of this process listens there")
                if transport.answers:
                    return transport
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise Unreachable(
                        f"{peer}: no reply in time; it listens but does not serve yet"
                    )


class _Exchange:
    """A request on its way to a handler, and its reply."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.reply: bytes | None = None
        self.ended = threading.Event()


class MemoryTransport:
    """The ``Transport`` port over a :class:`MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, *, request_handlers_max: int = 64) -> None:
        self._network = network
        self._handlers_max = request_handlers_max
        self._address: Address | None = None
        self._handler: Handler | None = None
        self._to_hold: ToHold | None = None
        self._lock = threading.Lock()
        self.closed = False
        self._waiting: queue.SimpleQueue[_Exchange | None] = queue.SimpleQueue()
        self._free = 0  # threads that wait for an exchange which nobody has handed in yet
        self._threads: list[threading.Thread] = []
        self._open: set[_Exchange] = set()  # asked of this transport
        self._asked: set[_Exchange] = set()  # asked by it

    @property
    def answers(self) -> bool:
        """Whether :meth:`serve` was called and :meth:`close` was not."""
        return self._handler is not None and not self.closed

    def listen(self, address: Address) -> Address:
        """As the port says; any host will do, see :data:`EMBEDDED`."""
        if self._address is not None or self.closed:
            raise ConfigError(f"this transport is closed or listens already, at {self._address}")
        self._address = self._network.bind(address, self)
        return self._address

    def serve(self, handler: Handler, to_hold: ToHold | None = None) -> None:
        """As the port says.

        Raises:
            ConfigError: nothing listens.
        """
        if self._address is None:
            raise ConfigError("serve() before listen(): there is no address to answer at")
        self._to_hold = to_hold
        self._handler = handler
        self._network.changed()

    def call(self, peer: Address, request: Request, timeout_s: float) -> Message:
        """As the port says."""
        deadline = time.monotonic() + timeout_s
        exchange = _Exchange(wire.encode_request(request))
        answering = self._network.find(peer, deadline, self)
        with self._lock:
            self._asked.add(exchange)
            if self.closed:
                exchange.ended.set()
        try:
            deadline += answering.await_news(request, exchange)
            answering.take(exchange)
            if not self.closed:
                exchange.ended.wait(max(0.0, deadline - time.monotonic()))
        finally:
            with self._lock:
                self._asked.discard(exchange)
            answering.leave(exchange)
        if exchange.reply is not None:
            return wire.decode_reply(exchange.reply)
        if self.closed:
            raise Unreachable(f"{peer}: this node's own transport was closed")
        if answering.closed:
            raise Unreachable(f"{peer}: the node was closed during the request")
        raise Unreachable(
            f"{peer}: no reply to {type(request.body).__name__} within {timeout_s:g} s; "
            "it may be carried out nevertheless"
        )

    def await_news(self, request: Request, exchange: _Exchange) -> float:
        """Wait for as long as the request is held, or until either transport is closed; for how
        many seconds that was. Called by the asking transport."""
        hold = hold_of(self._to_hold, request)
        if hold is None:
            return 0.0
        start_s = time.monotonic()
        with self._lock:
            self._open.add(exchange)
            if self.closed:
                exchange.ended.set()
        try:
            hold.wake_by(exchange.ended.set)
            exchange.ended.wait(hold.hold_s)
        finally:
            hold.end()
        exchange.ended.clear()  # whoever was closed says so by itself
        return time.monotonic() - start_s

    def take(self, exchange: _Exchange) -> None:
        """Have this transport's handler answer; called by the asking transport.

        Raises:
            Unreachable: this transport is closed.
        """
        with self._lock:
            if self.closed:
                raise Unreachable(f"{self._address}: the node was closed")
            if self._free <= 0 and len(self._threads) < self._handlers_max:
                self._start_thread()
            self._free -= 1
            self._open.add(exchange)
            self._waiting.put(exchange)

    def leave(self, exchange: _Exchange) -> None:
        """The asking transport no longer waits for it."""
        with self._lock:
            self._open.discard(exchange)

    def close(self) -> None:
        """As the port says."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            threads = list(self._threads)
            for _ in threads:
                self._waiting.put(None)
            for exchange in (*self._open, *self._asked):
                exchange.ended.set()
        if self._address is not None:
            self._network.release(self._address)
        self._network.changed()
        deadline = time.monotonic() + CLOSE_S_MAX
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    log.error("%s: a handler did not end within %g s", thread.name, CLOSE_S_MAX)

    def _start_thread(self) -> None:
        name = f"map-reduce handler {len(self._threads)} of {self._address}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)
        self._free += 1

    def _run(self) -> None:
        assert self._handler is not None
        while (exchange := self._waiting.get()) is not None and not self.closed:
            reply = answer(self._handler, exchange.request, THIS_PROCESS)
            with self._lock:
                self._free += 1
                if not self.closed:  # or else its caller was told so already
                    exchange.reply = reply
            exchange.ended.set()
