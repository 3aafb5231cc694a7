"""The command that prints them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from map_reduce.core.procedure import perform
from map_reduce.simulation.figures.__main__ import main
from map_reduce.simulation.figures.counting import Cost, counted
from map_reduce.simulation.figures.paths import quantile
from map_reduce.simulation.figures.still import StillRing, key_of
from map_reduce.simulation.figures.table import Table
from map_reduce.simulation.settled import directly

COMMANDS = {
    "paths": "--members 8 16 --lookups 20",
    "lengths": "--members 16 --lists 2 --lookups 20",
    "load": "--members 10 --keys 100",
    "dead": "--members 20 --died 0.5 --lookups 20",
    "lost": "--members 20 --keys 50 --died 0.5",
    "healing": "--members 6 --died 0.2 --lookups 5",
    "churn": "--members 6 --seconds 10 --rates 0",
    "upkeep": "--members 4 --sessions 0 --seconds 1",
    "views": "--members 20 --lookups 20",
    "size": "--members 4 --seconds 1",
}


@pytest.mark.parametrize("claim", COMMANDS)
def test_each_claim_prints_its_table(
    claim: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "table.csv"
    assert main([claim, *COMMANDS[claim].split(), "--csv", str(file)]) == 0
    heads, *rows = file.read_text().splitlines()
    assert rows
    assert {line.count(",") for line in rows} == {heads.count(",")}
    assert len(capsys.readouterr().out.splitlines()) == len(rows) + 1


def test_one_seed_gives_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["churn", *["--members", "6", "--seconds", "20", "--rates", "0.1", "--seed", "4"]]
    told = []
    for _ in range(2):
        main(flags)
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]


def test_the_path_is_without_the_asker_and_the_owner() -> None:
    ring = StillRing(8, 7)
    start, owner = ring.circle.members[0], ring.circle.members[3]
    cost, right = ring.look_up(start, owner.identifier)
    assert (cost.answers, cost.path, right) == (1, 0, True)
    cost, _ = ring.look_up(start, start.identifier)
    assert cost == Cost(0, 0)
    del ring.rings[owner.address]
    cost, right = ring.look_up(start, owner.identifier)
    assert cost.timeouts == 1
    assert not right, "the circle still says that the dead one owns it"


def test_counting_changes_no_result() -> None:
    ring = StillRing(30, 4)
    for key in range(30):
        member = ring.rings[ring.circle.members[key].address]
        cost = Cost()
        found = perform(counted(member.lookup(key_of(key)), cost), directly(ring.rings))
        assert found == perform(member.lookup(key_of(key)), directly(ring.rings))
        assert cost.answers == ring.look_up(member.me, key_of(key))[0].answers


def test_quantiles() -> None:
    lengths = Counter({1: 50, 2: 49, 7: 1})
    assert [quantile(lengths, share) for share in (0.01, 0.5, 0.51, 0.99, 1.0)] == [1, 1, 2, 2, 7]


def test_a_row_that_does_not_fit_is_refused() -> None:
    with pytest.raises(AssertionError):
        Table(("a", "b")).add(1)
