"""Whatever the members hold, repair ends with every block on exactly its replica group."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from repair_world import World, block, members

from map_reduce.core.messages import EndedJob

few = settings(max_examples=40)
"""Each builds rings and repairs them many times over."""

sizes = st.integers(1, 12)
replicas = st.sampled_from([1, 2, 3, 5])
names = st.integers(0, 400).map(lambda number: f"job{number % 3}/input/{number}")
blocks = st.lists(names, max_size=40, unique=True)


@st.composite
def worlds(draw):
    """A ring with blocks anywhere, each somewhere."""
    world = World(members(draw(sizes)), draw(replicas))
    for name in draw(blocks):
        holders = st.lists(st.sampled_from(world.ring), min_size=1, unique=True)
        for member in draw(holders):
            world.held[member].add(block(name))
    return world


def is_right(world):
    return all(world.holders(ref) == world.group(ref) for ref in world.everywhere())


@few
@given(world=worlds(), data=st.data())
def test_any_blocks_on_any_ring_come_to_their_groups(world, data):
    before = world.everywhere()
    missing = world.missing()
    order = data.draw(st.permutations(world.ring))
    world.repair(order)
    assert world.everywhere() == before
    assert is_right(world)
    assert len(world.moved) == missing, "as much moves as is missing"
    assert all(count == world.replicas for count in world.shortest), "surplus goes last"


@few
@given(world=worlds(), data=st.data())
def test_nothing_is_lost_while_members_die_one_by_one(world, data):
    world.repair()
    before = world.everywhere()
    while len(world.ring) > 1 and world.replicas > 1:
        world.remove(data.draw(st.sampled_from(world.ring)))
        missing = world.missing()
        world.moved.clear()
        world.repair()
        assert world.everywhere() == before
        assert is_right(world)
        assert len(world.moved) == missing


@few
@given(world=worlds(), data=st.data())
def test_two_dead_at_once_lose_nothing_of_five_copies(world, data):
    world.replicas = 5
    world.repair()
    before = world.everywhere()
    for _ in range(min(2, len(world.ring) - 1)):
        world.remove(data.draw(st.sampled_from(world.ring)))
    world.repair()
    assert world.everywhere() == before
    assert is_right(world)


@few
@given(world=worlds(), data=st.data(), joining=st.integers(1, 6))
def test_joiners_get_what_they_own_even_many_at_once(world, data, joining):
    world.repair()
    before = world.everywhere()
    for member in members(20)[-joining:]:
        world.add(member)
    missing = world.missing()
    world.moved.clear()
    world.repair(data.draw(st.permutations(world.ring)))
    assert world.everywhere() == before
    assert is_right(world)
    assert len(world.moved) == missing


@few
@given(world=worlds(), data=st.data())
def test_after_a_leave_in_order_nothing_is_to_be_moved(world, data):
    world.repair()
    before = world.everywhere()
    while len(world.ring) > 1:
        world.leave(data.draw(st.sampled_from(world.ring)))
        assert world.everywhere() == before
        assert world.missing() == 0
        world.moved.clear()
        world.repair()
        assert world.moved == []


@few
@given(world=worlds(), data=st.data())
def test_what_was_deleted_does_not_come_back(world, data):
    world.repair()
    ended = EndedJob("job1", True)
    heard = data.draw(st.lists(st.sampled_from(world.ring), min_size=1, unique=True))
    for member in heard:
        world.end_job(member, ended)
    others = {ref for ref in world.everywhere() if not ref.name.startswith("job1/")}
    world.repair(data.draw(st.permutations(world.ring)))
    assert is_right(world)
    assert others <= world.everywhere()
    for ref in world.everywhere() - others:
        assert not world.group(ref) & set(heard), f"{ref.name} is back"


@few
@given(world=worlds(), data=st.data())
def test_blocks_of_a_job_that_only_ended_keep_what_is_not_for_running(world, data):
    results = [block("job1/result/0.0"), block("job1/spec")]
    world.held[world.ring[0]].update(results)
    world.repair()
    for member in world.ring:
        world.end_job(member, EndedJob("job1", False))
    late = block("job1/input/999")
    world.held[data.draw(st.sampled_from(world.ring))].add(late)
    world.repair()
    assert not world.holders(late)
    assert all(world.holders(ref) == world.group(ref) for ref in results)


@few
@given(world=worlds(), data=st.data())
def test_a_silent_member_delays_repair_and_costs_nothing(world, data):
    silent = data.draw(st.sampled_from(world.ring))
    before = world.everywhere()
    world.dead = {silent}
    for _ in range(3):
        for member in world.ring:
            if member != silent:
                world.mend_arc(member)
                world.settle_strays(member)
    assert world.everywhere() == before
    assert all(count == world.replicas for count in world.shortest)
    world.dead = set()
    world.repair()
    assert is_right(world)
    assert world.everywhere() == before
