"""Verdicts that rest on what others say, and on the observer's own health."""

from __future__ import annotations

import pytest

from map_reduce.core.chord.detector import Detector
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Account

PEER, *OTHERS = (Member(Address("peer", port), 5) for port in range(1, 9))


class Times:
    """A detector of a ring of so many, and a clock that the test moves."""

    def __init__(self, members: int) -> None:
        self.now = 100.0
        others = (PEER, *OTHERS[: members - 2])
        self.detector = Detector(
            lambda: self.now, dead_after_s=5.0, silence_s=10.0, others=lambda: others
        )

    def silent(self, seconds: float, *, refused: bool = False) -> None:
        """Ticks of half a second, in each of which the peer does not answer."""
        for _ in range(int(seconds * 2)):
            self.detector.failed(PEER, refused=refused)
            self.now += 0.5
            self.detector.tick()

    def told(self, by: Member, *, ago_s: float | None = None, refused: bool = False) -> None:
        failing = ago_s is None
        self.detector.told(by, Account(PEER, ago_s, failing=failing, refused=refused, ended=False))


def test_in_a_ring_of_many_two_others_must_not_reach_it_either() -> None:
    times = Times(members=6)
    times.silent(30)
    assert not times.detector.dead(PEER)
    times.told(OTHERS[0])
    times.told(OTHERS[0])
    times.silent(30)
    assert not times.detector.dead(PEER), "one and the same is one"
    times.told(OTHERS[1])
    times.silent(0.5)
    assert times.detector.dead(PEER)


@pytest.mark.parametrize(("members", "needed"), [(2, 0), (3, 1), (4, 2), (5, 2)])
def test_small_rings_need_as_many_as_there_are(members: int, needed: int) -> None:
    times = Times(members)
    for other in OTHERS[:needed]:
        assert not times.detector.dead(PEER)
        times.silent(15)
        times.told(other)
    times.silent(15)
    assert times.detector.dead(PEER)


def test_who_is_in_no_ring_yet_is_not_waited_for() -> None:
    times = Times(members=4)
    times.told(OTHERS[0])
    times.silent(60)
    times.told(OTHERS[0])
    times.detector.abstains(OTHERS[1])
    times.silent(0.5)
    assert times.detector.dead(PEER), "the only one that could confirm it has done so"


def test_who_has_joined_meanwhile_is_waited_for_again() -> None:
    times = Times(members=4)
    times.detector.abstains(OTHERS[1])
    times.told(OTHERS[1], ago_s=0.1)
    times.silent(1)
    times.told(OTHERS[0])
    times.silent(60)
    assert not times.detector.dead(PEER)


def test_refused_connections_are_believed_sooner_than_silence() -> None:
    for refused, dead_after_s in ((True, 5.0), (False, 10.0)):
        times = Times(members=4)
        times.silent(1, refused=refused)
        for other in OTHERS[:2]:
            times.told(other, refused=refused)
        times.silent(dead_after_s - 1.5, refused=refused)
        assert not times.detector.dead(PEER)
        times.silent(1, refused=refused)
        assert times.detector.dead(PEER)


def test_refused_here_and_silent_there_is_silence() -> None:
    times = Times(members=4)
    times.silent(1, refused=True)
    times.told(OTHERS[0], refused=True)
    times.told(OTHERS[1], refused=False)
    times.silent(7, refused=True)
    assert not times.detector.dead(PEER)


def test_who_is_heard_by_others_lives_however_long_it_is_silent_here() -> None:
    times = Times(members=6)
    for _ in range(100):
        times.silent(1)
        times.told(OTHERS[0], ago_s=0.3)
        times.told(OTHERS[1])
        times.told(OTHERS[2])
        assert not times.detector.dead(PEER)
        assert times.detector.suspects(PEER), "and ways round it are taken"


def test_what_another_heard_before_the_silence_is_no_news() -> None:
    times = Times(members=6)
    times.silent(1)
    for other in OTHERS[:2]:
        times.told(other)
    times.silent(8)
    times.told(OTHERS[2], ago_s=9.5)
    times.silent(1.5)
    assert times.detector.dead(PEER)


def test_clocks_that_drift_apart_do_not_bring_back_the_dead() -> None:
    """The witness's clock is 4 % slow: what it heard long ago seems to have been a while later."""
    times = Times(members=6)
    for second in range(1, 200):
        times.silent(1)
        for other in OTHERS[:2]:
            ago_s = 0.96 * second
            account = Account(PEER, ago_s, failing=True, refused=False, ended=False)
            times.detector.told(other, account)
    assert times.detector.dead(PEER)


def test_a_confirmation_is_withdrawn_by_who_gave_it() -> None:
    times = Times(members=6)
    times.silent(1)
    for other in OTHERS[:2]:
        times.told(other)
    knows_nothing = Account(PEER, None, failing=False, refused=False, ended=False)
    times.detector.told(OTHERS[0], knows_nothing)
    times.silent(20)
    assert not times.detector.dead(PEER)


def test_who_can_ask_nobody_waits_six_times_as_long() -> None:
    times = Times(members=6)
    for other in OTHERS:
        times.detector.failed(other)
    times.silent(58)
    assert not times.detector.dead(PEER)
    times.silent(4)
    assert times.detector.dead(PEER)


def test_who_hears_of_nobody_is_isolated_until_somebody_is_heard() -> None:
    times = Times(members=6)
    times.detector.heard(PEER)
    times.silent(9)
    assert not times.detector.isolated()
    times.silent(1)
    assert times.detector.isolated()
    times.detector.heard(OTHERS[0])
    assert not times.detector.isolated()


def test_ill_health_takes_longer_and_passes() -> None:
    times = Times(members=2)
    times.detector.missed()
    times.detector.missed()
    times.detector.failed(PEER)
    assert times.detector.patience_s(PEER) == 30
    times.detector.tick()
    assert times.detector.patience_s(PEER) == 30, "the round in which it happened"
    times.detector.tick()
    assert times.detector.patience_s(PEER) == 20
    times.detector.tick()
    assert times.detector.patience_s(PEER) == 10


def test_patience_grows_with_the_ring() -> None:
    few, many = (
        Times(members=2),
        Detector(
            lambda: 0.0,
            dead_after_s=5,
            others=lambda: [Member(Address("many", port), 1) for port in range(199)],
        ),
    )
    few.detector.failed(PEER)
    many.failed(PEER)
    for other in OTHERS[:2]:
        many.told(other, Account(PEER, None, failing=True, refused=False, ended=False))
    assert few.detector.patience_s(PEER) == 10
    assert many.patience_s(PEER) == pytest.approx(23.0, abs=0.1)


def test_who_another_knows_to_have_ended_has() -> None:
    times = Times(members=4)
    times.detector.told(OTHERS[0], Account(PEER, 3.0, failing=False, refused=False, ended=True))
    assert times.detector.ended(PEER)
    assert not times.detector.ended(Member(PEER.address, PEER.incarnation + 1))


def test_a_refutation_gives_all_its_time_again() -> None:
    times = Times(members=2)
    times.silent(11)
    assert times.detector.dead(PEER)
    times.detector.refuted(PEER)
    assert not times.detector.dead(PEER)
    times.silent(9)
    assert not times.detector.dead(PEER)
    times.silent(2)
    assert times.detector.dead(PEER)


def test_an_account_tells_what_reached_oneself_only() -> None:
    times = Times(members=4)
    other = OTHERS[0]
    assert times.detector.account(other) == Account(other, None, False, False, False)
    times.detector.heard(other)
    times.now += 2
    times.detector.tick()
    assert times.detector.account(other) == Account(other, 2.0, False, False, False)
    times.told(PEER, ago_s=0.0)
    assert times.detector.account(PEER).ago_s is None, "hearsay is not passed on"
    times.detector.failed(other, refused=True)
    assert times.detector.account(other) == Account(other, 2.0, True, True, False)
