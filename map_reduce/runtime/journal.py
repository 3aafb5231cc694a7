"""A job's records, as its master writes them: the lease, the ledger, the end.

One master, one journal. What it writes carries its epoch; once another master has taken over,
everything it tries is refused by the records themselves, and it hears :class:`Fenced`. A call that
raises Unreachable or Undecided may be repeated as it is: what is written is the whole of a record's
payload, so that writing it twice is the same as writing it once.

A record that was never written stays with the members that it is born with, and is lost with a
majority of them: nobody looks after what is not there. So a job that takes longer than a moment
has all its shards written once at its beginning, a few at a time, long before there is anything
in them. From then on they move off nodes that are gone.
"""

from __future__ import annotations

import logging
import threading
from typing import NamedTuple

import msgspec

from map_reduce.core import names
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.jobs.state import (
    PARTS_BYTES_MAX,
    FinalWin,
    JobEnd,
    JobState,
    MapWin,
    Shard,
    Trouble,
    encode_parts,
    labels,
)
from map_reduce.core.messages import JobSpec, OutputPart
from map_reduce.core.registers.birth import Birth
from map_reduce.core.registers.lease import (
    Lease,
    ValueChange,
    fenced,
    owned,
    resigned,
    sealed,
    taken_over,
)
from map_reduce.core.scheduling.effects import Commit
from map_reduce.errors import ClusterError
from map_reduce.ports import Clock
from map_reduce.runtime.blocks import RingBlocks
from map_reduce.runtime.records import Records

log = logging.getLogger(__name__)

WITHIN_S = 2.0
"""For one call about a record; who can't reach its members in that time tries again later."""

RESIGN_WITHIN_S = 0.5
"""Who leaves is in a hurry, and perhaps all others leave as well."""

BEARING_AFTER_S = 0.5
"""A job that is done by then has its shards written only where there is something in them."""

BEARING_AGAIN_S = 5.0
"""After one could not be written."""

BORN_AT_A_TIME_MAX = 16
"""Shards; at two renewals a second, all of a job of 100,000 tasks are born within 15 s."""

PART_BYTES = 200
"""What an output part takes in a message besides its inline data, generously."""


class Fenced(ClusterError):
    """Another master has taken over; ``lease`` says who."""

    def __init__(self, job_id: str, lease: Lease) -> None:
        super().__init__(f"job {job_id} has another master: {lease.master}, epoch {lease.epoch}")
        self.lease = lease


class Written(NamedTuple):
    """What the ledger of a job says."""

    cuts: tuple[int, ...] | None
    maps: tuple[MapWin, ...]
    finals: tuple[FinalWin, ...]
    troubles: tuple[Trouble, ...]
    adds: bool


class Journal:
    """See the module's text. Safe to use from several threads: calls wait for one another."""

    def __init__(
        self,
        records: Records,
        blocks: RingBlocks,
        clock: Clock,
        birth: Birth,
        me: Member,
        lease_s: float,
    ) -> None:
        self.wrote_s = clock.now_s()  # when a record last took something
        self.epoch = 0
        self.state = JobState()
        self._records = records
        self._blocks = blocks
        self._clock = clock
        self._birth = birth
        self._me = me
        self._lease_s = lease_s
        self._lock = threading.Lock()
        self._bear_at_s = 0.0
        self._unborn: list[str] = []  # labels of shards that may have no value yet

    @property
    def job_id(self) -> str:
        return self._birth.name

    def claim(self, seen_epoch: int) -> JobState:
        """Become the master after the one of ``seen_epoch``; what the job's record says.

        Raises:
            Fenced: somebody else did.
            Unreachable: no majority of the record's members answers.
        """
        with self._lock:
            lease = self._change("", taken_over(seen_epoch, self._me, self._lease_s))
            if (lease.epoch, lease.master) != (seen_epoch + 1, self._me):
                raise Fenced(self.job_id, lease)
            self.epoch = lease.epoch
            self.state = JobState.decode(lease.payload)
            self._bear_at_s = self._clock.now_s() + BEARING_AFTER_S
            return self.state

    def expect(self, spec: JobSpec) -> None:
        """Have all shards that the job can come to have born, soon; see the module's text."""
        splits = len(spec.splits)
        counts = (splits, spec.partitions) if splits > 1 else (0, splits)
        with self._lock:
            self._unborn = list(reversed([*labels(*counts, spec.partitions)]))

    def read_ledger(self, spec: JobSpec) -> Written:
        """What the masters before have committed. They can't commit any more. Raises as claim."""
        cuts, adds = self.state.cuts, self.state.adds
        splits = len(spec.splits)
        map_tasks, final_tasks = (splits, len(cuts or ())) if splits > 1 else (0, splits)
        maps: list[MapWin] = []
        finals: list[FinalWin] = []
        troubles: list[Trouble] = []
        with self._lock:
            for label in labels(map_tasks, final_tasks, spec.partitions):
                lease = self._change(label, sealed(self.epoch, self._me))
                self._check(lease)
                shard = Shard.decode(lease.payload)
                maps += shard.maps
                finals += shard.finals
                troubles += shard.troubles
        return Written(cuts, tuple(maps), tuple(finals), tuple(troubles), adds)

    def write(self, batch: Commit) -> None:
        """Make a batch durable. Raises as claim; after Undecided it is to be repeated, too."""
        with self._lock:
            for label, shard in batch.shards:
                self._check(self._change(label, owned(self.epoch, self._me, shard.encode())))
            if batch.ending is None:
                self._bear()
            if batch.cuts is None and batch.ending is None and batch.adds:
                return
            state = self.state
            if batch.cuts is not None:
                state = msgspec.structs.replace(state, cuts=batch.cuts)
            if not batch.adds:
                state = msgspec.structs.replace(state, adds=False)
            if batch.ending is not None:
                state = JobState(None, self._listed(batch.ending))
            self._write_state(state)

    def renew(self) -> JobState:
        """Say that the master is alive; the record's state, where anybody may have left word."""
        with self._lock:
            self._write_state(self.state)
            self._bear()
            return self.state

    def resign(self) -> None:
        """Let another take over at once."""
        with self._lock:
            self._change("", resigned(self.epoch, self._me), RESIGN_WITHIN_S)

    def silent(self) -> tuple[Address, ...]:
        """Which members of the job's record don't answer now."""
        return self._records.silent(self._birth.record())

    def _bear(self) -> None:
        """Write some of the shards that have no value yet, if it is time for that.

        Where one cannot be written the job goes on: perhaps it is never needed.
        """
        if self._clock.now_s() < self._bear_at_s:
            return
        for label in self._unborn[: -BORN_AT_A_TIME_MAX - 1 : -1]:
            try:
                lease = self._change(label, sealed(self.epoch, self._me))
            except ClusterError as error:
                log.info("job %s: its record %s is not written yet: %s", self.job_id, label, error)
                self._bear_at_s = self._clock.now_s() + BEARING_AGAIN_S
                return
            self._check(lease)
            self._unborn.pop()

    def _write_state(self, state: JobState) -> None:
        def payload(found: bytes) -> bytes:
            cancel = JobState.decode(found).cancel
            return msgspec.structs.replace(state, cancel=cancel).encode()

        lease = self._change("", fenced(self.epoch, payload, self._lease_s))
        self._check(lease)
        self.state = JobState.decode(lease.payload)

    def _listed(self, ending: JobEnd) -> JobEnd:
        """With the parts in a block, where they are many."""
        if bytes_of(ending.parts) <= PARTS_BYTES_MAX:
            return ending
        name = names.result_parts(self.job_id, self.epoch)
        ref = self._blocks.put(name, encode_parts(ending.parts))
        return msgspec.structs.replace(ending, parts=(), parts_ref=ref)

    def _change(self, label: str, change: ValueChange, within_s: float = WITHIN_S) -> Lease:
        settled = self._records.change(self._birth.record(label), change, within_s=within_s)
        self.wrote_s = self._clock.now_s()
        return Lease.decode(settled.state.value)

    def _check(self, lease: Lease) -> None:
        if lease.epoch != self.epoch:
            raise Fenced(self.job_id, lease)


def bytes_of(parts: tuple[OutputPart, ...]) -> int:
    """About what they take in a message."""
    return sum(PART_BYTES + len(part.inline) for part in parts)
