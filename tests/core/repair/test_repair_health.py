"""How many blocks lack copies, against counting with all in view."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from repair_world import World, block, members

from map_reduce.core.identifiers import identifier_of
from map_reduce.core.messages import ArcEnds, GetArcs, No, identifier_bytes
from map_reduce.core.repair import health as module
from map_reduce.core.repair.health import answer_summaries, health
from map_reduce.core.repair.inventory import Inventory


def world_with(size: int, replicas: int, blocks: int, draw: random.Random) -> World:
    """Blocks with a random part of their copies, and some where they don't belong."""
    world = World(members(size), replicas)
    for number in range(blocks):
        ref = block(f"job/input/{number}")
        kind = draw.random()
        wanted = set(world.group(ref))
        if kind < 0.3:
            wanted = set(draw.sample(sorted(wanted), draw.randint(0, len(wanted))))
        if kind < 0.1:
            wanted |= {draw.choice(world.ring)}
        for member in wanted:
            world.held[member].add(ref)
    return world


def short_by_brute_force(world: World) -> int:
    return sum(bool(world.group(ref) - world.holders(ref)) for ref in world.everywhere())


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 40), st.randoms(use_true_random=False))
def test_every_block_that_lacks_a_copy_is_counted(size, replicas, blocks, draw):
    world = world_with(size, replicas, blocks, draw)
    found = world.perform(health(world.ring, replicas=replicas))
    assert found.short == short_by_brute_force(world)
    assert not found.problems
    assert all(arc.exact for arc in found.arcs)
    assert sum(arc.blocks for arc in found.arcs) == len(world.everywhere())
    assert sum(arc.size_bytes for arc in found.arcs) == sum(
        ref.size_bytes for ref in world.everywhere()
    )
    for arc in found.arcs:
        owned = [r for r in world.everywhere() if world.owner(identifier_of(r.name)) == arc.owner]
        assert arc.blocks == len(owned)


def test_a_ring_in_order_costs_one_request_for_each_member():
    world = world_with(8, 5, 0, random.Random(1))
    for number in range(500):
        ref = block(f"job/input/{number}")
        for member in world.group(ref):
            world.held[member].add(ref)
    found = world.perform(health(world.ring, replicas=5))
    assert found.short == 0
    assert world.asked == 8


def test_where_too_much_would_have_to_be_listed_the_numbers_tell(monkeypatch):
    monkeypatch.setattr(module, "LISTED_MAX", 10)
    world = world_with(6, 3, 60, random.Random(3))
    found = world.perform(health(world.ring, replicas=3))
    assert not all(arc.exact for arc in found.arcs)
    assert 0 < found.short <= short_by_brute_force(world)


def test_who_does_not_answer_holds_nothing_for_all_we_know():
    world = world_with(6, 3, 0, random.Random(1))
    ref = block("job/input/1")
    for member in world.group(ref):
        world.held[member].add(ref)
    world.dead = {next(iter(world.group(ref)))}
    found = world.perform(health(world.ring, replicas=3))
    assert found.short == 1
    assert len(found.problems) == 1


@pytest.mark.parametrize(
    "arcs", [(ArcEnds(b"short", bytes(20)),), (ArcEnds(bytes(20), bytes(20)),) * 257]
)
def test_questions_that_make_no_sense_are_refused(arcs):
    assert isinstance(answer_summaries(Inventory(), GetArcs(arcs)), No)


def test_no_members_no_health():
    world = World(members(1), 3)
    assert world.perform(health([], replicas=3)).arcs == ()
    assert identifier_bytes(world.ring[0].identifier) != b""
