"""The detector and the view under faults: what they are worth, and each guard missing."""

from __future__ import annotations

import pytest

from map_reduce.core.chord.member import RingMember
from map_reduce.simulation import mutants
from map_reduce.simulation.membership.__main__ import main
from map_reduce.simulation.membership.healing import (
    bootstrap,
    closing,
    partition,
    wrongly_suspected,
)
from map_reduce.simulation.membership.suspicion import (
    PlainMember,
    draw_faults,
    false_deaths,
    suspicion,
)
from map_reduce.simulation.membership.view import one_hop
from map_reduce.simulation.plan import SECOND_US, Act, Kind, Plan, Settings
from map_reduce.simulation.run import carry_out

S = SECOND_US
ONE_WAY = (Act(5 * S, Kind.DEAFEN, (0, 1), 60 * S), Act(5 * S, Kind.DEAFEN, (1, 0), 60 * S))


def test_pauses_below_ten_seconds_deaf_links_and_storms_kill_nobody() -> None:
    acts = draw_faults(12, 100, 3, (1.0, 10.0))
    assert sum(act.kind is Kind.PAUSE for act in acts) >= 6
    assert false_deaths(12, 100, 3, acts, RingMember) == []
    assert false_deaths(12, 100, 3, acts, PlainMember) != []


def test_a_link_that_carries_nothing_kills_nobody_but_without_witnesses() -> None:
    assert false_deaths(6, 60, 1, ONE_WAY, RingMember) == []
    assert false_deaths(6, 60, 1, ONE_WAY, mutants.Unconfirmed) != []


START = (Act(0, Kind.SETTLE, (5,)),)
PAUSED_WATCHER = (
    *START,
    Act(10 * S, Kind.CRASH, (1,)),
    *(Act(11_500_000, Kind.PAUSE, (node,), 9 * S) for node in (0, 2, 3, 4)),
)
"""Everybody is stopped when they have seen a death for a second, and goes on."""

STOPPED = (*START, Act(5 * S, Kind.PAUSE, (2,), 45 * S))

CALLED_DEAD_JUST_NOW = (*START, Act(5 * S, Kind.PAUSE, (2,), 23_500_000))
"""It goes on while the news of its death still goes round."""


@pytest.mark.parametrize(
    ("kind", "acts", "told"),
    [
        (mutants.Graceless, PAUSED_WATCHER, "F1"),
        (mutants.Unrefuted, STOPPED, "misses"),
        (mutants.Forgetful, CALLED_DEAD_JUST_NOW, "F2"),
        (mutants.Taciturn, STOPPED, "misses"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_judge_sees_a_guard_of_the_detector_or_the_view_missing(
    kind: type[RingMember], acts: tuple[Act, ...], told: str
) -> None:
    settings = Settings(2, members=6, quiet_s_max=60, successors_max=2)
    joiner = Act(52 * S, Kind.JOIN, (5, 0))
    plan = Plan((*acts, joiner), 60 * S)
    assert carry_out(settings, plan).violation is None
    violation = carry_out(settings, plan, kind=kind).violation
    assert violation is not None
    assert told in violation


def test_fewer_false_deaths_than_plain_swim() -> None:
    table = suspicion(12, 80, 1)
    plain, ours = map(int, table.column("false deaths"))
    assert ours == 0 < plain


def test_most_lookups_take_one_hop_while_members_come_and_go() -> None:
    (share,) = one_hop(40, [0.5], 10, 1).column("share")
    assert float(share) > 0.95
    (blind,) = one_hop(40, [0.5], 10, 1, view_max=2).column("share")
    assert float(blind) < 0.9, "without the view they take more"


def test_wrong_verdicts_are_undone() -> None:
    table = wrongly_suspected(20, 0.2, 40, 1, seed=1)
    assert table.column("called dead") == [4]
    assert float(table.column("ideal after s")[0]) < 10


def test_two_halves_become_one_ring() -> None:
    table = partition(12, 1.5, 1, seed=1)
    assert table.column("rings meanwhile") == [2]
    assert float(table.column("ideal after s")[0]) < 120


def test_a_ring_whose_first_member_dies_early_is_whole_or_refuses() -> None:
    table = bootstrap(8, [1, 20, 3000], seed=1)
    counts = (table.column(name) for name in ("serve", "cut off", "refused"))
    for *numbers, outcome in zip(*counts, table.column("outcome"), strict=True):
        assert sum(map(int, numbers)) == 7
        assert outcome in ("ideal", "nobody serves")


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["one-hop", "--members", "6", "--seconds", "5", "--changes", "0"]) == 0
    assert "in one hop" in capsys.readouterr().out


def test_a_kill_is_closed_over_soon_and_a_silence_later() -> None:
    ((_, killed_s, _, vanished_s, _),) = closing([5], 2, seed=1).rows
    assert 5 <= float(killed_s) < 10
    assert 20 <= float(vanished_s) < 30
