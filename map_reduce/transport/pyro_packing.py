"""Bulk frames are deflated where the network is slow, and nowhere else.

Whether it pays depends on three things that nobody can set beforehand: how fast the network is,
how well the data deflates, and how busy the processors are. All three are measured where a frame
is sent:

    saved  =  (bytes before - bytes after)  x  seconds that the network takes for a byte
    cost   =  seconds that deflating took  +  seconds that the other end will take

*The network's seconds* come from the kernel, which knows what no clock around a request can know:
why the bytes that were sent are not acknowledged yet. Of each connection Linux counts
(``TCP_INFO``) how long there was anything unacknowledged (*busy*), and how much of that was because
the receiver's window was full, that is because the program there did not read. What is left is the
network's part. A busy processor does not count in it: with eight programs that compute on two
processors a piece of 1 MiB takes 4 to 12 ms instead of 0.3, and the kernel says 0 to 4.

Connections that send at the same time share the network, and each waits for all: what one saves
is its part of that, so its seconds are divided by how many there were on average.

*The cost* is taken by the clock on the wall, so that where processors are busy, deflating costs
what it keeps from others.

So a frame is deflated on trial where the network has been slow. If that did not pay, it is not
tried again for two frames, then four, up to ``SKIPPED_MAX``, as the data or the load may change.
The network may change, too, and from frames that deflate to little nothing is learnt of it: so
after ``UNMEASURED_BYTES_MAX`` of them what was known is forgotten, and some go as they are.

Both ends of a bulk connection take deflated frames, which Pyro4's header has a flag for; nobody
takes one before he knows who sent it. Such a frame may not inflate to more than another may have.

Where the system has no ``TCP_INFO``, or an older one, nothing is deflated.
"""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
import zlib
from collections import OrderedDict
from typing import NamedTuple

from map_reduce.core.identifiers import Address
from map_reduce.errors import ProtocolError

log = logging.getLogger("map_reduce.transport")

PACED_BYTES_MIN = 128 * 1024
"""A shorter frame says nothing of the network: its last acknowledgement alone may take 40 ms."""

KNOWN_BYTES_MIN = 768 * 1024
"""After so many the pace is known. They are a piece of 1 MiB, or two or three small ones."""

HALF_LIFE_BYTES = 4 * 1024 * 1024
"""A measurement counts half after so many more bytes."""

UNMEASURED_BYTES_MAX = 64 * 1024 * 1024
"""That have been saved from a slow network until it is measured again by ``KNOWN_BYTES_MIN``: a
hundredth as much, and a network that has recovered is noticed in a second or two."""

TRIED_S_MIN = 0.001
"""What the network does in less time is not worth deflating."""

FASTEST_S_PER_BYTE = 1 / 50e6
"""A network in which a connection is as fast as this is not slow: deflating reaches 60 MB/s with
words and counts. The kernel counts in steps of 4 to 10 ms, so in a mebibyte of a network that takes
no time there may be 1 / (100 MB/s)."""

SKIPPED_MAX = 64
LEVEL = 1  # of zlib: twice as fast as its default, for a tenth more bytes

UNPACKING_SHARE = 1 / 3
"""Inflating takes a third of the time that deflating takes."""

HALF_LIFE_S = 2.0
"""How many send at a time counts half after so many more seconds in which any did."""

HOSTS_MAX = 1024

_TCP_INFO_BYTES = 192
_ACKED_AT, _BUSY_AT, _WINDOW_AT = 120, 168, 176  # in struct tcp_info of linux/tcp.h


class Reading(NamedTuple):
    """What the kernel has counted in a connection since it was opened."""

    acked_bytes: int
    network_s: float


def read_gauge(sock: socket.socket) -> Reading | None:
    """How the kernel's count stands; None where it has none, or the connection is gone."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return None
    try:
        told = sock.getsockopt(socket.IPPROTO_TCP, option, _TCP_INFO_BYTES)
    except OSError:
        return None
    if len(told) < _TCP_INFO_BYTES:
        return None
    acked, busy_us, window_us = (
        struct.unpack_from("=Q", told, at)[0] for at in (_ACKED_AT, _BUSY_AT, _WINDOW_AT)
    )
    return Reading(acked, (busy_us - window_us) / 1e6)


class Sharing:
    """How many connections of this process send at a time, while any does. Safe to use from many
    threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._each_s = 0.0  # the network's seconds, of each frame
        self._any_s = 0.0  # those in which there was any
        self._until_s = 0.0

    def took(self, began_s: float, network_s: float) -> None:
        """Note that a frame was on its way for so long; in the order in which they came to an
        end, or nearly."""
        end_s = began_s + network_s
        with self._lock:
            more_s = max(0.0, end_s - max(began_s, self._until_s))
            kept = 0.5 ** (more_s / HALF_LIFE_S)
            self._each_s = self._each_s * kept + network_s
            self._any_s = self._any_s * kept + more_s
            self._until_s = max(self._until_s, end_s)

    def count(self) -> float:
        with self._lock:
            return max(1.0, self._each_s / self._any_s) if self._any_s else 1.0


class Pace:
    """What is known of the way to one host. Safe to use from many threads."""

    def __init__(self, host: str, sharing: Sharing) -> None:
        self._host = host
        self._sharing = sharing
        self._lock = threading.Lock()
        self._bytes = self._network_s = 0.0  # that were measured, the older ones counting less
        self._unmeasured_bytes = 0  # that were sent deflated since the last measurement
        self._to_skip = 0  # frames that are not tried
        self._failures = 0  # trials one after another that did not pay
        self._told = False

    def took(self, size_bytes: int, network_s: float, began_s: float) -> None:
        """Note that so many bytes took the network so long, and from when on."""
        self._sharing.took(began_s, network_s)
        kept = 0.5 ** (size_bytes / HALF_LIFE_BYTES)
        with self._lock:
            self._bytes = self._bytes * kept + size_bytes
            self._network_s = self._network_s * kept + network_s
            self._unmeasured_bytes = 0

    def network_s(self, size_bytes: int) -> float:
        """How long so many bytes keep the network busy; 0 while that is not known."""
        with self._lock:
            return self._s_per_byte() * size_bytes

    def _s_per_byte(self) -> float:
        if self._bytes < KNOWN_BYTES_MIN:
            return 0.0
        return self._network_s / self._bytes / self._sharing.count()

    def try_packing(self, size_bytes: int) -> bool:
        """Whether a frame of that length is to be deflated on trial."""
        with self._lock:
            if self._unmeasured_bytes >= UNMEASURED_BYTES_MAX:
                self._bytes = self._network_s = 0.0
                self._unmeasured_bytes = 0
            s_per_byte = self._s_per_byte()
            if s_per_byte < FASTEST_S_PER_BYTE or s_per_byte * size_bytes < TRIED_S_MIN:
                return False
            if self._to_skip:
                self._to_skip -= 1
                return False
            return True

    def packed(self, size_bytes: int, packed_bytes: int, cost_s: float) -> bool:
        """Note what a trial brought; whether to send what it made.

        Args:
            cost_s: seconds that deflating took.
        """
        with self._lock:
            s_per_byte = self._s_per_byte()
            saved_s = (size_bytes - packed_bytes) * s_per_byte
            unpacking_s = cost_s * UNPACKING_SHARE
            if saved_s > cost_s + unpacking_s:
                self._failures = 0
                if not self._told:
                    self._told = True
                    log.info(
                        "the network to %s takes %.0f ms for 1 MiB: what goes there is deflated",
                        *(self._host, s_per_byte * (1 << 20) * 1000),
                    )
            else:
                self._failures += 1
                self._to_skip = min(1 << self._failures, SKIPPED_MAX)
            sent = saved_s > unpacking_s  # what deflating took is spent either way
            if sent:
                self._unmeasured_bytes += size_bytes
            return sent


class Paces:
    """The paces of one transport's peers, of many those used last. Safe to use from many threads.

    Args:
        packing: False: nothing is deflated, whatever it would save.
    """

    def __init__(self, *, packing: bool = True) -> None:
        self.packing = packing
        self._sharing = Sharing()
        self._lock = threading.Lock()
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def packer(self, host: str) -> Packer:
        """For a new connection to or from a host. To this machine itself there is no network."""
        if not self.packing or Address(host, 0).is_loopback:
            return Packer(None)
        with self._lock:
            pace = self._paces.setdefault(host, Pace(host, self._sharing))
            self._paces.move_to_end(host)
            if len(self._paces) > HOSTS_MAX:
                self._paces.popitem(last=False)
        return Packer(pace)


class Packer:
    """What one connection does with its frames; used by the thread that uses the connection.

    ``pace``: None: frames go as they are.
    """

    def __init__(self, pace: Pace | None) -> None:
        self._pace = pace
        self._before: Reading | None = None  # when the last frame was about to be sent
        self._began_s = 0.0  # when it was

    def pack(self, sock: socket.socket, head: bytes, body: bytes | memoryview) -> bytes | None:
        """``head + body`` deflated, or None where the frame is to go as it is. Called once for each
        frame that is sent."""
        if self._pace is None:
            return None
        try:
            return self._packed(self._pace, sock, head, body)
        finally:
            self._began_s = time.monotonic()

    def _packed(
        self, pace: Pace, sock: socket.socket, head: bytes, body: bytes | memoryview
    ) -> bytes | None:
        self._see_how_it_went(pace, sock)
        size = len(head) + len(body)
        if not pace.try_packing(size):
            return None
        began_s = time.perf_counter()
        deflating = zlib.compressobj(LEVEL)
        packed = deflating.compress(head) + deflating.compress(body) + deflating.flush()
        cost_s = time.perf_counter() - began_s
        return packed if pace.packed(size, len(packed), cost_s) else None

    def _see_how_it_went(self, pace: Pace, sock: socket.socket) -> None:
        """The frame before has been acknowledged, since its answer or the next request is here."""
        now, before = read_gauge(sock), self._before
        self._before = now
        if now is None or before is None:
            return
        size_bytes = now.acked_bytes - before.acked_bytes
        if size_bytes >= PACED_BYTES_MIN:
            pace.took(size_bytes, now.network_s - before.network_s, self._began_s)


def unpack(packed: bytearray, size_bytes_max: int) -> bytearray:
    """The body of a deflated frame.

    Raises:
        ProtocolError: it is not deflated, or not to its end, or is longer than that.
    """
    inflating = zlib.decompressobj()
    try:
        body = inflating.decompress(packed, size_bytes_max + 1)
    except zlib.error as error:
        raise ProtocolError(f"a frame that does not inflate: {error}") from error
    if len(body) > size_bytes_max:
        raise ProtocolError(f"a frame that inflates to more than {size_bytes_max} bytes")
    if not inflating.eof:
        raise ProtocolError("a deflated frame that ends too early")
    if inflating.unused_data:
        raise ProtocolError("a deflated frame with something behind it")
    return bytearray(body)
