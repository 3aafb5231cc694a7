"""Claims about lookups and costs while members come and go (SIGCOMM 2001, section 6.5)."""

from __future__ import annotations

import pytest

from map_reduce.simulation.figures.churn import Setup, churn
from map_reduce.simulation.figures.upkeep import upkeep


def test_lookups_hold_while_members_come_and_go() -> None:
    quiet = Setup(60, 8, interval_s=10, rate=0.0, seconds=120, lookups_per_s=3)
    busy = Setup(60, 8, interval_s=10, rate=0.05, seconds=300, lookups_per_s=3)
    table = churn([quiet, busy], seed=1)
    lookups = list(map(int, table.column("lookups")))
    assert lookups[0] == pytest.approx(288, rel=0.2)
    assert table.column("failed without retries")[0] == table.column("timeouts")[0] == 0
    assert table.column("stale")[0] == table.column("failed")[0] == 0
    without, timeouts, stale, failed = (
        float(table.column(name)[1])
        for name in ("failed without retries", "timeouts", "stale", "failed")
    )
    assert 0.02 < without < 0.5
    assert timeouts > 0.02
    assert stale + failed < without / 2


def test_maintenance_costs_the_same_in_each_ring_that_lists_go_round() -> None:
    table = upkeep([12, 16, 96], [0], 16, seconds=4, seed=1)
    small, full, large = map(float, table.column("messages each s"))
    assert small == pytest.approx(full, rel=0.1)
    assert large > 1.2 * full
    assert table.column("fingers")[:2] == [0, 0]
    assert 1 < float(table.column("fingers")[2]) < 5
