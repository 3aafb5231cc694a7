"""Claim: a lookup asks ½ log2 N members on the way (SIGCOMM 2001, section 6.3)."""

from __future__ import annotations

from math import log2

import pytest

from map_reduce.core.chord.fingers import Fingers
from map_reduce.simulation.figures.paths import distribution, paths

TOLERANCE = 0.25


@pytest.mark.parametrize("members", [256])
def test_with_fingers_alone_it_is_half_of_the_logarithm(members: int) -> None:
    row = paths([members], [1], 1000, seed=1)
    assert row.column("mean")[0] == pytest.approx(log2(members) / 2, abs=TOLERANCE)
    assert row.column("wrong") == [0]


def test_a_list_of_sixteen_saves_two_members() -> None:
    table = paths([256], [1, 16], 800, seed=1)
    alone, listed = map(float, table.column("mean"))
    assert alone - listed == pytest.approx(log2(16) / 2, abs=TOLERANCE)


def test_without_fingers_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fingers, "members", lambda self: ())
    (mean,) = paths([128], [4], 100, seed=1).column("mean")
    assert float(mean) > log2(128) / 2 + 4


def test_the_lengths_are_spread_as_a_binomial() -> None:
    """Each of the log2 N fingers is on the way or not, with even odds."""
    table = distribution(128, [1], 1500, seed=1)
    shares = dict(zip(table.column("length"), map(float, table.column("share")), strict=True))
    assert sum(shares.values()) == pytest.approx(1)
    mean = sum(float(length) * share for length, share in shares.items())
    variance = sum((float(length) - mean) ** 2 * share for length, share in shares.items())
    assert variance == pytest.approx(log2(128) / 4, rel=0.3)
