"""Drives block procedures on virtual time: messages through the world, bytes through a disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from map_reduce.core.blocks.effects import (
    Adopt,
    Allow,
    BlockProcedure,
    Discard,
    Effect,
    End,
    Keep,
    Load,
    T,
    TakeOwn,
    Verify,
    Wait,
)
from map_reduce.core.digests import digest_of
from map_reduce.core.messages import BULK, BlockRef
from map_reduce.core.procedure import Ask
from map_reduce.errors import BlockCorruptError, BlockMissingError, ClusterError, Refused
from map_reduce.simulation.plan import SECOND_US
from map_reduce.simulation.process import Asker

if TYPE_CHECKING:
    from map_reduce.simulation.blocks.process import BlockProcess

PIECE_BYTES = 16
PIECE_TIMEOUT_US = 4 * SECOND_US

LATER = object()
"""In place of an answer: it comes by ``resume``."""

Resume = Callable[[object], None]
"""Takes the answer, or the ClusterError in place of one."""


class Here(Protocol):
    """Where a procedure moves bytes to and from."""

    def carry_out(self, effect: Effect, resume: Resume) -> object:
        """The answer to an effect other than Ask, the error in place of it, or LATER."""


def drive(
    asker: Asker,
    procedure: BlockProcedure[T],
    here: Here,
    then: Callable[[T | None, ClusterError | None], None],
    answer: object = None,
) -> None:
    """Drive the procedure to its end; ``then`` gets its result or its error."""

    def resume(answer: object) -> None:
        drive(asker, procedure, here, then, answer)

    while answer is not LATER:
        try:
            if isinstance(answer, ClusterError):
                effect = procedure.throw(answer)
            else:
                effect = procedure.send(answer)
        except StopIteration as end:
            then(end.value, None)
            return
        except ClusterError as error:
            then(None, error)
            return
        if not isinstance(effect, Ask):
            answer = here.carry_out(effect, resume)
            continue
        refused = here.carry_out(effect, resume)
        answer = refused if isinstance(refused, ClusterError) else _ask(asker, effect, resume)


def _ask(asker: Asker, ask: Ask, resume: Resume) -> object:
    if asker.sender is not None and ask.address == asker.sender.address:
        process = cast("BlockProcess", asker)
        reply = process.ring.handle(ask.message)
        if reply is not None:
            return reply
        process.answer(ask.message, resume)
        return LATER
    bulk = isinstance(ask.message, BULK)
    asker.world.ask(asker, ask, resume, PIECE_TIMEOUT_US if bulk else None)
    return LATER


class User:
    """The bytes of one who stores or reads a block: a client, or a node's worker.

    Args:
        process: the node whose own store may be used.
    """

    def __init__(self, data: bytes = b"", process: BlockProcess | None = None) -> None:
        self.data = data
        self._process = process

    def carry_out(self, effect: Effect, resume: Resume) -> object:
        match effect:
            case Load(_, offset, length_bytes):
                return self.data[offset : offset + length_bytes]
            case Keep(_, offset, data):
                self.data = self.data[:offset] + data
                return False
            case Allow() | Ask():
                return None
            case TakeOwn(ref) if self._process is not None:
                store = self._process.store
                self._process.on_disk(
                    lambda: store.read(ref.name, 0, 1 << 30)[0], self._own(ref, resume)
                )
                return LATER
            case Adopt(ref) if self._process is not None:
                store, data = self._process.store, self.data
                self._process.on_disk(lambda: store.adopt(ref, data), resume)
                return LATER
        raise AssertionError(f"{effect} is not asked for in storing and reading")

    def _own(self, ref: BlockRef, resume: Resume) -> Resume:
        def read(data: Any) -> None:
            if isinstance(data, BlockMissingError):
                resume(False)
            elif digest_of(data) != ref.digest:
                resume(BlockCorruptError(f"this node's copy of block {ref.name} is damaged"))
            else:
                self.data = data
                resume(True)

        return read


class NodeStore:
    """The store of a node, as its repair moves bytes."""

    def __init__(self, process: BlockProcess) -> None:
        self._process = process

    def carry_out(self, effect: Effect, resume: Resume) -> object:
        process, store = self._process, self._process.store
        match effect:
            case Ask():
                return process.stopped()
            case Allow(size_bytes):
                return process.stopped() or process.allow(size_bytes, resume)
            case Load(ref, offset, length_bytes):
                process.on_disk(lambda: store.read(ref.name, offset, length_bytes)[0], resume)
            case Keep(ref, offset, data):
                process.on_disk(lambda: store.put_piece(ref, offset, data), resume)
            case Verify(name):
                process.on_disk(lambda: store.verify(name), resume)
            case Discard(ref):
                process.discard(ref)
                return None
            case End(job):
                process.end_job(job)
                return None
            case Wait(seconds):
                process.world.at(int(seconds * SECOND_US), process, lambda: resume(None))
            case _:
                raise AssertionError(f"{effect} is not asked for in repair")
        return LATER


def on_disk_error(error: OSError) -> ClusterError:
    return Refused(f"the disk did not take it: {error}")
