"""Claims: the spread of keys over nodes, without and with virtual nodes (SIGCOMM 2001, section
6.2), and with power of d choices (Byers, Considine and Mitzenmacher, 2003)."""

from __future__ import annotations

import pytest

from map_reduce.simulation.figures.load import load


@pytest.fixture(scope="module")
def by_rule() -> dict[str, dict[str, float]]:
    table = load(400, [40_000], [1, 20], [1, 4], ring=1)
    return {
        str(row[0]): dict(zip(table.columns[3:], map(float, row[3:]), strict=True))
        for row in table.rows
    }


def test_hashing_alone_gives_the_fullest_many_times_its_share(
    by_rule: dict[str, dict[str, float]],
) -> None:
    alone = by_rule["hashing alone"]
    assert 3.8 < alone["p99"] < 5.5
    assert alone["p1"] < 0.05
    assert alone["max"] > 5


def test_virtual_nodes_even_it_out(by_rule: dict[str, dict[str, float]]) -> None:
    virtual = by_rule["20 virtual nodes"]
    assert virtual["p99"] == pytest.approx(1.6, abs=0.15)
    assert virtual["p1"] == pytest.approx(0.5, abs=0.12)


def test_four_names_do_more_for_the_fullest(by_rule: dict[str, dict[str, float]]) -> None:
    assert by_rule["least loaded of 1"]["max"] > 4
    assert by_rule["least loaded of 4"]["max"] < 1.3 < by_rule["20 virtual nodes"]["max"]
