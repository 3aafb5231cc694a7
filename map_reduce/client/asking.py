"""Finding somebody who can tell of a job: its master, or whoever watches over it.

Who waits for news of a job has its master hold the answer: the node that is asked first, if it was
the master when it last answered. All others are asked for what they know now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import msgspec

from map_reduce.core.chord.replication import replica_group
from map_reduce.core.identifiers import Address, Member, identifier_of
from map_reduce.core.messages import (
    Busy,
    CancelJob,
    Done,
    GetJob,
    JobStatus,
    NoJob,
    ReleaseJob,
)
from map_reduce.errors import ClusterError, JobLostError, Refused, Unreachable
from map_reduce.server.access import Access

BUSY_WAIT_S = 0.02
BUSY_TRIES_MAX = 100

ENDED = ("done", "failed", "cancelled")


class JobSource:
    """Asks for one job: first who told of it last, then the nodes at its place on the ring.

    Args:
        master: who is believed to be its master.
    """

    def __init__(self, access: Access, job_id: str, master: Member | None) -> None:
        self._access = access
        self._job_id = job_id
        self._best: Address | None = None if master is None else master.address
        self._best_is_master = master is not None
        self.asked_s = 0.0
        """When the request was sent that was answered last."""

    def status(
        self,
        first_part: int = 0,
        tally: bool = False,
        *,
        hold_s: float = 0.0,
        begun: bool = True,
    ) -> JobStatus:
        """What the master says, or else whoever knows most.

        Args:
            hold_s: how long the master may hold its answer until the job has ended or, where it is
                not known yet to have ``begun``, until then. It may answer earlier in any case.

        Raises:
            JobLostError: nodes answer, and none knows the job.
            ClusterError: nobody could be asked, or those that know it are busy finding out.
        """
        pause = threading.Event()  # never set: a sleep that Ctrl-C ends at once
        for _ in range(BUSY_TRIES_MAX):
            message = GetJob(self._job_id, first_part, tally, hold_s, begun)
            status = self._ask_round(message)
            if status is not None:
                return status
            pause.wait(BUSY_WAIT_S)
        raise Refused(f"job {self._job_id}: those who know it are reading its record")

    def _ask_round(self, message: GetJob) -> JobStatus | None:
        """None where those that know it are busy finding out."""
        found: JobStatus | None = None
        problems: list[str] = []
        answered = busy = False
        tried: set[Address] = set()
        waiting = self._candidates(tried)
        named: list[Address] = []
        while True:
            address = named.pop() if named else next(waiting, None)
            if address is None:
                break
            if address in tried:
                continue
            tried.add(address)
            try:
                reply = self._ask_one(address, message)
            except ClusterError as error:
                problems.append(str(error))
                continue
            answered = True
            busy = busy or isinstance(reply, Busy)
            if not isinstance(reply, JobStatus):
                continue
            is_master = reply.master is not None and reply.master.address == address
            if is_master or reply.progress.phase in ENDED:
                self._best, self._best_is_master = address, is_master
                return reply
            if found is None or reply.epoch > found.epoch:
                found = reply
            if reply.master is not None:
                named.append(reply.master.address)
        if found is not None:
            return found
        if busy:
            return None
        if answered:
            raise JobLostError(
                f"job {self._job_id} is not known to any node that should know it: its results "
                "were released, or kept for as long as they should be. Submit the job again"
            )
        raise Unreachable(f"job {self._job_id}: nobody answers; {'; '.join(problems)}")

    def _ask_one(self, address: Address, message: GetJob) -> JobStatus | Busy | NoJob:
        may_hold = self._best_is_master and address == self._best
        if not may_hold:
            message = msgspec.structs.replace(message, hold_s=0.0)
        self.asked_s = time.monotonic()
        try:
            return self._access.peers.request(address, message, JobStatus, Busy, NoJob)
        except ClusterError:
            if may_hold:
                self._best_is_master = False  # asked for a sign of life first, from now on
            raise

    def tell(self, message: CancelJob | ReleaseJob) -> bool:
        """Have somebody who knows the job see to it; False where nobody does.

        Raises:
            ClusterError: nobody answers.
        """
        problems = []
        answered = False
        tried: set[Address] = set()
        for address in self._candidates(tried):
            if address in tried:
                continue
            tried.add(address)
            try:
                reply = self._access.peers.request(address, message, Done, NoJob)
            except ClusterError as error:
                problems.append(str(error))
                continue
            answered = True
            if isinstance(reply, Done):
                return True
        if not answered:
            raise Unreachable(f"job {self._job_id}: nobody answers; {'; '.join(problems)}")
        return False

    def _candidates(self, tried: set[Address]) -> Iterator[Address]:
        """Whom to ask, best first. A lookup is made only where the first does not help."""
        if self._best is not None:
            yield self._best
        try:
            line = self._access.locate(identifier_of(self._job_id))
        except ClusterError:
            line = self._access.members()  # another way into the ring
            line = self._access.locate(identifier_of(self._job_id)) if line else ()
        for member in replica_group(line, self._access.cluster.replicas):
            yield member.address
