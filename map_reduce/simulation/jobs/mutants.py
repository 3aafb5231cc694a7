"""The code with one rule taken out, to see that the judge finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from map_reduce.core import outbox
from map_reduce.core.jobs import kept, service, watch
from map_reduce.core.messages import AttemptId
from map_reduce.core.registers import lease
from map_reduce.core.scheduling import commits, restoring, scheduler
from map_reduce.core.scheduling.effects import Fail, Finish
from map_reduce.simulation.jobs import master


class Mutant(NamedTuple):
    """``new`` takes the place of an attribute."""

    owner: Any
    attribute: str
    new: Any


def _reported(self: Any, order: Any, message: Any) -> bool:
    if self.wants(order):
        del self.orders[order.attempt]
        self.unreported.pop(order.attempt, None)
        self._kept.keep(order, message.outcome)
    return True


def _told_at_once(plain: Callable[..., None]) -> Callable[..., None]:
    def end(self: Any, phase: Any, parts: Any = (), failure: Any = None) -> None:
        plain(self, phase, parts, failure)
        self._effects.append(Finish(parts) if failure is None else Fail(failure))

    return end


def _boundless(plain: Callable[..., None]) -> Callable[..., None]:
    def restore(ledger: Any, *others: Any) -> None:
        plain(ledger, *others)
        ledger.bounds = b""

    return restore


def _adding_again(plain: Callable[..., None]) -> Callable[..., None]:
    def restore(*given: Any) -> None:
        *others, event = given
        plain(*others, msgspec.structs.replace(event, adds=True))

    return restore


def _unfenced(epoch: int, payload: Callable[[bytes], bytes], until_s: Any = None) -> Any:
    def change(value: bytes | None) -> bytes:
        found = lease.Lease.decode(value)
        return lease.Lease(epoch, found.master, 0.0, payload(found.payload)).encode()

    return change


def _unsealed(epoch: int, me: Any) -> Any:
    def change(value: bytes | None) -> bytes:
        return lease.Lease(epoch, me, 0.0, b"").encode()

    return change


def _first_only(plain: Callable[..., Any]) -> Callable[..., Any]:
    def take(self: Any) -> Any:
        batch = plain(self)
        return batch and outbox.Batch(batch.peer, batch.items[:1])

    return take


MUTANTS: dict[str, Mutant] = {
    "reduce-before-the-ledger": Mutant(
        commits.Commits, "maps_written", property(lambda self: True)
    ),
    "tell-the-end-at-once": Mutant(
        scheduler.JobScheduler, "_end", _told_at_once(scheduler.JobScheduler._end)
    ),
    "nobody-takes-over": Mutant(watch.JobWatch, "step", lambda self, now_s, rank: watch.Step.REST),
    "outcomes-are-not-kept": Mutant(kept.KeptOutcomes, "keep", lambda self, order, outcome: None),
    "nothing-is-adopted": Mutant(scheduler, "adopt", lambda *args: ()),
    "any-master-may-take-a-report": Mutant(service.Services, "reported", _reported),
    "the-ledger-is-not-read": Mutant(master, "sealed", _unsealed),
    "a-takeover-forgets-the-bounds": Mutant(scheduler, "restore", _boundless(restoring.restore)),
    "a-takeover-forgets-not-to-add": Mutant(scheduler, "restore", _adding_again(restoring.restore)),
    "only-the-first-of-a-batch-goes": Mutant(
        outbox.Outbox, "take", _first_only(outbox.Outbox.take)
    ),
    "old-masters-write": Mutant(master, "fenced", _unfenced),
    "attempts-of-no-epoch": Mutant(
        scheduler,
        "AttemptId",
        lambda job_id, phase, task, number, epoch: AttemptId(job_id, phase, task, number),
    ),
}


@contextmanager
def mutated(name: str | None) -> Iterator[None]:
    """With that rule taken out; with None, as it is."""
    if name is None:
        yield
        return
    owner, attribute, new = MUTANTS[name]
    plain = owner.__dict__[attribute]
    setattr(owner, attribute, new)
    try:
        yield
    finally:
        setattr(owner, attribute, plain)
