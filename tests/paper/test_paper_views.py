"""Claim: where members know each other, a lookup asks the owner at once (NSDI 2004)."""

from __future__ import annotations

from map_reduce.simulation.figures.churn import Setup, lookups_during
from map_reduce.simulation.figures.views import views


def test_a_view_of_the_whole_ring_leaves_one_to_ask_and_costs_memory() -> None:
    table = views([40, 160], 100, 300, seed=1)
    assert table.column("at once")[0] == 1
    assert float(table.column("at once")[1]) < 1
    assert table.column("wrong") == [0, 0]
    small, large = map(float, table.column("KB"))
    assert 1.5 * small < large < 250  # with Python 3.13 the same objects take a tenth more
    assert table.column("fingers")[0] == 0


def test_it_is_nearly_so_while_members_come_and_go() -> None:
    setup = Setup(40, 8, interval_s=0.5, rate=0.1, seconds=30, lookups_per_s=20, view_max=1024)
    lookups = lookups_during(setup, seed=1)
    assert lookups.ended > 300
    assert lookups.at_once / lookups.ended > 0.96
    assert lookups.stale + lookups.failed <= 0.01 * lookups.ended
