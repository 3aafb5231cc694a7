"""One simulated node with blocks: what ``runtime/repair.py`` and ``server/node.py`` do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from map_reduce.core import names
from map_reduce.core.identifiers import Address
from map_reduce.core.messages import (
    BlockRef,
    CompareArc,
    DamagedBlock,
    Done,
    EndedJob,
    EndJob,
    GetPiece,
    Message,
    No,
    NoBlock,
    Piece,
    PieceStored,
    PutPiece,
    WhichMissing,
)
from map_reduce.core.repair.inventory import Inventory
from map_reduce.core.repair.keeper import Step
from map_reduce.errors import BlockMissingError, ClusterError, MapReduceError, Unreachable
from map_reduce.simulation.blocks.disk import Disk, Store
from map_reduce.simulation.blocks.driving import (
    LATER,
    PIECE_BYTES,
    NodeStore,
    Resume,
    drive,
    on_disk_error,
)
from map_reduce.simulation.plan import SECOND_US
from map_reduce.simulation.process import Process

if TYPE_CHECKING:
    from map_reduce.simulation.blocks.world import BlockWorld

SETTLE_S = 3.0
INTERVAL_S = 15.0
ROUND_S = 20.0
HANDOVER_S_MAX = 5.0
BYTES_PER_S_MAX = 400.0

DISK_US = (50, 10_000)
SLOW_DISK_US = (100_000, 6_000_000)


class BlockProcess(Process):
    """One incarnation of a node."""

    world: BlockWorld

    def __init__(self, world: BlockWorld, number: int, address: Address, incarnation: int) -> None:
        super().__init__(world, number, address, incarnation)
        self.disk: Disk = world.disks[number]
        self.store = Store(self.disk, self._changed, checks=world.mutant.checks)
        self.inventory = Inventory(self.store.refs())
        self.keeper = world.mutant.keeper(
            self.ring.me,
            lambda: (self.ring.predecessor, self.ring.successors),
            self.inventory,
            now_s=world.now_s,
            replicas=world.replicas,
            settle_s=SETTLE_S,
            interval_s=INTERVAL_S,
            unchecked=[ref.name for ref in self.store.refs()],
            round_s=ROUND_S,
            piece_bytes=PIECE_BYTES,
        )
        for job_id, blocks in self.disk.ends.items():
            self.keeper.ended(EndedJob(job_id, blocks))
        self.stepping_since_us: int | None = None
        self._here = NodeStore(self)
        self._stopping = False
        self._in_order = False
        self._free_at_us = world.now_us
        world.at(self._jittered(SECOND_US), self, self._repair)

    def _changed(self, name: str) -> None:
        self.inventory.set(name, self.store.ref_of(name))

    # -------------------------------------------------------------- requests

    def answer(self, message: Message, reply: Callable[[Message], None]) -> None:
        match message:
            case CompareArc() | WhichMissing() | DamagedBlock():
                reply(self.keeper.handle(message))
            case PutPiece(ref, offset, data):
                refusal = self.keeper.admit(ref)
                if refusal is not None:
                    reply(refusal)
                    return
                if early := not self.world.mutant.keeps_first:
                    reply(_stored(offset + len(data) == ref.size_bytes))
                self.on_disk(
                    lambda: self.store.put_piece(ref, offset, data),
                    lambda whole: None if early else reply(_stored(whole)),
                )
            case GetPiece(name, offset, length_bytes):
                self.on_disk(
                    lambda: self.store.read(name, offset, length_bytes),
                    lambda found: reply(_piece(name, found)),
                )
            case EndJob(job_id, blocks):
                self.end_job(EndedJob(job_id, blocks))
                reply(Done())
            case _:
                raise AssertionError(f"{message} is no message of a ring with blocks")

    def end_job(self, job: EndedJob) -> None:
        ends = self.disk.ends  # of a temporary folder, it is gone with the process
        ends[job.job_id] = job.blocks or ends.get(job.job_id, False)
        self.keeper.ended(job)
        prefixes = [names.of_job(job.job_id)] if job.blocks else names.while_running(job.job_id)
        for prefix in prefixes:
            self.store.delete_prefix(prefix)

    def knows_end_of(self, name: str) -> bool:
        """Whether it was told to delete the block."""
        blocks = self.disk.ends.get(names.job_of(name))
        return blocks is not None and (blocks or names.is_only_for_running(name))

    # -------------------------------------------------------------- repair

    def _repair(self) -> None:
        if self._stopping or self.leaving:
            return
        self.stepping_since_us = self.world.now_us
        drive(self, self.keeper.step(), self._here, self._stepped)

    def _stepped(self, step: Step | None, error: ClusterError | None) -> None:
        self.stepping_since_us = None
        self.world.blocks.require(error is None, f"a step of {self.ring.me} failed: {error}")
        if step is not None and step.looked is not None:
            self.world.tell(f"{self._name} looked: {step.looked}")
        if self._stopping:
            self._hand_over()
        else:
            self.world.at(self._jittered(SECOND_US), self, self._repair)

    def stopped(self) -> ClusterError | None:
        """Why no more is to be asked or moved."""
        return Unreachable("this node stops") if self._stopping else None

    def discard(self, ref: BlockRef) -> None:
        """Delete a copy that is too many."""
        assert self.stepping_since_us is not None
        self.world.blocks.discards(self.number, ref.name, self.stepping_since_us)
        self.store.discard(ref.name)

    # -------------------------------------------------------------- leaving

    @property
    def leaving(self) -> bool:
        return self._stopping or self.keeper.leaving

    def leave(self) -> None:
        """End repair, hand over, and then leave the ring."""
        if self.leaving:
            return
        self._stopping = True
        if self.stepping_since_us is None:
            self._hand_over()

    def _hand_over(self) -> None:
        self._stopping = False
        drive(self, self.keeper.hand_over(HANDOVER_S_MAX), self._here, self._handed_over)

    def _handed_over(self, problems: tuple[str, ...] | None, error: ClusterError | None) -> None:
        self.world.blocks.require(error is None, f"{self.ring.me} handed nothing over: {error}")
        self.world.tell(f"{self._name} handed over: {problems}")
        self._in_order = self.keeper.leaving and not problems  # who is alone gives it to nobody
        super().leave()

    def left(self) -> None:
        self.world.end(self.number, in_order=self._in_order)

    # -------------------------------------------------------------- bytes

    def on_disk(self, action: Callable[[], Any], resume: Resume) -> None:
        """Do it when the disk gets to it; ``resume`` gets the result or the ClusterError."""
        disk, world = self.disk, self.world
        delay_us = world.disk_draws.heavy_tailed(*(SLOW_DISK_US if disk.slow else DISK_US))
        disk.busy_until_us = max(world.now_us, disk.busy_until_us) + delay_us

        def do() -> None:
            try:
                result = action()
            except ClusterError as error:
                result = error
            except OSError as error:
                result = on_disk_error(error)
            resume(result)

        world.at(disk.busy_until_us - world.now_us, self, do)

    def allow(self, size_bytes: int, resume: Resume) -> object:
        """As ``runtime/pace.py``."""
        now_us = self.world.now_us
        if self.keeper.leaving:
            return None
        wait_us = max(0, self._free_at_us - now_us)
        self._free_at_us = now_us + wait_us + int(size_bytes * SECOND_US / BYTES_PER_S_MAX)
        if not wait_us:
            return None
        self.world.at(wait_us, self, lambda: resume(self.stopped()))
        return LATER

    @property
    def _name(self) -> str:
        return self.ring.me.address.host


def _stored(whole: object) -> Message:
    if isinstance(whole, MapReduceError):
        return No(f"piece not stored: {whole}")
    return PieceStored(bool(whole))


def _piece(name: str, found: Any) -> Message:
    return NoBlock(name) if isinstance(found, BlockMissingError) else Piece(*found)
