"""What a node remembers of the jobs that it works for, and what it says to their masters.

Theory of operation
===================

An attempt is *here* from the master's order until the master has taken the report of its end::

    taken ─▶ runs ─▶ ended, to be reported ─▶ reported ─▶ kept for another master
                          ▲                                   │
                          └── adopted: not in the ledger ─────┘

- **One master at a time**, the one of the highest epoch that was heard of. Whoever comes with a
  lower one is refused.
- **Adoption.** A new master says what its ledger has. What runs here goes on and is reported to it;
  what has ended and is not in the ledger is reported again. The answer names both, since the new
  master waits for reports of nothing else.
- **A report counts for the master that took it.** If another has taken over while the report was
  under way, the answer of the one before says nothing: the report is made again.
- **Silence.** A master that does not answer, or does not know the job, is borne with: the node asks
  those who watch over the job. Only a job of which nobody has known anything for long is given up.
- **The end** is told by whoever knows it from the record, never concluded from silence.

Not thread-safe: its owner holds one lock around each call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from map_reduce.core import names
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.jobs.kept import KeptOutcomes
from map_reduce.core.messages import (
    AdoptJob,
    Answer,
    AttemptEnded,
    AttemptId,
    Busy,
    Done,
    JobAdopted,
    JobOver,
    JobStatus,
    MapOutput,
    Message,
    No,
    Outcome,
    ReduceOutput,
    StartAttempt,
    StopAttempt,
)

INQUIRE_S = 2.0
"""Silence of a master after which, and intervals at which, others are asked who is master now."""


class _Service(msgspec.Struct):
    """A job that this node works for."""

    epoch: int
    master: Address
    heard_s: float  # when the master last answered, or somebody knew of the job
    inquired_s: float


class Services:
    """See the module's text. Attributes are for reading.

    Args:
        now_s: monotonic seconds.
        attempts_max: attempts taken at a time; more are answered with Busy.
        give_up_s: how long nobody may know anything of a job.
        is_over: whether a job is known to have ended.
        holds: whether a map output of that name is here.
    """

    def __init__(
        self,
        *,
        now_s: Callable[[], float],
        attempts_max: int,
        give_up_s: float,
        is_over: Callable[[str], bool],
        holds: Callable[[str], bool],
    ) -> None:
        self.orders: dict[AttemptId, StartAttempt] = {}
        self.unreported: dict[AttemptId, Outcome] = {}
        self._jobs: dict[str, _Service] = {}
        self._kept = KeptOutcomes()
        self._now_s = now_s
        self._attempts_max = attempts_max
        self._give_up_s = give_up_s
        self._is_over = is_over
        self._holds = holds

    # ------------------------------------------------------------------ what masters say

    def take(self, order: StartAttempt) -> tuple[Answer, bool]:
        """The answer to an order, and whether the attempt is to be begun now."""
        refusal = self._serve(order.attempt.job_id, order.epoch, order.master)
        if refusal is not None:
            return refusal, False
        if order.attempt in self.orders or order.attempt in self._kept:
            return Done(), False  # the order has come twice
        if len(self.orders) >= self._attempts_max and self._has_its_share(order):
            return Busy(), False
        self.orders[order.attempt] = order
        return Done(), True

    def _has_its_share(self, order: StartAttempt) -> bool:
        """Whether its job has as many attempts here as others, so that it is not kept waiting."""
        jobs = Counter(attempt.job_id for attempt in self.orders)
        job_id = order.attempt.job_id
        share = self._attempts_max // len(jobs.keys() | {job_id})
        return jobs[job_id] >= share or len(self.orders) >= 2 * self._attempts_max

    def _serve(self, job_id: str, epoch: int, master: Address) -> No | None:
        """Work for this master from now on, unless there is a later one."""
        if self._is_over(job_id):
            return No(f"job {job_id} has ended")
        now_s = self._now_s()
        service = self._jobs.setdefault(job_id, _Service(epoch, master, now_s, now_s))
        if epoch < service.epoch:
            return No(
                f"{service.master} has taken over job {job_id} with the newer epoch "
                f"{service.epoch}; yours is {epoch}"
            )
        service.epoch, service.master = epoch, master
        service.heard_s = service.inquired_s = now_s
        return None

    def adopt(self, message: AdoptJob) -> tuple[Message, list[StartAttempt]]:
        """The answer to a new master, and attempts whose ends are to be reported again."""
        refusal = self._serve(message.job_id, message.epoch, message.master)
        if refusal is not None:
            return refusal, []
        here = [attempt for attempt in self.orders if attempt.job_id == message.job_id]
        again = []
        for order, outcome in self._kept.take(message.job_id):
            attempt = order.attempt
            mapped = attempt.phase == "map"
            done = message.committed_maps if mapped else message.committed_finals
            of_use = message.adds or not (isinstance(outcome, MapOutput) and outcome.added)
            if of_use and not _has_bit(done, attempt.task) and self._is_there(outcome):
                self.orders[attempt] = order
                self.unreported[attempt] = outcome
                again.append(order)
        lost = []
        for key in message.outputs:
            attempt = AttemptId(message.job_id, "map", key.task, key.number, key.epoch)
            if not self._holds(names.map_output(attempt)):
                lost.append(key.task)
        named = (*here, *(order.attempt for order in again))
        return JobAdopted(named, tuple(lost)), again

    def _is_there(self, outcome: Outcome) -> bool:
        """Whether what the outcome tells of can be had; failures are not worth telling twice."""
        if isinstance(outcome, MapOutput):
            return self._holds(outcome.name)
        return isinstance(outcome, ReduceOutput)

    def stop(self, message: StopAttempt) -> No | None:
        """None: the attempt is not here any more, and is to be ended."""
        service = self._jobs.get(message.attempt.job_id)
        if service is not None and message.epoch < service.epoch:
            return No(f"{service.master} has taken over job {message.attempt.job_id}")
        self.orders.pop(message.attempt, None)
        self.unreported.pop(message.attempt, None)
        return None

    def end_job(self, job_id: str) -> None:
        """Forget the job."""
        for attempt in [attempt for attempt in self.orders if attempt.job_id == job_id]:
            del self.orders[attempt]
            self.unreported.pop(attempt, None)
        self._jobs.pop(job_id, None)
        self._kept.forget(job_id)

    # ------------------------------------------------------------------ what masters are told

    def wants(self, order: StartAttempt) -> bool:
        """Whether anybody still waits for this attempt."""
        return self.orders.get(order.attempt) is order

    def ended(self, order: StartAttempt, outcome: Outcome) -> None:
        """The attempt has ended, and what it made is kept."""
        if self.wants(order):
            self.unreported[order.attempt] = outcome

    def report(self, order: StartAttempt, me: Member) -> tuple[Address, AttemptEnded] | None:
        """Whom to tell of the attempt's end, and what; None where nobody is to be told."""
        service = self._jobs.get(order.attempt.job_id)
        outcome = self.unreported.get(order.attempt)
        if service is None or outcome is None or not self.wants(order):
            return None
        return service.master, AttemptEnded(order.attempt, service.epoch, me, outcome)

    def master_of(self, order: StartAttempt) -> Address | None:
        """Whom the attempt's end will be told."""
        service = self._jobs.get(order.attempt.job_id)
        return None if service is None else service.master

    def reported(self, order: StartAttempt, message: AttemptEnded) -> bool:
        """A master has taken this report; False where another has taken over meanwhile."""
        service = self._jobs.get(order.attempt.job_id)
        if service is None or not self.wants(order):
            return True
        if service.epoch != message.epoch:
            return False
        del self.orders[order.attempt]
        self.unreported.pop(order.attempt, None)
        self._kept.keep(order, message.outcome)
        return True

    def masters(self) -> dict[str, Address]:
        """The master of each job that this node works for, with attempts or not."""
        return {job_id: service.master for job_id, service in self._jobs.items()}

    # ------------------------------------------------------------------ silence

    def heard_of(self, job_id: str) -> None:
        """The master has answered."""
        if (service := self._jobs.get(job_id)) is not None:
            service.heard_s = service.inquired_s = self._now_s()

    def inquires(self, job_id: str) -> bool:
        """The master does not see to the job: whether to ask now who does."""
        service = self._jobs.get(job_id)
        if service is None or self._now_s() - service.inquired_s < INQUIRE_S:
            return False
        service.inquired_s = self._now_s()
        return True

    def learnt(self, job_id: str, known: JobStatus | JobOver | None) -> bool:
        """What those who watch over the job say; whether it is over, or to be given up."""
        service = self._jobs.get(job_id)
        if service is None or isinstance(known, JobOver):
            return service is not None
        if known is None:
            return self._now_s() - service.heard_s >= self._give_up_s
        service.heard_s = self._now_s()
        if known.master is not None and known.epoch > service.epoch:
            service.epoch, service.master = known.epoch, known.master.address
        return False


def _has_bit(bits: bytes, number: int) -> bool:
    byte = number // 8
    return byte < len(bits) and bool(bits[byte] >> number % 8 & 1)
