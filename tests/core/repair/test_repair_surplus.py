"""No surplus copy is deleted below full replication, whatever members believe about the ring."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from repair_world import block, members

from map_reduce.core.identifiers import Identifier, distance, identifier_of
from map_reduce.core.messages import FindSuccessor, Route, WhichMissing
from map_reduce.core.repair.deletions import Deletions
from map_reduce.core.repair.inventory import Inventory
from map_reduce.core.repair.strays import answer_missing, plan_strays

REF = block("job/input/0")


class Stray:
    """A member that holds the block, and believes that others should."""

    def __init__(self, world, me, group):
        self.world, self.me, self.group = world, me, group
        self.inventory = Inventory([REF])
        self.deletions = Deletions(lambda: 0.0)
        self.surplus = set()
        self.reply = None
        self.plan = plan_strays(
            me, self.inventory, self.deletions, self.surplus, replicas=len(group)
        )

    def step(self):
        """Take the next step, and have its question answered at once; False after the last."""
        try:
            ask = self.plan.send(self.reply)
        except StopIteration as end:
            for ref in end.value.discards:
                self.inventory.set(ref.name, None)
            self.surplus.clear()
            return False
        peer = self.world[ask.address]
        match ask.message:
            case FindSuccessor():
                owns = peer.me == self.group[0]
                self.reply = Route(owns, self.group if owns else self.group[:1])
            case WhichMissing():
                self.reply = answer_missing(
                    peer.inventory, peer.deletions, peer.surplus, ask.message
                )
        return True


@st.composite
def beliefs(draw):
    """Members that all hold the block; what each believes its group to be; who does a step when."""
    everybody = members(draw(st.integers(3, 6)))
    replicas = draw(st.integers(1, 3))
    world = {}
    place = identifier_of(REF.name)
    for me in everybody:
        rest = draw(st.permutations([member for member in everybody if member != me]))[:replicas]
        group = sorted(rest, key=lambda m: distance(Identifier(place), m.identifier))
        world[me.address] = Stray(world, me, tuple(group))
    turns = draw(st.lists(st.sampled_from(everybody), max_size=60))
    return world, replicas, turns


@given(beliefs())
@settings(max_examples=300)
def test_as_many_copies_stay_as_a_full_group_has(drawn):
    world, replicas, turns = drawn
    full = min(replicas, len(world) - 1)
    at_work = dict.fromkeys(world.values())
    for member in turns:
        stray = world[member.address]
        if stray in at_work and not stray.step():
            del at_work[stray]
        assert sum(len(one.inventory) for one in world.values()) >= full
