"""What a node holds, how much of it, and what ends it."""

from __future__ import annotations

import resource

import pytest

from map_reduce.core.messages import HOLD_S_MAX, GetCheck, GetJob, Message, Ping, Request
from map_reduce.runtime.changes import Changes
from map_reduce.runtime.holds import DESCRIPTORS_EACH, HOLDS_MAX, Holds, RequestHold, holds_max


class Board:
    """What there is news of."""

    def __init__(self, holds_max: int = 3) -> None:
        self.changes = Changes()
        self.news: set[str] = set()
        self.holds = Holds(
            self.changes,
            lambda message: message.job_id in self.news,
            self.news.__contains__,
            holds_max=holds_max,
        )
        self.woken: list[str] = []

    def hold(self, body: Message) -> RequestHold | None:
        return self.holds.to_hold(Request("", None, body))

    def held(self, name: str, hold_s: float = 1.0) -> RequestHold:
        hold = self.hold(GetJob(name, hold_s=hold_s))
        assert hold is not None
        hold.wake_by(lambda: self.woken.append(name))
        return hold

    def is_empty(self) -> bool:
        return not self.holds._open and not self.changes._waiting


@pytest.mark.parametrize("body", [GetJob("a"), GetCheck("a"), Ping()], ids=repr)
def test_who_does_not_want_to_be_held_is_not(body: Message) -> None:
    board = Board()
    assert board.hold(body) is None
    assert board.is_empty()


@pytest.mark.parametrize("body", [GetJob("a", hold_s=1.0), GetCheck("a", 1.0)], ids=repr)
def test_what_there_is_news_of_already_is_answered_at_once(body: Message) -> None:
    board = Board()
    board.news.add("a")
    assert board.hold(body) is None
    assert board.is_empty()


def test_a_change_wakes_whom_it_is_about_and_once() -> None:
    board = Board()
    holds = [board.held(name) for name in ("a", "b", "a")]
    board.changes.note("a")
    board.changes.note("a")
    assert board.woken == ["a", "a"]
    for hold in holds:
        hold.end()
        hold.end()
    board.changes.note("b")
    assert board.woken == ["a", "a"]
    assert board.is_empty()


def test_a_change_before_anybody_waits_is_not_missed() -> None:
    board = Board()
    hold = board.hold(GetCheck("a", 1.0))
    assert hold is not None
    board.changes.note("a")
    hold.wake_by(lambda: board.woken.append("at once"))
    assert board.woken == ["at once"]


def test_a_change_while_it_is_looked_for_is_not_missed() -> None:
    board = Board()

    def look(message: GetJob) -> bool:
        board.changes.note(message.job_id)  # after the look, before the wait
        return False

    hold = Holds(board.changes, look, bool, holds_max=1).to_hold(
        Request("", None, GetJob("a", hold_s=1.0))
    )
    assert hold is not None
    hold.wake_by(lambda: board.woken.append("at once"))
    assert board.woken == ["at once"]


def test_beyond_the_bound_nobody_is_held_until_there_is_room() -> None:
    board = Board(holds_max=2)
    first, _ = board.held("a"), board.held("b")
    assert board.hold(GetJob("c", hold_s=1.0)) is None
    assert board.hold(GetCheck("c", 1.0)) is None
    first.end()
    board.held("c")


def test_no_request_is_held_for_longer_than_the_bound() -> None:
    assert Board().held("a", hold_s=10 * HOLD_S_MAX).hold_s == HOLD_S_MAX


def test_who_closes_answers_everybody_and_holds_nobody() -> None:
    board = Board()
    holds = [board.held("a"), board.held("b")]
    board.holds.close()
    assert sorted(board.woken) == ["a", "b"]
    assert board.hold(GetJob("c", hold_s=1.0)) is None
    for hold in holds:
        hold.end()
    assert board.is_empty()


def test_a_fault_in_looking_leaves_nothing() -> None:
    board = Board()

    def faulty(message: GetJob) -> bool:
        raise ValueError("a defect")

    holds = Holds(board.changes, faulty, bool, holds_max=1)
    with pytest.raises(ValueError, match="a defect"):
        holds.to_hold(Request("", None, GetJob("a", hold_s=1.0)))
    assert not holds._open
    assert board.is_empty()


@pytest.mark.parametrize(
    ("descriptors", "holds"),
    [
        (256, 256 // DESCRIPTORS_EACH),
        (1 << 20, HOLDS_MAX),
        (resource.RLIM_INFINITY, HOLDS_MAX),
    ],
)
def test_most_descriptors_are_left_for_other_things(
    descriptors: int, holds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (descriptors, descriptors))
    assert holds_max() == holds
