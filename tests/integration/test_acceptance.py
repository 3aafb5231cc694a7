"""A job that was accepted has its record written, whoever is lost while it is being submitted."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from memory_ring import MemoryRing

from map_reduce.client import acceptance
from map_reduce.client.handle import JobHandle
from map_reduce.client.inputs import read_inputs
from map_reduce.client.submission import submit
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import GetNode, Node
from map_reduce.core.messages.records import ListRecords, RecordLines, Replica
from map_reduce.core.registers.birth import Birth
from map_reduce.errors import ClusterError
from map_reduce.job import Job
from map_reduce.server.access import Access, Hearing

ITEMS = 40
WAIT_S = 30.0
CLEAN_S = 90.0  # a node that a busy machine let miss a job's end hears of it when it next repairs
LONG = "x" * 10_000  # so that the input is stored in blocks


def by_rest(index: int, item: str) -> list[tuple[int, int]]:
    return [(index % 3, len(item))]


def total(rest: int, lengths: list[int]) -> int:
    return sum(lengths)


EXPECTED = {rest: len(range(rest, ITEMS, 3)) * len(LONG) for rest in range(3)}


def await_that(holds: Callable[[], bool], what: str, within_s: float = WAIT_S) -> None:
    until_s = time.monotonic() + within_s
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < until_s, f"{what} did not come true"
        pause.wait(0.02)


def await_members(ring: MemoryRing) -> None:
    nodes = {node.address for node in ring.nodes}
    await_that(
        lambda: {member.address for member in ring.access.members()} == nodes, "a whole ring"
    )


@pytest.fixture
def ring() -> Iterator[MemoryRing]:
    made = MemoryRing(3)
    try:
        await_members(made)
        yield made
    finally:
        made.close()


def replace_others(ring: MemoryRing) -> None:
    """Two nodes join, and two of the first three leave, with the records that they hold."""
    ring.add()
    ring.add()
    await_members(ring)
    for node in [ring.nodes.pop(1), ring.nodes.pop(1)]:
        node.close()
    await_members(ring)


def masters() -> list[str]:
    """The threads of jobs' masters."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if re.fullmatch("map-reduce-master-[0-9a-f]{8}", name)]


def is_clean(ring: MemoryRing) -> bool:
    abouts = [ring.access.peers.request(node.address, GetNode(), Node) for node in ring.nodes]
    return not any(about.blocks or about.jobs or about.watched for about in abouts)


def test_a_majority_is_lost_while_the_input_is_stored(
    ring: MemoryRing, caplog: pytest.LogCaptureFixture
) -> None:
    def items() -> Iterator[str]:
        for number in range(ITEMS):
            if number == ITEMS // 2:
                replace_others(ring)
            yield LONG

    with caplog.at_level(logging.WARNING):
        submitted = submit(ring.access, Job(by_rest, total), read_inputs(items()), 2)
    assert "is submitted anew" in caplog.text
    job = JobHandle(ring.access, submitted, "", show_progress=False)
    assert job.result(WAIT_S) == EXPECTED
    await_that(lambda: is_clean(ring) and not masters(), "nothing left of either job", CLEAN_S)


def test_an_accepted_job_has_its_record(ring: MemoryRing) -> None:
    submitted = submit(ring.access, Job(by_rest, total), read_inputs([LONG] * ITEMS), 2)
    held = [
        line.name
        for node in ring.nodes
        for line in ring.access.peers.request(node.address, ListRecords(""), RecordLines).lines
    ]
    assert held.count(submitted.job_id) >= 2


def test_where_a_jobs_records_are_is_forgotten_with_it(ring: MemoryRing) -> None:
    submitted = submit(ring.access, Job(by_rest, total), read_inputs([LONG] * ITEMS), 2)
    job = JobHandle(ring.access, submitted, "", show_progress=False)
    assert job.result(WAIT_S) == EXPECTED
    await_that(lambda: is_clean(ring), "a job's end", CLEAN_S)
    await_that(
        lambda: not any(node.records._proposer._known for node in ring.nodes), "its oblivion"
    )


HERE = [Replica(Address("node", port), 1) for port in (1, 2, 3)]
CERTIFICATE = Birth(b"about", b"nonce", tuple(HERE))


def seen(
    answers: dict[Replica, Replica | None], listed: list[Replica], monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Whether a job is accepted that nobody begins, where the members of its record are so."""
    monkeypatch.setattr(acceptance, "_has_master", lambda source, hold_s: False)
    monkeypatch.setattr(acceptance, "_is_written", lambda access, record: False)
    monkeypatch.setattr(acceptance, "POLL_S", acceptance.POLL_S_MAX)
    monkeypatch.setattr(acceptance, "ACCEPT_S_MAX", 0.0)
    access = SimpleNamespace(
        records=SimpleNamespace(sights=lambda members: answers),
        members=lambda: tuple(Member(replica.address, 1) for replica in listed),
        hearing=lambda name: contextlib.nullcontext(Hearing(threading.Event(), told=False)),
    )
    return acceptance.await_acceptance(cast(Access, access), CERTIFICATE, None)


def test_members_that_lost_their_memory_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    anew = {replica: Replica(replica.address, 2) for replica in HERE[1:]}
    assert not seen({HERE[0]: HERE[0], **anew}, HERE, monkeypatch)


def test_silent_members_are_gone_when_they_have_left_the_ring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not seen({HERE[0]: HERE[0]}, HERE[:1], monkeypatch)


@pytest.mark.parametrize(
    "answers",
    [{HERE[0]: HERE[0]}, dict.fromkeys(HERE), {HERE[0]: Replica(HERE[0].address, 2)}],
    ids=["silent but in the ring", "about to leave", "one gone"],
)
def test_as_long_as_a_majority_may_come_the_job_is_waited_for_and_then_given_up(
    answers: dict[Replica, Replica | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ClusterError, match=r"not begun within .* node:1, node:2, node:3"):
        seen(answers, HERE, monkeypatch)
