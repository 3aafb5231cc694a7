"""A quick slice of the simulator, and proof that its judge can fail."""

from __future__ import annotations

import subprocess
import sys

import pytest

from map_reduce.core.chord.member import RingMember
from map_reduce.simulation import mutants
from map_reduce.simulation.__main__ import main
from map_reduce.simulation.faults import draw_plan
from map_reduce.simulation.plan import Settings
from map_reduce.simulation.run import Outcome, carry_out
from map_reduce.simulation.shrinking import shrink

TRACES = {True: "90b5c4ce4f59e44373cc3f1044129976", False: "f3a26ed29d589bc835c207affd60d4ba"}
"""Of seed 7: equal on every version of Python."""

REGRESSIONS = [
    # A joiner used an answer from before a timeout.
    Settings(91, members=8, successors_max=4, faults=12, accurate=True),
    # Lookups gave a wrongly suspected member's keys to the next one.
    Settings(121, members=5, successors_max=2, faults=20),
    Settings(199, members=5, successors_max=2, faults=20),
    Settings(223, members=5, successors_max=2, faults=20),
    # The ring was ideal while a member still took its live successor for dead.
    Settings(20117, members=8),
    # Members that were dropped by mistake were remembered, asked, and not taken back.
    Settings(20163, members=12),
    # Clocks that drift: what a witness had heard long ago seemed to become younger.
    Settings(108, members=8),
    # Gossip of an earlier life was believed while the later one was just about to join.
    Settings(801128, members=12),
    # Two members and one that was still joining waited for its word on two deaths, and it for them.
    Settings(5000257, members=5, seconds=10, faults=5),
    # An earlier life was believed in again, when the later one had been forgotten.
    Settings(5004480, members=7, seconds=10, faults=5),
    Settings(5000655, members=9, seconds=10, faults=5),
    # The judge overlooked that a list on its way can bring back what its sender has replaced.
    Settings(5001407, members=7, seconds=10, faults=5, accurate=True),
    # A member that had the place of an earlier incarnation was counted as in every list.
    Settings(6, members=8, successors_max=4, faults=12, accurate=True),
    # So was, for as long as that member lived, one that a list skips to end at the earlier life.
    Settings(5043193, members=4, seconds=10, faults=5, accurate=True),
]


def run(settings: Settings, kind: type[RingMember] = RingMember) -> Outcome:
    return carry_out(settings, draw_plan(settings), kind=kind)


@pytest.mark.parametrize("settings", REGRESSIONS, ids=lambda s: f"seed {s.seed}")
def test_what_was_found_once_stays_right(settings: Settings) -> None:
    assert run(settings).violation is None


@pytest.mark.parametrize("accurate", [True, False])
@pytest.mark.parametrize("members", [3, 6, 9])
def test_a_slice_of_seeds_holds(members: int, accurate: bool) -> None:
    for seed in range(500, 504):
        settings = Settings(seed, members=members, seconds=40, faults=8, accurate=accurate)
        assert run(settings).violation is None, settings.flags()


@pytest.mark.parametrize("accurate", [True, False])
def test_one_seed_gives_one_trace_on_every_python(accurate: bool) -> None:
    settings = Settings(7, members=5, seconds=20, faults=6, accurate=accurate)
    assert run(settings).digest == run(settings).digest == TRACES[accurate]


def test_another_seed_gives_another_trace() -> None:
    assert len({run(Settings(seed, members=3, seconds=10)).digest for seed in range(4)}) == 4


def test_the_trace_does_not_depend_on_the_hashing_of_strings() -> None:
    flags = [
        "--seed",
        "7",
        "--members",
        "5",
        "--seconds",
        "20",
        "--faults",
        "6",
        "--keep",
        "0,1,2,3,4,5,6,7",
    ]
    command = [sys.executable, "-m", "map_reduce.simulation", *flags]
    told = {
        subprocess.run(
            command, env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, timeout=60
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (mutants.Untruncated, Settings(1, members=4, faults=0, seconds=10, accurate=True)),
        (mutants.BlindAdopter, Settings(1, members=5, faults=0, seconds=10, accurate=True)),
        (mutants.Hasty, Settings(5, members=6, faults=20, seconds=40, accurate=True)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_judge_sees_a_guard_missing(kind: type[RingMember], settings: Settings) -> None:
    assert run(settings).violation is None
    assert run(settings, kind).violation is not None


def test_a_failure_prints_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(RingMember, "_list_from", mutants.Untruncated._list_from)
    flags = ["--seed", "1", "--members", "4", "--seconds", "5", "--faults", "2", "--accurate"]
    assert main(flags) == 1
    told = capsys.readouterr().out
    again = next(line for line in told.splitlines() if "smaller:" in line)
    assert main(again.split("map_reduce.simulation ")[1].split()) == 1


def test_shrinking_keeps_what_is_needed() -> None:
    assert shrink(40, lambda kept: {3, 17, 31} <= set(kept)) == [3, 17, 31]
    assert shrink(5, lambda kept: True) == [4]


def test_a_ring_of_many_seeds_is_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "2", "--members", "3", "--seconds", "5", "--faults", "1"]) == 0
    assert "2 runs, 0 failed" in capsys.readouterr().out
