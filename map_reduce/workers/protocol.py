"""What the daemon and one worker process say to each other, and how it is framed.

A frame is a length (4 bytes, big-endian) and a msgpack array whose first element names its
type. Both ends decode strictly. The daemon unpickles nothing: functions, data and exceptions
are opaque bytes in here, as they are between nodes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import msgspec

from map_reduce.core.messages import Outcome, StartAttempt
from map_reduce.core.messages.base import NOT_DECODABLE
from map_reduce.errors import ProtocolError
from map_reduce.execution.map_output import SMALL_BYTES_MAX
from map_reduce.ports import LocalInput, LocalSource

FRAME_BYTES_MAX = 256 << 20
"""A longer frame than this is a mistake. What is large travels as a file, not in here."""

_LENGTH_BYTES = 4
_RECEIVE_BYTES = 1 << 16
"""At a time. For more, malloc asks the kernel for pages and gives them back, each time."""


class _Frame(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Base of everything that is said."""


# ------------------------------------------------------------------ to the worker process


class Run(_Frame, frozen=True):
    """Run this attempt. Paths are bytes, since a path need not be text."""

    number: int  # tells the pool's attempts apart in reports
    order: StartAttempt
    functions: bytes | None
    split: bytes | None
    sources: tuple[tuple[bytes, int, int], ...]
    output: bytes  # where the attempt's output goes; its folder is the process's own
    note: bytes  # where a careful attempt notes each record (workers/notes.py)

    def local_input(self) -> LocalInput:
        paths = {path: Path(_text(path)) for path in {path for path, _, _ in self.sources}}
        return LocalInput(
            functions=_path(self.functions),
            split=_path(self.split),
            sources=tuple(
                LocalSource(paths[path], offset, length) for path, offset, length in self.sources
            ),
        )

    def output_path(self) -> Path:
        return Path(_text(self.output))

    def note_path(self) -> Path:
        return Path(_text(self.note))


class Recall(_Frame, frozen=True):
    """Give back the attempt of this number, if it has not begun. It is always answered."""

    number: int


class Forget(_Frame, frozen=True):
    """The job has ended: unload its functions."""

    job_id: str


# ------------------------------------------------------------------ from the worker process


class Ready(_Frame, frozen=True):
    """Everything is imported; an attempt may come."""


class Report(_Frame, frozen=True):
    """How far the running attempt is, a few times a second."""

    number: int  # that of Run
    records: int
    bytes_in: int
    current: str  # where it is, for people: "line 12 of a.txt"


class Recalled(_Frame, frozen=True):
    """The answer to Recall: the attempt is ``given_back``, and will not begin here, or it has
    begun."""

    number: int
    given_back: bool


class Ended(_Frame, frozen=True):
    """The attempt of this number is over. They end in the order in which they came.

    ``output``: there is a file at the path that Run named. ``recycle``: why this process must
    not be used again, empty where it may. ``small``: the output itself, where there is one and no
    file.
    """

    number: int
    outcome: Outcome
    output: bool
    recycle: str
    small: Annotated[bytes, msgspec.Meta(max_length=SMALL_BYTES_MAX)] | None = None


ToWorker = Run | Recall | Forget
FromWorker = Ready | Report | Recalled | Ended

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()


def run_of(
    number: int,
    order: StartAttempt,
    local: LocalInput,
    output: str | Path,
    note: str | Path,
) -> Run:
    return Run(
        number=number,
        order=order,
        functions=bytes(local.functions) if local.functions else None,
        split=bytes(local.split) if local.split else None,
        sources=tuple((bytes(path), offset, length) for path, offset, length in local.sources),
        output=os.fsencode(output),
        note=os.fsencode(note),
    )


def framed(message: _Frame) -> bytes:
    """The bytes of one frame.

    Raises:
        ProtocolError: it is longer than FRAME_BYTES_MAX, or holds text that is not Unicode.
    """
    try:
        body = _encoder.encode(message)
    except UnicodeEncodeError as error:
        raise ProtocolError(f"{type(message).__name__} holds text that is not Unicode") from error
    if len(body) > FRAME_BYTES_MAX:
        raise ProtocolError(
            f"{type(message).__name__} has {len(body)} bytes; at most {FRAME_BYTES_MAX} travel"
        )
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class FrameReader(Generic[T]):
    """Cuts a stream of bytes into messages of the type that ``decoder`` knows."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[T]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()

    def receive(self, sock: socket.socket) -> bool:
        """Take in what has come, waiting only as long as ``sock`` itself does. False: no more.

        Raises:
            BlockingIOError: nothing is there, and the socket does not wait.
        """
        try:
            data = sock.recv(_RECEIVE_BYTES)
        except ConnectionError:
            return False
        self._buffer += data
        return bool(data)

    def messages(self) -> Iterator[T]:
        """The messages that are complete.

        Raises:
            ProtocolError: the bytes are not what the other end may say.
        """
        while len(self._buffer) >= _LENGTH_BYTES:
            length = int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
            if length > FRAME_BYTES_MAX:
                raise ProtocolError(f"a frame of {length} bytes; at most {FRAME_BYTES_MAX} travel")
            end = _LENGTH_BYTES + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH_BYTES:end])
            del self._buffer[:end]
            try:
                message = self._decoder.decode(body)
            except NOT_DECODABLE as error:
                raise ProtocolError(f"a frame that is no message: {error}") from error
            yield message


def worker_side() -> FrameReader[ToWorker]:
    """Reads what a worker process is told."""
    decoder: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
    return FrameReader(decoder)


def daemon_side() -> FrameReader[FromWorker]:
    """Reads what a worker process tells."""
    decoder: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
    return FrameReader(decoder)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _path(path: bytes | None) -> Path | None:
    return None if path is None else Path(_text(path))
