"""The rules of repair, one by one."""

from __future__ import annotations

from repair_world import World, block, members

from map_reduce.core.identifiers import identifier_of
from map_reduce.core.messages import EndedJob, MissingBlocks, WhichMissing
from map_reduce.core.procedure import perform
from map_reduce.core.repair.arc import plan_arc
from map_reduce.core.repair.deletions import KEPT_S, Deletions
from map_reduce.core.repair.inventory import Arc, Inventory
from map_reduce.core.repair.strays import answer_missing, plan_leave, plan_strays

BLOCKS = [block(f"job/input/{number}") for number in range(30)]


def stray_plan(world, member):
    inventory, deletions = world.inventory(member), world.deletions[member]
    surplus = world.surplus[member]
    plan = plan_strays(member, inventory, deletions, surplus, replicas=world.replicas)
    return world.perform(plan)


def test_a_surplus_copy_stays_while_one_of_the_group_lacks_it_or_is_silent():
    world = World(members(8), 5)
    world.held[world.ring[0]].update(BLOCKS)
    world.repair()
    ref = BLOCKS[0]
    group = sorted(world.group(ref), key=world.ring.index)
    stray = next(member for member in world.ring if member not in group)
    world.held[stray].add(ref)

    def discards():
        return stray_plan(world, stray).discards

    assert discards() == (ref,)
    world.held[group[3]].discard(ref)
    assert discards() == ()
    world.held[group[3]].add(ref)
    world.dead = {group[2]}
    assert discards() == ()


def test_a_surplus_copy_stays_while_the_owner_does_not_know_its_whole_group():
    world = World(members(8), 5)
    world.held[world.ring[0]].update(BLOCKS)
    world.repair()
    ref = BLOCKS[0]
    stray = next(member for member in world.ring if member not in world.group(ref))
    world.held[stray].add(ref)
    for member in world.ring:
        world.short_lists[member] = 3
    assert not stray_plan(world, stray).discards


def test_who_leaves_sends_the_blocks_with_the_fewest_copies_first():
    world = World(members(8), 3)
    world.held[world.ring[0]].update(BLOCKS)
    world.repair()
    leaver = world.ring[0]
    rare = sorted(world.held[leaver], key=lambda ref: ref.name)[:3]
    for ref in rare:
        for member in world.holders(ref) - {leaver}:
            world.held[member].discard(ref)
    plan = world.perform(plan_leave(leaver, world.inventory(leaver), replicas=3))
    first = {send.ref for send in plan.sends[: 3 * len(rare)]}
    assert first == set(rare)


def test_the_owner_offers_nobody_what_he_has_or_what_was_deleted():
    world = World(members(4), 5)
    owner, second, third, _ = world.ring
    arc = Arc(world.predecessor(owner).identifier, owner.identifier)

    def of_arc(job):
        names = map((job + "/input/{}").format, range(200))
        return [block(name) for name in names if identifier_of(name) in arc]

    mine, theirs, *_ = of_arc("job")
    gone, *_ = of_arc("gone")
    world.held[owner].add(mine)
    world.held[second].update([mine, theirs])
    world.held[third].add(theirs)
    inventory = Inventory([mine, gone])
    deletions = Deletions(lambda: 0.0)
    deletions.note(EndedJob("gone", True))
    plan = world.perform(
        plan_arc(
            owner, world.predecessor(owner), world.behind(owner), inventory, deletions, replicas=5
        )
    )
    assert plan.fetches == ((theirs, (second, third)),)
    sends = {(ref, peer) for ref, peer in plan.sends}
    fourth = world.ring[3]
    assert sends == {(mine, third), (mine, fourth), (theirs, fourth)}


def test_a_stray_is_offered_to_its_owner_alone():
    world = World(members(8), 3)
    ref = BLOCKS[0]
    stray = next(member for member in world.ring if member not in world.group(ref))
    world.held[stray].add(ref)
    owner = world.owner(identifier_of(ref.name))
    assert stray_plan(world, stray).sends == ((ref, owner),)
    world.held[owner].add(ref)
    plan = stray_plan(world, stray)
    assert plan.sends == plan.discards == ()
    assert "1 blocks are kept" in plan.problems[0]


def test_nobody_lacks_what_was_deleted_there():
    deletions = Deletions(lambda: 0.0)
    deletions.note(EndedJob("gone", True))
    here, gone, lacking = block("a/spec"), block("gone/spec"), block("b/spec")
    other, marked = block("a/spec", b"another put"), block("a/result/0.0")
    question = WhichMissing((here, gone, lacking, other, marked))
    reply = answer_missing(Inventory([here, marked]), deletions, {marked.name}, question)
    assert reply == MissingBlocks((2,), (3,), (4,), (EndedJob("gone", True),))


def test_a_copy_with_other_bytes_is_no_copy():
    world = World(members(8), 5)
    ref, other = block("job/input/0"), block("job/input/0", b"another put")
    for member in world.group(ref):
        world.held[member].add(ref)
    stray = next(member for member in world.ring if member not in world.group(ref))
    world.held[stray].add(other)
    plan = stray_plan(world, stray)
    assert plan.discards == plan.sends == ()


def test_a_deletion_is_remembered_for_a_day():
    now = [0.0]
    deletions = Deletions(lambda: now[0])
    assert deletions.note(EndedJob("a", False))
    assert not deletions.note(EndedJob("a", False))
    assert deletions.of("a/input/3") == EndedJob("a", False)
    assert deletions.of("a/spec") is None
    assert deletions.note(EndedJob("a", True))
    assert not deletions.note(EndedJob("a", False))
    assert deletions.of("a/spec") == EndedJob("a", True)
    assert deletions.of("ab/spec") is None
    now[0] = KEPT_S
    assert deletions.of("a/spec")
    now[0] = KEPT_S + 1
    assert deletions.of("a/spec") is None
    assert deletions.among([block("a/spec")]) == ()


def test_only_so_many_deletions_are_remembered():
    deletions = Deletions(lambda: 0.0, jobs_max=3)
    for number in range(5):
        deletions.note(EndedJob(f"j{number}", True))
    remembered = [number for number in range(5) if deletions.of(f"j{number}/spec")]
    assert remembered == [2, 3, 4]


def test_a_ring_of_one_has_nothing_to_do_and_asks_nobody_else():
    world = World(members(1), 5)
    world.held[world.ring[0]].update(BLOCKS)
    assert world.repair() == 0
    assert (
        perform(
            plan_leave(world.ring[0], world.inventory(world.ring[0]), replicas=5), world.ask
        ).sends
        == ()
    )
