from __future__ import annotations

import pytest

from map_reduce.core.chord.detector import Detector
from map_reduce.core.identifiers import Address, Member

PEER = Member(Address("peer", 1), 5)
LATER = Member(Address("peer", 1), 6)


class Times:
    """A detector, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.detector = Detector(lambda: self.now, dead_after_s=5.0)

    def pass_s(self, seconds: float) -> None:
        """In ticks of half a second, as in a process that runs."""
        for _ in range(int(seconds * 2)):
            self.now += 0.5
            self.detector.tick()


@pytest.fixture
def times() -> Times:
    return Times()


def test_one_failure_makes_a_suspect_and_no_dead(times: Times) -> None:
    times.detector.failed(PEER, refused=True)
    times.pass_s(60)
    assert times.detector.suspects(PEER)
    assert not times.detector.dead(PEER)


def test_three_refusals_over_five_seconds_make_a_dead(times: Times) -> None:
    times.detector.failed(PEER, refused=True)
    times.pass_s(2)
    times.detector.failed(PEER, refused=True)
    times.pass_s(2.5)
    times.detector.failed(PEER, refused=True)
    assert not times.detector.dead(PEER)
    times.pass_s(0.5)
    assert times.detector.dead(PEER)


def test_any_sign_of_life_ends_both_verdicts(times: Times) -> None:
    for _ in range(3):
        times.detector.failed(PEER, refused=True)
    times.pass_s(6)
    assert times.detector.dead(PEER)
    times.detector.heard(PEER)
    assert not times.detector.dead(PEER)
    assert not times.detector.suspects(PEER)


def test_a_failure_after_a_sign_of_life_counts_anew(times: Times) -> None:
    for _ in range(3):
        times.detector.failed(PEER, refused=True)
    times.pass_s(4)
    times.detector.heard(PEER)
    for _ in range(3):
        times.detector.failed(PEER, refused=True)
    times.pass_s(2)
    assert not times.detector.dead(PEER)


def test_a_later_incarnation_proves_the_earlier_dead_for_ever(times: Times) -> None:
    times.detector.heard(LATER)
    assert times.detector.dead(PEER)
    assert times.detector.ended(PEER)
    times.detector.heard(PEER)  # a late message of the earlier one
    assert times.detector.dead(PEER)
    assert not times.detector.dead(LATER)


def test_who_left_is_dead_for_ever_and_its_next_incarnation_is_not(times: Times) -> None:
    times.detector.left(PEER)
    times.detector.heard(PEER)
    assert times.detector.dead(PEER)
    assert times.detector.suspects(PEER)
    assert not times.detector.suspects(LATER)


def test_no_verdict_by_an_observer_that_was_paused(times: Times) -> None:
    for _ in range(3):
        times.detector.failed(PEER, refused=True)
    times.now += 30  # stopped, and continued
    assert not times.detector.dead(PEER), "before the first tick after the pause"
    times.detector.tick()
    for _ in range(3):
        times.detector.failed(PEER, refused=True)
        assert not times.detector.dead(PEER)
    times.pass_s(4.5)
    assert not times.detector.dead(PEER), "silence counts from the end of the pause"
    times.pass_s(1)
    assert times.detector.dead(PEER)


def test_verdicts_come_back_only_after_three_clean_ticks() -> None:
    now = [0.0]
    detector = Detector(lambda: now[0], dead_after_s=0.0)
    now[0] += 10
    detector.tick()  # notices the pause
    for _ in range(3):
        detector.failed(PEER, refused=True)
    for clean in range(3):
        assert not detector.dead(PEER), f"after {clean} clean ticks"
        now[0] += 0.5
        detector.tick()
    assert detector.dead(PEER)
