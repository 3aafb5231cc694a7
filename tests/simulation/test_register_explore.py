"""Every order in which a few proposers and replicas can act."""

import pytest

from map_reduce.core.registers.proposer import Proposer
from map_reduce.simulation.registers.__main__ import main
from map_reduce.simulation.registers.explore import SCENARIOS, Explorer
from map_reduce.simulation.registers.mutants import MUTANTS


class OneIsEnough(Proposer):
    """Any replica counts as a majority."""

    def _is_quorum(self, agreeing, configs):
        return bool(agreeing)


@pytest.mark.parametrize(
    "name",
    [
        "one-of-three-replaced",
        "the-only-one-replaced",
        pytest.param("late-writes", marks=pytest.mark.slow),
    ],
)
def test_nothing_is_wrong_in_any_order(name):
    explored = Explorer(SCENARIOS[name]).explore(100)
    assert explored.whole
    assert explored.violation is None
    assert explored.states > 1000


def test_the_number_of_states_is_that_of_the_protocol_and_no_accident():
    first, again = (Explorer(SCENARIOS["two-writers"]).explore(5).new for _ in range(2))
    assert first == again
    assert first[:3] == [1, 8, 35]  # by hand: 6 requests and 2 ends of patience, and so on


def test_minorities_are_found_out():
    explored = Explorer(SCENARIOS["two-writers"], OneIsEnough).explore(12)
    assert "does not build on" in explored.violation or "both" in explored.violation


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_change_of_members_on_top_of_what_was_merely_seen_is_found_out():
    kind = MUTANTS["no-identity-write"].proposer
    scenario = SCENARIOS["the-only-one-replaced-in-two-goes"]
    explored = Explorer(scenario, kind).explore(23)
    assert "does not build on" in explored.violation
    assert Explorer(scenario).explore(len(explored.new)).violation is None


def test_the_command_says_what_it_has_seen(capsys):
    assert main(["--explore", "one-of-three-replaced"]) == 0
    assert "states, all that can happen; nothing wrong" in capsys.readouterr().out
    assert main(["--explore", "two-writers", "--depth", "5"]) == 0
    assert "all that can happen in 5 steps" in capsys.readouterr().out
