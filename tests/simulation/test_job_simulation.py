"""Whole jobs in virtual time, and that their judge sees what is wrong."""

import pytest

from map_reduce.simulation.jobs.__main__ import main
from map_reduce.simulation.jobs.mutants import MUTANTS, mutated
from map_reduce.simulation.jobs.plan import draw_plan
from map_reduce.simulation.jobs.run import carry_out

FOUND_BY = {
    "reduce-before-the-ledger": 3,
    "tell-the-end-at-once": 0,
    "nobody-takes-over": 2,
    "outcomes-are-not-kept": 24,
    "nothing-is-adopted": 24,
    "a-takeover-forgets-the-bounds": 13,
    "a-takeover-forgets-not-to-add": 44,
    "only-the-first-of-a-batch-goes": 1,
}
"""A seed that finds each."""


def test_jobs_are_right_whoever_dies():
    outcomes = [carry_out(draw_plan(seed)) for seed in range(16)]
    assert [outcome.violation for outcome in outcomes] == [None] * 16
    assert sum(outcome.takeovers for outcome in outcomes) >= 3


def test_a_seed_decides_everything():
    assert carry_out(draw_plan(7)) == carry_out(draw_plan(7))
    assert draw_plan(7) != draw_plan(8)


@pytest.mark.parametrize("name", sorted(FOUND_BY))
def test_the_judge_finds_what_is_missing(name):
    with mutated(name):
        assert carry_out(draw_plan(FOUND_BY[name])).violation
    assert carry_out(draw_plan(FOUND_BY[name])).violation is None


def test_a_failure_names_the_command_that_repeats_it(capsys):
    name = "tell-the-end-at-once"
    assert main(["--seed", "0", "--mutant", name]) == 1
    told = capsys.readouterr().out
    assert f"python -m map_reduce.simulation.jobs --seed 0 --mutant {name} --trace" in told


def test_every_mutant_leaves_everything_as_it_was():
    before = {name: m.owner.__dict__[m.attribute] for name, m in MUTANTS.items()}
    for name in MUTANTS:
        with mutated(name):
            pass
    assert {name: m.owner.__dict__[m.attribute] for name, m in MUTANTS.items()} == before
