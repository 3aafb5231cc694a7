"""What the runtime needs from the world, as Protocols.

Each has one contract suite in ``tests/contracts`` that every implementation passes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import (
    BlockRef,
    EndedJob,
    Message,
    Outcome,
    Request,
    Running,
    StartAttempt,
)
from map_reduce.core.registers.acceptor import Held

Handler = Callable[[Request], Message]
"""Answers a request at once: it never waits and never makes a remote call."""


class Hold(Protocol):
    """A request whose answer has nothing new to tell yet. The transport waits in the node's stead,
    and has it answered once there is news or ``hold_s`` seconds are over."""

    hold_s: float

    def wake_by(self, wake: Callable[[], object]) -> None:
        """Have ``wake`` called, once, when there is news: at once where there is some already.

        From any thread; after :meth:`end` no more. It must not wait.
        """

    def end(self) -> None:
        """The wait is over, however it ended. Harmless when repeated."""


ToHold = Callable[[Request], Hold | None]
"""Says at once whether a request is to be held before it is answered; None: it is not."""


class Clock(Protocol):
    """The time that deadlines and leases are reckoned by."""

    def now_s(self) -> float:
        """Monotonic seconds."""


class Transport(Protocol):
    """How requests reach peers. One per node, or per client (which serves nothing).

    Safe to use from many threads. No call outlives its timeout by more than scheduling noise.
    """

    def listen(self, address: Address) -> Address:
        """Bind, and return the address with its real port (asked for with port 0).

        Nothing is answered until :meth:`serve`. Bulk requests are served on a port of their
        own, which peers find by themselves.

        Raises:
            PortTakenError: somebody else listens there.
            ConfigError: the address is not this machine's, or not loopback.
        """

    def serve(self, handler: Handler, to_hold: ToHold | None = None) -> None:
        """Start answering in background threads with ``handler``, which is called concurrently.

        What ``to_hold`` holds is answered when there is news, or its time is over. An asker that
        goes away ends that wait.
        """

    def call(self, peer: Address, request: Request, timeout_s: float) -> Message:
        """Send and return the reply.

        A request of ``messages.HELD`` says for how long its answer may be held. For so long the
        reply may come later, if the peer shows signs of life meanwhile.

        Raises:
            Unreachable: no reply within ``timeout_s``; the request may have been carried out.
            NotListening: the connection was refused; it was not carried out.
            ProtocolError: the peer's reply is not a message, or the request is too large.
        """

    def close(self) -> None:
        """Stop answering, cut open connections, and return when all threads have ended."""


class BlockStore(Protocol):
    """The blocks of one node. Safe to use from many threads."""

    def put_piece(self, ref: BlockRef, offset: int, data: bytes) -> bool:
        """Keep a piece; pieces come in any order and may repeat. True once the block is whole.

        Raises:
            BlockCorruptError: all bytes came and do not match ``ref.digest``; none are kept.
        """

    def adopt_file(self, ref: BlockRef, path: Path) -> None:
        """Take over a finished local file as a whole block (moved where possible)."""

    def adopt_bytes(self, ref: BlockRef, data: bytes) -> None:
        """Keep a whole block that needs no digest: a map output."""

    def bytes_of(self, name: str) -> bytes | None:
        """A whole block that is in memory; None for any other."""

    def read(self, name: str, offset: int, length_bytes: int) -> tuple[bytes, int]:
        """A range of a whole block, cut at its end, and the block's size.

        Raises:
            BlockMissingError: there is no whole block of that name.
        """

    def path_of(self, name: str) -> Path | None:
        """The file a whole block is in, where it is in one."""

    def delete_prefix(self, prefix: str) -> int:
        """Delete every block, whole or not, whose name starts so; how many."""

    def discard(self, name: str) -> None:
        """Delete one block, if it is there."""

    def verify(self, name: str) -> BlockRef | None:
        """Read a whole block. One that does not match its digest is put out of use, with a line
        in the log, and what it should have been is returned; None where all is well, where there
        is no such block, or where it has no digest."""

    def refs(self) -> tuple[BlockRef, ...]:
        """The whole blocks that have a digest: all but adopted map outputs."""

    def ref_of(self, name: str) -> BlockRef | None:
        """The one of :meth:`refs` with that name."""

    def watch(self, changed: Callable[[str], None]) -> None:
        """Have ``changed`` called with the name of each block that comes or goes from now on.

        It is called with a lock held: it must return at once and not use the store. One at most.
        """

    def usage(self) -> tuple[int, int]:
        """Number of whole blocks, and their bytes."""

    def close(self) -> None:
        """Release everything; delete the files of a store that was opened as temporary."""


class RecordStore(Protocol):
    """What one replica remembers of records (``core/registers``). Safe to use from many threads.

    Once anything of it has raised OSError, nothing more can be made durable: the replica that uses
    it ends, and another is opened from what is there.
    """

    @property
    def identity(self) -> int:
        """Of this memory: drawn at random when it was made, and lost with it."""

    @property
    def incarnation(self) -> int:
        """Of the node that has opened it: larger than that of every earlier one."""

    @property
    def waits_for_disk(self) -> bool:
        """Whether :meth:`sync` may take its time."""

    def held(self) -> tuple[Held, ...]:
        """What was found when the store was opened."""

    def append(self, held: Held) -> int:
        """Put it in the place of what was held under its name; what to :meth:`sync` to.

        Raises:
            OSError: it could not be written.
        """

    def sync(self, place: int) -> None:
        """Return once everything appended up to there would outlive a crash.

        Raises:
            OSError: nobody knows whether they would.
        """

    def close(self) -> None:
        """Release everything. What was not synchronised may be lost."""


class EndedJobs(Protocol):
    """Jobs that a node was told to delete, kept where they outlive it. Used by many threads."""

    def known(self) -> tuple[tuple[EndedJob, float], ...]:
        """Those of the node's lives before this one, and how many seconds ago each was noted."""

    def add(self, job: EndedJob) -> None:
        """Return once it will be known in the node's next life. Raises OSError."""


Made = Path | bytes | None
"""An attempt's output: a file, which belongs to whom it is handed; the bytes themselves of a small
map output; or nothing, where the outcome says all."""


class LocalSource(NamedTuple):
    """A map task's output for this reduce task: bytes of a local file."""

    path: Path
    offset: int
    length_bytes: int


class LocalInput(NamedTuple):
    """What a worker process is handed besides the message: where the fetched bytes lie.

    ``functions`` is None where they are inline in the message; ``split`` is the file of a
    block split, None for the other kinds; ``sources`` stand in the order of the work's.
    """

    functions: Path | None = None
    split: Path | None = None
    sources: tuple[LocalSource, ...] = ()


class WorkerPool(Protocol):
    """The processes that run user code on one node. Safe to use from many threads."""

    slots: int

    def submit(
        self,
        order: StartAttempt,
        local: LocalInput,
        ended: Callable[[Outcome, Made], None],
    ) -> None:
        """Run it when a slot is free; ``ended`` is called once, from a thread of the pool, which
        it is not to keep waiting.

        What it is handed is the output of a map or a large reduce (:data:`Made`).
        A worker that dies or overruns is replaced; the outcome is then a Failed. After
        :meth:`stop` of the attempt, ``ended`` is not called.
        """

    def stop(
        self, job_id: str, phase: str = "", task: int = -1, number: int = -1, epoch: int = -1
    ) -> None:
        """End matching attempts, running or queued, without reporting them."""

    def running(self) -> tuple[Running, ...]:
        """The attempts in slots now."""

    def busy(self) -> int:
        """Attempts running or queued."""

    def close(self) -> None:
        """Kill all worker processes and return when they and the pool's threads have ended."""
