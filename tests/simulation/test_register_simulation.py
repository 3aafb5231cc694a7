"""Records under faults: seeds hold, seeds repeat, and a broken protocol is found out."""

import subprocess
import sys

import pytest

from map_reduce.simulation.registers.__main__ import main
from map_reduce.simulation.registers.mutants import MUTANTS
from map_reduce.simulation.registers.plan import draw_plan
from map_reduce.simulation.registers.run import carry_out

DIGEST = "b37d09d8ff5543bb3b5d56eb8a6a4b12"
"""Of seed 1, on every Python. A change of the protocol or of the simulator changes it."""

HARMLESS_ALONE = {"no-epoch-in-ballots"}
"""Why, stands in docs/records.md."""

SEEDS_MAX = 150
"""So many seeds must be enough to find a broken protocol."""


@pytest.mark.parametrize("seed", [11126, 12636])
def test_seeds_that_once_found_something_hold(seed, capsys):
    assert main(["--seed", str(seed)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_a_slice_of_seeds_holds(first, capsys):
    assert main(["--seed", str(first), "--seeds", "20"]) == 0, capsys.readouterr().out


def test_a_run_is_decided_by_its_seed_alone():
    outcome = carry_out(draw_plan(1))
    assert outcome.violation is None
    assert outcome.digest == DIGEST
    code = (
        "from map_reduce.simulation.registers.plan import draw_plan;"
        "from map_reduce.simulation.registers.run import carry_out;"
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


def test_other_seeds_are_other_runs():
    assert carry_out(draw_plan(2)).digest != DIGEST


@pytest.mark.parametrize("name", sorted(MUTANTS.keys() - HARMLESS_ALONE))
def test_a_protocol_without_one_of_its_rules_is_found_out(name):
    for seed in range(SEEDS_MAX):
        if carry_out(draw_plan(seed), mutant=MUTANTS[name]).violation:
            print(f"{name}: found after {seed + 1} seeds")
            return
    pytest.fail(f"{SEEDS_MAX} seeds did not show what is wrong with {name}")


def users_can_see(name, seeds):
    return any(
        carry_out(draw_plan(seed), mutant=MUTANTS[name], strict=False).violation for seed in seeds
    )


@pytest.mark.parametrize("name", ["new-majority-only", "current-successors", "blind-retry"])
def test_wrong_majorities_are_found_by_their_histories_alone(name):
    assert users_can_see(name, range(SEEDS_MAX))


def test_a_failure_prints_the_command_that_repeats_it(capsys):
    assert main(["--mutant", "current-successors", "--seed", "1"]) == 1
    printed = capsys.readouterr().out
    again, smaller = (
        next(line.split(word)[1] for line in printed.splitlines() if word in line).split()
        for word in ("again: ", "smaller: ")
    )
    assert again[:3] == ["python", "-m", "map_reduce.simulation.registers"]
    assert main(again[3:]) == 1
    assert main(smaller[3:]) == 1
    assert "***" in capsys.readouterr().out
