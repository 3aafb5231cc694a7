"""Claims about mass failure (SIGCOMM 2001, section 6.4; ToN 2003, section VI-D)."""

from __future__ import annotations

import pytest

from map_reduce.core.chord import lookup, state
from map_reduce.simulation.figures.failures import deviation, healing, lookups_after, lost_keys


def test_lookups_find_their_way_while_nobody_has_noticed_that_half_is_gone() -> None:
    table = lookups_after(300, 16, [0.0, 0.2, 0.5], 400, seed=1)
    assert table.column("failed") == [0, 0, 0]
    quiet, some, half = map(float, table.column("hops"))
    assert quiet < some < half < quiet + 2.5
    none, few, many = map(float, table.column("timeouts"))
    assert none == 0
    assert 0.5 < few < 2
    assert 3 < many < 7


def test_lists_of_four_do_not_carry_a_ring_through_it() -> None:
    (failed,) = lookups_after(300, 4, [0.5], 200, seed=1).column("failed")
    assert int(failed) > 20


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [(state, "CLOSEST_MAX", 4), (lookup, "SMALL_RING_MAX", 1 << 20)],
)
def test_naming_few_ways_on_or_taking_large_rings_for_small_does_not(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, value: int
) -> None:
    monkeypatch.setattr(state, "CLOSEST_MAX", 4)
    monkeypatch.setattr(module, name, value)
    (failed,) = lookups_after(300, 16, [0.5], 300, seed=1).column("failed")
    assert int(failed) > 3


def test_the_share_of_lost_keys_is_that_of_groups_which_died_whole() -> None:
    table = lost_keys(1200, 6000, [1, 3], [0.2, 0.5], seed=3)
    for members, replicas, share, lost, expected, *_ in table.rows:
        assert float(lost) > 0
        sure = 3 * deviation(int(members), float(share), int(replicas))
        assert float(lost) == pytest.approx(float(expected), abs=sure)


def test_the_deviation_is_that_of_rings_drawn_anew() -> None:
    lost = [float(lost_keys(200, 1000, [2], [0.5], seed).column("lost")[0]) for seed in range(30)]
    mean = sum(lost) / len(lost)
    spread = (sum((x - mean) ** 2 for x in lost) / (len(lost) - 1)) ** 0.5
    # Only who dies is drawn anew here, not the ring; its arcs' part of the variance is in both.
    assert spread == pytest.approx(deviation(200, 0.5, 2), rel=0.35)


def test_afterwards_the_ring_is_whole_again() -> None:
    table = healing(48, 16, [0.5], 60, seed=1)
    assert table.column("cut off") == [0]
    assert table.column("failed") == [0]
    assert 5 <= int(table.column("ideal after s")[0]) <= 40
