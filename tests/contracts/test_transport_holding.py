"""The Transport port, where a node holds requests until there is news."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from transport_world import PATIENCE_S, World, ask

from map_reduce.core.messages import Done, GetCheck, GetJob, Message, No, Ping, Request
from map_reduce.errors import Unreachable
from map_reduce.runtime.changes import Changes
from map_reduce.runtime.holds import Holds, RequestHold
from map_reduce.transport import pyro_holding

LONG_S = 3600.0  # nobody waits for so long
BRIEF_S = 0.05
HELD = GetJob("a job", hold_s=LONG_S)


class Waiting:
    """A node whose one job has no news until :meth:`tell`."""

    def __init__(self, holds_max: int = 1000) -> None:
        self.changes = Changes()
        self.news = False
        self.holds = Holds(
            self.changes, lambda message: self.news, lambda name: self.news, holds_max=holds_max
        )
        self.held = threading.Semaphore(0)

    def answer(self, request: Request) -> Message:
        return No("news" if self.news else "none")

    def to_hold(self, request: Request) -> RequestHold | None:
        hold = self.holds.to_hold(request)
        if hold is not None:
            self.held.release()
        return hold

    def await_held(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.held.acquire(timeout=PATIENCE_S)

    def tell(self) -> None:
        self.news = True
        self.changes.note("a job")

    @property
    def open(self) -> int:
        return len(self.holds._open)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(100) as made:
        yield made


@pytest.mark.parametrize("body", [HELD, GetCheck("a job", LONG_S)], ids=["job", "check"])
def test_it_is_answered_when_there_is_news(
    world: World, threads: ThreadPoolExecutor, body: Message
) -> None:
    node = Waiting()
    _, address = world.node(node.answer, to_hold=node.to_hold)
    call = threads.submit(world.transport().call, address, ask(body), PATIENCE_S)
    node.await_held()
    assert not call.done()
    node.tell()
    assert call.result(PATIENCE_S) == No("news")
    assert node.open == 0


def test_it_is_answered_when_its_time_is_over(world: World) -> None:
    node = Waiting()
    _, address = world.node(node.answer, to_hold=node.to_hold)
    caller = world.transport()
    for _ in range(2):
        body = GetJob("a job", hold_s=BRIEF_S)
        assert caller.call(address, ask(body), PATIENCE_S) == No("none")
    node.await_held(2)
    assert node.open == 0


def test_what_is_held_keeps_no_other_request_waiting(
    world: World, threads: ThreadPoolExecutor
) -> None:
    """More than the transport in memory has threads."""
    node, count = Waiting(), 80
    _, address = world.node(node.answer, to_hold=node.to_hold)
    caller = world.transport()
    calls = [threads.submit(caller.call, address, ask(HELD), PATIENCE_S) for _ in range(count)]
    node.await_held(count)
    assert world.transport().call(address, ask(Ping()), PATIENCE_S) == No("none")
    node.tell()
    assert [call.result(PATIENCE_S) for call in calls] == [No("news")] * count


def test_a_node_that_stops_holding_answers_and_is_still_there(
    world: World, threads: ThreadPoolExecutor
) -> None:
    node = Waiting()
    _, address = world.node(node.answer, to_hold=node.to_hold)
    caller = world.transport()
    call = threads.submit(caller.call, address, ask(HELD), PATIENCE_S)
    node.await_held()
    node.holds.close()
    assert call.result(PATIENCE_S) == No("none")
    assert caller.call(address, ask(HELD), PATIENCE_S) == No("none")


@pytest.mark.parametrize(("closes", "sign_s"), [("node", LONG_S), ("caller", BRIEF_S)])
def test_closing_either_end_ends_it(
    world: World,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    closes: str,
    sign_s: float,
) -> None:
    """At once, or at the latest when the node next looks whether its caller is there."""
    monkeypatch.setattr(pyro_holding, "SIGN_OF_LIFE_S", sign_s)
    node = Waiting()
    answering, address = world.node(node.answer, to_hold=node.to_hold)
    caller = world.transport()
    call = threads.submit(caller.call, address, ask(HELD), PATIENCE_S)
    node.await_held()
    (answering if closes == "node" else caller).close()
    with pytest.raises(Unreachable):
        call.result(PATIENCE_S)
    await_that(lambda: node.open == 0)


def test_a_fault_in_deciding_costs_nothing_but_the_wait(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(request: Request) -> RequestHold | None:
        raise ValueError("a defect")

    _, address = world.node(lambda request: Done(), to_hold=faulty)
    assert world.transport().call(address, ask(HELD), PATIENCE_S) == Done()
    assert "a GetJob could not be held" in caplog.text


def await_that(holds: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if holds():
            return
        pause.wait(0.01)
    pytest.fail("it did not come about")
