"""Blocks under faults: seeds hold, seeds repeat, and a broken block layer is found out."""

from __future__ import annotations

import subprocess
import sys

import pytest

from map_reduce.simulation.blocks.__main__ import main
from map_reduce.simulation.blocks.losses import REPAIR_S, blocks_lost, plan_deaths
from map_reduce.simulation.blocks.mutants import MUTANTS
from map_reduce.simulation.blocks.plan import draw_plan
from map_reduce.simulation.blocks.run import carry_out

DIGEST = "e6c298d2da970d3d8ceed4fec37c4f63"
"""Of seed 1, on every Python. A change of the protocol or of the simulator changes it."""

SEEDS_MAX = 100
"""So many seeds must be enough to find a broken block layer."""

RARE = {"mark-nothing", "take-after-hand-over"}
"""Mutants that 3,000 seeds did not show: their rules have tests of their own, named in
docs/blocks.md."""

LATE = {"leave-without-hand-over", "keep-unchecked"}
"""Found, but not within a few seeds."""


@pytest.mark.parametrize(
    "seed", [269, 10106, 10703, 100244, 101220, 102592, 103752, 104012, 200555]
)
def test_seeds_that_once_found_something_hold(seed, capsys):
    assert main(["--seed", str(seed)]) == 0, capsys.readouterr().out


def test_a_slice_of_seeds_holds(capsys):
    assert main(["--seeds", "25"]) == 0, capsys.readouterr().out


def test_a_run_is_decided_by_its_seed_alone():
    outcome = carry_out(draw_plan(1))
    assert outcome.violation is None
    assert outcome.digest == DIGEST
    code = (
        "from map_reduce.simulation.blocks.plan import draw_plan;"
        "from map_reduce.simulation.blocks.run import carry_out;"
        "print(carry_out(draw_plan(1)).digest)"
    )
    again = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert again.stdout.strip() == DIGEST


def test_watching_changes_nothing():
    assert carry_out(draw_plan(1), readable=True).digest == DIGEST


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in LATE else ())
        for name in sorted(MUTANTS.keys() - RARE)
    ],
)
def test_a_block_layer_without_one_of_its_rules_is_found_out(name):
    for seed in range(SEEDS_MAX):
        if carry_out(draw_plan(seed), mutant=MUTANTS[name]).violation:
            print(f"{name}: found after {seed + 1} seeds")
            return
    pytest.fail(f"{SEEDS_MAX} seeds did not show what is wrong with {name}")


@pytest.mark.parametrize("deaths", [[0, 1], [1, 2], [0, 2]])
def test_nothing_is_lost_with_two_of_three_keepers_at_the_same_instant(deaths):
    outcome = carry_out(plan_deaths(1, deaths, keepers=3))
    assert blocks_lost(outcome) == 0
    assert outcome.work["reads done"] == 12


@pytest.mark.parametrize("deaths", [[0, 1, 2, 3], [4, 3, 2, 1]])
def test_nothing_is_lost_with_four_of_five_one_after_the_other(deaths):
    outcome = carry_out(plan_deaths(2, deaths, apart_s=REPAIR_S))
    assert blocks_lost(outcome) == 0
    assert outcome.work["reads done"] == 12


def test_what_is_lost_with_all_who_have_it():
    assert blocks_lost(carry_out(plan_deaths(1, [0, 1, 2], keepers=3))) == 1
    assert blocks_lost(carry_out(plan_deaths(1, [0, 1, 2], keepers=3, data_folders=True))) == 0
    assert blocks_lost(carry_out(plan_deaths(1, [0, 1, 2, 3]))) == 0
    assert blocks_lost(carry_out(plan_deaths(1, [0, 1, 2, 3, 4]))) >= 1


def test_a_failure_prints_the_command_that_repeats_it(capsys):
    assert main(["--mutant", "acknowledge-one-copy", "--seed", "0"]) == 1
    printed = capsys.readouterr().out
    again, smaller = (
        next(line.split(word)[1] for line in printed.splitlines() if word in line).split()
        for word in ("again: ", "smaller: ")
    )
    assert again[:3] == ["python", "-m", "map_reduce.simulation.blocks"]
    assert main(again[3:]) == 1
    assert main(smaller[3:]) == 1
    assert "***" in capsys.readouterr().out
