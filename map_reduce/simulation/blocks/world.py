"""The world of a ring with blocks: nodes with disks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from map_reduce.core.identifiers import Address
from map_reduce.simulation.blocks.disk import Disk
from map_reduce.simulation.blocks.judge import BlockJudge
from map_reduce.simulation.blocks.process import BlockProcess
from map_reduce.simulation.draws import Draws
from map_reduce.simulation.world import World

if TYPE_CHECKING:
    from map_reduce.simulation.blocks.mutants import Mutant
    from map_reduce.simulation.blocks.plan import BlockPlan

WRITTEN = 10
"""A kind of event in a trace: a block came to a disk, or went."""


class BlockWorld(World):
    """Everything there is in one run."""

    def __init__(self, plan: BlockPlan, mutant: Mutant, *, readable: bool = False) -> None:
        addresses = [Address(f"n{number}", 1) for number in range(plan.nodes)]
        super().__init__(plan.settings(), addresses, readable=readable)
        self.mutant = mutant
        self.replicas = plan.replicas
        self.lasting = plan.lasting
        self.blocks = BlockJudge(self)
        self.disk_draws = Draws(plan.seed, "disks")
        self.disks = [Disk(partial(self._changed, number)) for number in range(plan.nodes)]
        self.dark_until_us = 0

    def start(self, number: int) -> BlockProcess:
        process = BlockProcess(self, number, self.addresses[number], next(self._incarnations))
        self._processes[number] = process
        return process

    def node(self, number: int) -> BlockProcess | None:
        """The node's process, where one is up."""
        return cast("BlockProcess | None", self.process(number))

    def nodes(self) -> list[BlockProcess]:
        """Those that are up."""
        return [cast("BlockProcess", process) for process in self.processes()]

    def end(self, number: int, *, disk_lost: bool = False, in_order: bool = False) -> None:
        """The node's process ends; with it its disk, if that is lost or was a temporary folder."""
        process = self.node(number)
        if process is not None:
            process.up = False
        disk = self.disks[number]
        disk.busy_until_us = self.now_us
        self.blocks.ended(number)
        if disk_lost or number not in self.lasting:
            self.blocks.loses(number, in_order=in_order)
            disk.wipe()

    def tell(self, text: str) -> None:
        """A line for people."""
        self.trace.tell(self.now_us, text)

    def _changed(self, number: int, name: str) -> None:
        present = name in self.disks[number].files
        self.trace.note(self.now_us, WRITTEN, number, int(present))
        if self.trace.lines is not None:
            self.tell(f"    n{number} {'has' if present else 'has no more'} {name}")
        self.blocks.changed(number, name)
