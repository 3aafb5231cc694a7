"""A ring that was put up settled is what one becomes that joined and was left alone."""

from __future__ import annotations

import pytest

from map_reduce.core.chord.fingers import Fingers
from map_reduce.core.chord.invariants import flaws
from map_reduce.core.chord.view import MEMBERS_MAX
from map_reduce.core.identifiers import Address, Identifier
from map_reduce.simulation.faults import draw_plan
from map_reduce.simulation.plan import SECOND_US, Settings
from map_reduce.simulation.run import carry_out
from map_reduce.simulation.world import World

QUIET_S = 120


def world_of(members: int, successors_max: int, view_max: int) -> World:
    settings = Settings(3, members=members, successors_max=successors_max, view_max=view_max)
    return World(settings, [Address(f"n{number}", 1) for number in range(members)])


def joined(members: int, successors_max: int, view_max: int = MEMBERS_MAX) -> World:
    world = world_of(members, successors_max, view_max)
    world.start(0).create()
    for number in range(1, members):
        world.at(number * SECOND_US // 4, None, lambda n=number: world.start(n).join(SEEDS))  # type: ignore[misc]
    world.run_until((members // 4 + QUIET_S) * SECOND_US)
    return world


SEEDS = [Address("n0", 1)]


def settled(members: int, successors_max: int, view_max: int = MEMBERS_MAX) -> World:
    world = world_of(members, successors_max, view_max)
    world.settle(members)
    return world


def known(world: World) -> dict[str, tuple[object, ...]]:
    """What each member knows of its place, without the incarnations."""
    return {
        str(ring.me): (
            str(ring.predecessor),
            [str(member) for member in ring.successors],
            sorted(str(member) for member in ring.fingers.members()),
            [str(member) for member in ring._whole_ring],
            [str(member) for member in ring.acquaintances.view()],
            ring.standing,
            ring.settled,
        )
        for ring in (process.ring for process in world.processes())
    }


@pytest.mark.parametrize(
    ("members", "successors_max", "view_max"),
    [(1, 4, 9), (2, 4, 9), (4, 4, 9), (5, 4, 9), (40, 3, 60), (40, 3, 8)],
)
def test_it_is_what_joining_leads_to(members: int, successors_max: int, view_max: int) -> None:
    there = settled(members, successors_max, view_max)
    assert flaws(there.judge.ring(), successors_max) == []
    assert known(there) == known(joined(members, successors_max, view_max))


def test_left_alone_it_stays_as_it_is() -> None:
    world = settled(60, 4)
    before = known(world)
    world.run_until(20 * SECOND_US)
    assert known(world) == before


def test_without_a_finger_it_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    grown = known(joined(40, 3, 8))
    monkeypatch.setattr(Fingers, "found", lambda self, start, owner: self.skip(start))
    assert known(settled(40, 3, 8)) != grown


@pytest.mark.parametrize("accurate", [True, False])
def test_a_run_can_begin_with_it(accurate: bool) -> None:
    settings = Settings(5, members=40, placed=36, seconds=20, faults=10, accurate=accurate)
    assert carry_out(settings, draw_plan(settings)).violation is None


def test_the_owner_is_the_first_at_or_behind_a_place() -> None:
    circle = settled(9, 4).judge.circle()
    for i, member in enumerate(circle.members):
        assert circle.owner(member.identifier) == member
        behind = circle.owner(Identifier(member.identifier + 1))
        assert behind == circle.members[(i + 1) % 9]
    assert circle.from_place(7, 4) == (*circle.members[7:], *circle.members[:2])
    assert circle.from_place(3, 99) == (*circle.members[3:], *circle.members[:3])
