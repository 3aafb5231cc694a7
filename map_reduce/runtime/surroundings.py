"""What the masters of one node, and its watcher, share; and how a job is shown to who asks."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import (
    Done,
    EndJob,
    Failure,
    Figures,
    JobStatus,
    Order,
    OutputPart,
    Progress,
    Tally,
)
from map_reduce.core.scheduling.events import NodeSlots
from map_reduce.errors import ClusterError
from map_reduce.ports import Clock
from map_reduce.runtime.blocks import RingBlocks
from map_reduce.runtime.changes import Changes
from map_reduce.runtime.journal import PART_BYTES
from map_reduce.runtime.parallel import Parallel
from map_reduce.runtime.peers import Peers
from map_reduce.runtime.post import Post
from map_reduce.runtime.records import Records
from map_reduce.runtime.threads import Threads

log = logging.getLogger(__name__)

STATUS_BYTES_MAX = 1 << 20
NO_TALLY = Tally()
NO_FIGURES = Figures()


class Surroundings(msgspec.Struct, frozen=True):
    """What the masters of one node share.

    Args:
        nodes: the usable nodes now.
        orders: to nodes about attempts, so that a silent node delays no decision.
        senders: threads for telling all nodes something, for the same reason.
        writers: threads for records, which may take longer still.
        parallel: for asking all nodes at once.
        lease_s: how long a silent master is left in peace.
        attempts_max: see ClusterConfig.
        task_timeout_s: of each attempt, where its job does not say.
        backups: whether tasks that lag are begun a second time, where their job does not say.
        node_silence_s_max: without a sign of life a node's attempts count as lost.
        changes: told when a job got its master here, and when it has ended.
    """

    peers: Peers
    blocks: RingBlocks
    records: Records
    clock: Clock
    nodes: Callable[[], tuple[NodeSlots, ...]]
    orders: Post[Order]
    senders: Threads
    writers: Threads
    parallel: Parallel
    lease_s: float
    attempts_max: int
    task_timeout_s: float
    backups: bool
    node_silence_s_max: float
    changes: Changes

    def tell_nodes(self, message: EndJob) -> None:
        """Send to every node, once; a node that misses it finds out by asking for the job."""
        for node in self.nodes():
            self.senders.run(partial(self.tell, node.member, message))

    def tell(self, member: Member, message: EndJob) -> None:
        """Send a message that may be lost."""
        try:
            self.peers.request(member.address, message, Done)
        except ClusterError as error:
            log.info("%s did not take %s: %s", member, type(message).__name__, error)

    def close(self) -> None:
        self.orders.close()
        self.senders.close()
        self.writers.close()
        self.parallel.close()


def status_of(
    job_id: str,
    name: str,
    progress: Progress,
    first_part: int = 0,
    parts: tuple[OutputPart, ...] = (),
    *,
    failure: Failure | None = None,
    master: Member | None,
    epoch: int,
    waiting_for: tuple[Address, ...] = (),
    tally: Tally = NO_TALLY,
    figures: Figures = NO_FIGURES,
) -> JobStatus:
    """With as many parts from ``first_part`` on as fit a message."""
    return JobStatus(
        job_id=job_id,
        name=name,
        progress=progress,
        parts=_as_many_as_fit(parts[first_part:]),
        parts_total=len(parts),
        failure=failure,
        master=master,
        epoch=epoch,
        waiting_for=waiting_for,
        tally=tally,
        figures=figures,
    )


def _as_many_as_fit(parts: tuple[OutputPart, ...]) -> tuple[OutputPart, ...]:
    """The first ones, at least one, that are small enough for one message together."""
    sizes = itertools.accumulate(PART_BYTES + len(part.inline) for part in parts)
    count = sum(1 for size in sizes if size <= STATUS_BYTES_MAX)
    return parts[: max(1, count)]


def bits_of(numbers: Iterable[int]) -> bytes:
    """A bit for each number, as AdoptJob has them."""
    bits = bytearray()
    for number in numbers:
        bits.extend(bytes(max(0, number // 8 + 1 - len(bits))))
        bits[number // 8] |= 1 << number % 8
    return bytes(bits)
