"""Stories of the protocol, as text: read them, and review a change of them as a diff.

``MR_REWRITE_STORIES=1 python -m pytest tests/stories`` writes them anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from map_reduce.simulation.placing import in_ring_order
from map_reduce.simulation.plan import SECOND_US, Act, Kind, Plan, Settings
from map_reduce.simulation.run import perform_act
from map_reduce.simulation.trace import state_in_words
from map_reduce.simulation.world import World

HERE = Path(__file__).parent
REWRITE = bool(os.environ.get("MR_REWRITE_STORIES"))
A, B, C, D = range(4)


def s(seconds: float) -> int:
    return int(seconds * SECOND_US)


START = (Act(0, Kind.CREATE, (A,)), Act(s(1), Kind.JOIN, (C, A)))

STORIES = {
    "join.txt": ("c joins the ring of a.", START, 3),
    "join_during_stabilize.txt": (
        "b joins between a and c, and d after c, while the others stabilize.",
        (*START, Act(s(3), Kind.JOIN, (B, A)), Act(s(3.004), Kind.JOIN, (D, A))),
        5,
    ),
    "leave.txt": ("b leaves in order.", (*START, Act(s(3), Kind.LEAVE, (C,))), 5),
    "last_of_two.txt": (
        "c crashes, and a carries on alone.",
        (*START, Act(s(3), Kind.CRASH, (C,))),
        10,
    ),
    "split_and_merge.txt": (
        "a and c do not reach each other for forty seconds; each goes on alone, then they meet.",
        (*START, Act(s(3), Kind.SPLIT, (A,), s(40))),
        70,
    ),
}


def tell(name: str) -> str:
    about, acts, seconds = STORIES[name]
    world = World(Settings(seed=1, members=4), list(in_ring_order(4)), readable=True)
    plan = Plan(acts, s(seconds))
    for act in plan.acts:
        world.at(act.at_us, None, lambda act=act: perform_act(world, act))
    world.run_until(plan.quiet_from_us)
    ends = [state_in_words(process.ring) for process in world.processes()]
    lines = world.trace.lines or []
    lines = [line for line in lines if not re.search("Ping|Gossip|HeardOf", line)]
    lines = _without_repetitions(lines)
    return "\n".join(
        [
            about,
            "predecessor ← · → successors; pings and gossip are left out",
            "",
            *lines,
            "",
            *ends,
            "",
        ]
    )


def _without_repetitions(lines: list[str]) -> list[str]:
    """Leave out rounds that change nothing: what was told before in the same words."""
    told: set[str] = set()
    kept = []
    for line in lines:
        words = line.split("ms  ", 1)[1]
        if words.startswith((" ", "***")):
            told.clear()
        if words not in told:
            kept.append(line)
        told.add(words)
    return kept


@pytest.mark.parametrize("name", STORIES)
def test_the_story_is_as_written(name: str) -> None:
    path = HERE / name
    if REWRITE:
        path.write_text(tell(name), encoding="utf-8")
    assert tell(name) == path.read_text(encoding="utf-8"), "rewrite with MR_REWRITE_STORIES=1"
