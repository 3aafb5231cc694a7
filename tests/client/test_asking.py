"""Who is asked about a job, and who is let hold the answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from map_reduce.client.asking import JobSource
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import GetJob, JobStatus, Message, NoJob, Progress
from map_reduce.errors import JobLostError, Unreachable
from map_reduce.server.access import Access

MASTER, OTHER, THIRD = (Member(Address("node", port), 1) for port in (1, 2, 3))
LINE = (MASTER, OTHER, THIRD)
HOLD_S = 9.0


class Ring:
    """Three nodes of which each says who the master is, and what they were asked."""

    def __init__(self) -> None:
        self.says: dict[Address, Member | None] = {node.address: MASTER for node in LINE}
        self.silent: set[Address] = set()
        self.asked: list[tuple[Address, float]] = []
        self.phase = "map"

    def source(self, master: Member | None) -> JobSource:
        access = SimpleNamespace(
            peers=SimpleNamespace(request=self._request),
            locate=lambda place: LINE,
            cluster=SimpleNamespace(replicas=3),
        )
        return JobSource(cast(Access, access), "a job", master)

    def _request(self, address: Address, message: GetJob, *kinds: type[Message]) -> Message:
        self.asked.append((address, message.hold_s))
        if address in self.silent:
            raise Unreachable(f"{address} is silent")
        master = self.says[address]
        if master is None:
            return NoJob("a job")
        return JobStatus("a job", "", Progress(self.phase), (), 0, None, master, epoch=1)

    def ask(self, source: JobSource) -> list[tuple[Address, float]]:
        self.asked.clear()
        source.status(hold_s=HOLD_S)
        return self.asked


def test_who_is_believed_to_be_the_master_may_hold_its_answer_and_is_asked_alone() -> None:
    ring = Ring()
    source = ring.source(MASTER)
    for _ in range(2):
        assert ring.ask(source) == [(MASTER.address, HOLD_S)]


def test_without_a_belief_the_master_is_found_first() -> None:
    ring = Ring()
    source = ring.source(None)
    assert ring.ask(source) == [(MASTER.address, 0.0)]
    assert ring.ask(source) == [(MASTER.address, HOLD_S)]


def test_a_master_that_fell_silent_is_not_let_hold_anything_until_it_has_answered() -> None:
    ring = Ring()
    source = ring.source(MASTER)
    ring.silent = {MASTER.address}
    others = [(OTHER.address, 0.0), (THIRD.address, 0.0)]
    assert ring.ask(source) == [(MASTER.address, HOLD_S), *others]
    assert ring.ask(source) == [(MASTER.address, 0.0), *others]
    ring.silent.clear()
    assert ring.ask(source) == [(MASTER.address, 0.0)]
    assert ring.ask(source) == [(MASTER.address, HOLD_S)]


def test_another_master_is_asked_as_soon_as_it_is_named() -> None:
    ring = Ring()
    source = ring.source(MASTER)
    ring.says = dict.fromkeys(ring.says, THIRD)
    assert ring.ask(source) == [(MASTER.address, HOLD_S), (THIRD.address, 0.0)]
    assert ring.ask(source) == [(THIRD.address, HOLD_S)]


def test_who_tells_of_an_ended_job_is_no_master_and_holds_nothing() -> None:
    ring = Ring()
    ring.says[OTHER.address] = MASTER
    ring.silent = {MASTER.address}
    ring.phase = "done"
    source = ring.source(None)
    assert ring.ask(source) == [(MASTER.address, 0.0), (OTHER.address, 0.0)]
    assert ring.ask(source) == [(OTHER.address, 0.0)]


def test_a_job_that_nobody_knows_is_lost_at_once() -> None:
    ring = Ring()
    ring.says = dict.fromkeys(ring.says)
    with pytest.raises(JobLostError):
        ring.ask(ring.source(MASTER))
    assert [hold_s for _, hold_s in ring.asked] == [HOLD_S, 0.0, 0.0]
