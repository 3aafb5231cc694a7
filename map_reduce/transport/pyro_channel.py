"""Pyro4 frames over one socket: each whole, each under a deadline, none of the dangerous kinds.

A frame of Pyro4 is a header of 24 bytes (``Pyro4.message.Message``, which packs and checks it),
annotations, and a body. Of what the header can say we speak a small part, and everything else
is refused *before any byte after the header is read*:

    kind          CONNECT, CONNECTOK, CONNECTFAIL, INVOKE, RESULT, PING, as the reader expects
    flags         none: not batched, one-way, streamed, kept serialized, an exception; compressed
                  only where both ends have agreed to it (pyro_packing.py)
    serializer    ours (pyro_serializer.py), so no other is ever asked to decode
    annotations   none
    body          at most as long as the reader expects

The time that Pyro4 allows is for each ``recv``: a peer that sends a byte now and then is waited
for without end. Here it is for the frame: what is left of it is set before each system call.

Memory is taken as bytes come, not as the header promises, in steps that double.

Below the frames there may be TLS, from before the first one. What looks at the connection from
outside, :meth:`Channel.cut` and :meth:`Channel.is_quiet`, then looks at the socket below it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Container
from typing import Any, NamedTuple

from Pyro4 import errors as pyro_errors
from Pyro4 import message

from map_reduce.errors import ProtocolError
from map_reduce.transport.pyro_packing import Packer, unpack
from map_reduce.transport.pyro_serializer import CALL_NAMES_BYTES_MAX, SERIALIZER_ID
from map_reduce.transport.wire import MESSAGE_BYTES_MAX

BODY_BYTES_MAX = MESSAGE_BYTES_MAX + CALL_NAMES_BYTES_MAX
FIRST_STEP_BYTES = 256 * 1024

JOINED_BYTES_MAX = 16 * 1024
"""Up to this length the parts of a frame are joined for TLS, which would make a record of each."""

DEADLINE_SLACK_S = 0.01
"""How much later than at its deadline a frame may be given up."""

_HEADER_BYTES = message.Message.header_size


class Frame(NamedTuple):
    kind: int
    sequence: int
    body: bytearray


class Cut(ConnectionError):
    """The peer closed, or reset, the connection.

    ``midway``: a part of the frame that was waited for had come already.
    """

    def __init__(self, reason: str, midway: bool) -> None:
        super().__init__(reason)
        self.midway = midway


class Channel:
    """One connection. Used by one thread at a time, but for :meth:`cut`."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._was_cut = False
        self._deadline = self._allowed_at = 0.0  # what the socket's timeout was set for, and when
        self._packer: Packer | None = None
        self._set_options()

    def _set_options(self) -> None:
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def encrypt(
        self,
        context: ssl.SSLContext,
        deadline: float,
        *,
        server_side: bool = False,
        host: str | None = None,
    ) -> None:
        """Speak TLS from here on; a client checks that the other end is ``host``.

        Raises:
            TimeoutError: the handshake was not over before the deadline.
            ssl.SSLError: the other end does not speak TLS, or its certificate is not accepted.
            Cut: the connection is gone.
        """
        try:
            self._allow_until(deadline, "the TLS handshake")
            wrapped = context.wrap_socket(
                self.sock,
                server_side=server_side,
                do_handshake_on_connect=False,
                server_hostname=host,
            )
            self.sock = wrapped
            self._deadline = 0.0
            if self._was_cut:  # in the moment in which the old socket object was taken apart
                raise Cut("cut by this end", midway=False)
            self._allow_until(deadline, "the TLS handshake")
            wrapped.do_handshake()
        except (TimeoutError, ssl.SSLError, Cut):
            raise
        except (OSError, ValueError) as error:  # ValueError: it ended before it began
            raise Cut(f"the TLS handshake: {error}", midway=False) from error

    def pack_by(self, packer: Packer) -> None:
        """Take deflated frames from here on, and send them where the packer does so."""
        self._packer = packer

    def certificate(self) -> dict[str, Any] | None:
        """What the other end's certificate says, once :meth:`encrypt` has checked it; None where
        OpenSSL lets it pass and cannot read its names."""
        try:
            return self.sock.getpeercert() if isinstance(self.sock, ssl.SSLSocket) else None
        except (ssl.SSLError, ValueError):
            return None

    def send(
        self, kind: int, sequence: int, head: bytes, body: bytes | memoryview, deadline: float
    ) -> None:
        """Send one frame, whose body is ``head + body``.

        Raises:
            TimeoutError: the peer did not take it all before the deadline.
            Cut: the connection is gone.
        """
        flags = 0
        if self._packer is not None:
            packed = self._packer.pack(self.sock, head, body)
            if packed is not None:
                flags, head, body = message.FLAGS_COMPRESSED, b"", packed
        frame = message.Message(kind, b"", SERIALIZER_ID, flags, sequence)
        frame.data_size = len(head) + len(body)
        parts = [memoryview(frame.to_bytes() + head), memoryview(body)]
        encrypted = isinstance(self.sock, ssl.SSLSocket)
        if encrypted and frame.data_size <= JOINED_BYTES_MAX:
            parts = [memoryview(b"".join(parts))]
        try:
            while parts:
                self._allow_until(deadline, "sending")
                sent = self.sock.send(parts[0]) if encrypted else self.sock.sendmsg(parts)
                while parts and sent >= len(parts[0]):
                    sent -= len(parts.pop(0))
                if parts:
                    parts[0] = parts[0][sent:]
        except TimeoutError:
            raise
        except OSError as error:
            raise Cut(f"sending: {error}", midway=False) from error

    def receive(
        self,
        kinds: Container[int],
        deadline: float,
        frame_s_max: float | None = None,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> Frame:
        """Wait for one frame. Its first byte must come before the deadline; so must its last,
        or within ``frame_s_max`` of the first where that is given.

        Raises:
            TimeoutError: it did not.
            Cut: the connection is gone.
            ProtocolError: it is not such a frame; nothing after its header was read.
        """
        header = bytearray(_HEADER_BYTES)
        first = self._receive_some(memoryview(header), deadline, midway=False)
        self.frame_begins()
        if frame_s_max is not None:
            deadline = time.monotonic() + frame_s_max
        self._receive_all(memoryview(header)[first:], deadline)
        try:
            frame = message.Message.from_header(bytes(header))
        except pyro_errors.PyroError as error:
            raise ProtocolError(f"not a Pyro4 frame: {error}") from error
        if (
            frame.type not in kinds
            or frame.flags not in (0, 0 if self._packer is None else message.FLAGS_COMPRESSED)
            or frame.serializer_id != SERIALIZER_ID
            or frame.annotations_size != 0
            or not 0 <= frame.data_size <= body_bytes_max
        ):
            raise ProtocolError(
                f"a Pyro4 frame of a kind that is not spoken here: type {frame.type}, "
                f"flags {frame.flags:#x}, serializer {frame.serializer_id}, "
                f"{frame.annotations_size} bytes of annotations, {frame.data_size} of body"
            )
        body = self._receive_body(frame.data_size, deadline)
        if frame.flags:
            body = unpack(body, body_bytes_max)
        return Frame(frame.type, frame.seq, body)

    def frame_begins(self) -> None:
        """Called between a frame's first byte and the rest, for who keeps account of it."""

    def is_quiet(self) -> bool:
        """Whether the other end still holds the connection, and has sent nothing out of turn."""
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return False
        self._deadline = 0.0
        self.sock.setblocking(False)
        try:
            socket.socket.recv(self.sock, 1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    @property
    def was_cut(self) -> bool:
        """Whether this end has ended the connection."""
        return self._was_cut

    def cut(self) -> None:
        """End the connection now; whoever waits in it is woken by :class:`Cut`."""
        self._was_cut = True
        with contextlib.suppress(OSError):  # already gone, which is what is wanted
            # Not by the method of SSLSocket, which would go on unencrypted.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection and free its socket."""
        self.cut()
        self.sock.close()

    def _receive_body(self, size: int, deadline: float) -> bytearray:
        body = bytearray(min(size, FIRST_STEP_BYTES))
        filled = 0
        while True:
            with memoryview(body) as view:
                self._receive_all(view[filled:], deadline)
            filled = len(body)
            if filled == size:
                return body
            body += bytes(min(filled, size - filled))

    def _receive_all(self, view: memoryview, deadline: float) -> None:
        while view:
            view = view[self._receive_some(view, deadline, midway=True) :]

    def _receive_some(self, view: memoryview, deadline: float, midway: bool) -> int:
        self._allow_until(deadline, "receiving")
        try:
            count = self.sock.recv_into(view)
        except TimeoutError:
            raise
        except OSError as error:
            raise Cut(f"receiving: {error}", midway) from error
        if count == 0:
            raise Cut("the peer closed the connection", midway)
        return count

    def _allow_until(self, deadline: float, doing: str) -> None:
        now = time.monotonic()
        if deadline <= now:
            raise TimeoutError(f"{doing}: the time is up")
        # Each change is a system call, which TLS would make for each 16 KiB.
        if deadline != self._deadline or now > self._allowed_at + DEADLINE_SLACK_S:
            self._deadline, self._allowed_at = deadline, now
            self.sock.settimeout(deadline - now)
