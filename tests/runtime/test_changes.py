"""Waiting threads are woken by what happens in their own process."""

from __future__ import annotations

import threading

from map_reduce.client.server_interface import ServerInterface
from map_reduce.runtime.changes import Changes
from map_reduce.server.access import Hearing

LONG_S = 60.0


class Event(threading.Event):
    """Notes how long it was waited for, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_s: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited_s.append(timeout)
        return self.is_set()


def test_a_change_between_asking_and_pausing_ends_the_pause() -> None:
    changes = Changes()
    with changes.hearing("a job") as event:
        hearing = Hearing(event, told=True)
        hearing.listen(LONG_S)
        changes.note("a job")
        hearing.pause(0.0, LONG_S)
        assert event.is_set()


def test_a_change_before_asking_does_not() -> None:
    event = Event()
    event.set()
    hearing = Hearing(event, told=True)
    hearing.listen(LONG_S)
    hearing.pause(0.0, LONG_S)
    assert not event.is_set()


def test_who_is_told_waits_longer_than_who_is_not() -> None:
    told, untold = Event(), Event()
    Hearing(told, told=True).pause(1.0, 2.0)
    Hearing(untold, told=False).pause(1.0, 2.0)
    assert (told.waited_s, untold.waited_s) == ([2.0], [1.0])


def test_nodes_hold_their_answers_where_nobody_here_tells() -> None:
    assert Hearing(Event(), told=True).listen(LONG_S) == 0.0
    assert Hearing(Event(), told=False).listen(LONG_S) == LONG_S
    assert Hearing(Event(), told=False).listen(-1.0) == 0.0


def test_who_waited_for_the_answer_for_as_long_as_it_might_take_asks_again_at_once() -> None:
    event = Event()
    hearing = Hearing(event, told=False)
    hearing.listen(1e-9)
    while not hearing.was_held:
        pass
    hearing.pause(1.0, 2.0)
    assert event.waited_s == []
    hearing.listen(LONG_S)  # and is answered earlier: the node has no room
    hearing.pause(1.0, 2.0)
    assert event.waited_s == [1.0]


def test_changes_of_other_names_wake_nobody_and_nothing_is_kept_of_who_has_gone() -> None:
    changes = Changes()
    with changes.hearing("a") as first, changes.hearing("b") as other, changes.hearing("a") as same:
        changes.note("a")
        heard = [event.is_set() for event in (first, other, same)]
    assert heard == [True, False, True]
    assert not changes._waiting


def test_the_end_of_a_job_is_told_in_the_process_of_its_node() -> None:
    with ServerInterface(slots=1, quiet=True) as server:
        job = server.startup(
            [1, 2], lambda key, value: [(0, value)], lambda key, values: sum(values)
        )
        with server._access.hearing(job.id) as hearing:
            if job.state != "done":
                assert hearing._event.wait(LONG_S)
        assert job.result(LONG_S) == {0: 3}
