"""Digests of arcs, and comparing by them, against plain sets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from repair_world import World, block, members

from map_reduce.core.identifiers import RING_SIZE, Identifier, identifier_of, in_arc
from map_reduce.core.messages import ArcBlocks, ArcParts, BlockRef, CompareArc, Done, MissingBlocks
from map_reduce.core.procedure import perform
from map_reduce.core.repair.compare import LISTED_MAX, answer_comparison, difference
from map_reduce.core.repair.inventory import Arc, Inventory
from map_reduce.core.repair.strays import missing_at
from map_reduce.errors import ProtocolError, Refused

places = st.one_of(
    st.integers(0, RING_SIZE - 1),
    st.sampled_from([identifier_of(f"job/{number}") for number in range(30)]),
).map(Identifier)
arcs = st.builds(Arc, places, places)
refs = st.integers(0, 60).map(lambda number: block(f"job/{number}"))
holdings = st.sets(refs, max_size=40)
ME, PEER = members(2)


def within(held, arc):
    return {ref for ref in held if in_arc(arc.after, identifier_of(ref.name), arc.upto)}


@given(held=holdings, arc=arcs)
def test_an_inventory_counts_and_lists_as_a_plain_set_does(held, arc):
    inventory = Inventory(held)
    assert set(inventory.refs(arc)) == within(held, arc)
    assert inventory.count(arc) == len(within(held, arc))
    assert {ref for _, ref in inventory.clockwise(arc.after)} == held
    distances = [(place - arc.after - 1) % RING_SIZE for place, _ in inventory.clockwise(arc.after)]
    assert distances == sorted(distances)


@given(here=holdings, there=holdings, arc=arcs)
def test_digests_are_equal_exactly_where_the_blocks_are(here, there, arc):
    same = within(here, arc) == within(there, arc)
    assert (Inventory(here).digest(arc) == Inventory(there).digest(arc)) is same


@given(arc=arcs, count=st.integers(1, 300), place=places)
def test_parts_make_up_the_arc(arc, count, place):
    parts = arc.parts(count)
    assert parts[0].after == arc.after
    assert parts[-1].upto == arc.upto
    assert sum(part.size for part in parts) == arc.size
    assert sum(place in part for part in parts) == (place in arc)


@given(start=places, size=st.integers(1, 20), count=st.integers(1, 30))
def test_tiny_arcs_are_cut_into_single_places_at_most(start, size, count):
    arc = Arc(start, Identifier((start + size) % RING_SIZE))
    assert [part.size for part in arc.parts(count)].count(0) == 0
    assert len(arc.parts(count)) == min(size, count)


@given(st.lists(st.tuples(refs, st.booleans()), max_size=40), st.lists(refs, max_size=10))
def test_an_inventory_that_is_kept_equals_one_that_is_made(changes, first):
    held = {ref.name: ref for ref in first}
    inventory = Inventory(first)
    for ref, present in changes:
        held.pop(ref.name, None)
        if present:
            ref = block(ref.name, b"other")
            held[ref.name] = ref
        inventory.set(ref.name, held.get(ref.name))
    made = Inventory(held.values())
    assert inventory.refs(EVERYTHING) == made.refs(EVERYTHING)
    assert inventory.digest(EVERYTHING) == made.digest(EVERYTHING)
    assert len(inventory) == len(held)
    assert all(inventory.named(name) == ref for name, ref in held.items())
    inventory.set("job/map/0.0", block("job/map/0.0"))
    assert len(inventory) == len(held)


def test_map_outputs_take_no_part():
    assert len(Inventory([block("job/map/0.0"), block("job/mapper")])) == 1


class Pair:
    """Two inventories that are compared, and what it took."""

    def __init__(self, here, there):
        self.here, self.there, self.asked, self.listed = Inventory(here), Inventory(there), 0, 0

    def ask(self, ask):
        self.asked += 1
        reply = answer_comparison(self.there, ask.message)
        if isinstance(reply, ArcBlocks):
            self.listed += len(reply.refs)
        return reply

    def difference(self, arc):
        return perform(difference(PEER, arc, self.here), self.ask)


@given(here=holdings, there=holdings, arc=arcs)
def test_differences_are_those_of_the_sets(here, there, arc):
    found = Pair(here, there).difference(arc)
    assert set(found.only_here) == within(here, arc) - within(there, arc)
    assert set(found.only_there) == within(there, arc) - within(here, arc)


EVERYTHING = Arc(Identifier(0), Identifier(0))
MANY = [block(f"job/{number}") for number in range(5000)]


@given(
    gone_here=st.sets(st.integers(0, 4999), max_size=5),
    gone_there=st.sets(st.integers(0, 4999), max_size=5),
)
@settings(max_examples=20, deadline=None)
def test_a_few_differences_among_many_blocks_are_found_with_few_questions(gone_here, gone_there):
    pair = Pair(
        [ref for number, ref in enumerate(MANY) if number not in gone_here],
        [ref for number, ref in enumerate(MANY) if number not in gone_there],
    )
    found = pair.difference(EVERYTHING)
    assert set(found.only_here) == {MANY[n] for n in gone_there - gone_here}
    assert set(found.only_there) == {MANY[n] for n in gone_here - gone_there}
    differing = len(gone_here ^ gone_there)
    assert pair.asked <= 1 + differing
    assert pair.listed <= differing * LISTED_MAX


@pytest.mark.parametrize("swap", [False, True])
def test_against_nothing_all_is_found(swap):
    pair = Pair(*([], MANY) if swap else (MANY, []))
    found = pair.difference(EVERYTHING)
    assert set(found.only_there if swap else found.only_here) == set(MANY)
    assert pair.asked <= 1 + 4 * len(MANY) / LISTED_MAX


def test_one_name_with_two_contents_is_nobodys_to_choose():
    mine, theirs = block("job/x", b"mine"), block("job/x", b"theirs")
    both = block("job/y")
    found = Pair([mine, both], [theirs]).difference(EVERYTHING)
    assert found == ((both,), ())


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Done(), Refused),
        (ArcParts(()), ProtocolError),
        (ArcParts((b"a",)), ProtocolError),
        (ArcParts((b"a",) * 257), ProtocolError),
    ],
)
def test_answers_that_make_no_sense_are_errors(reply, error):
    with pytest.raises(error):
        perform(difference(PEER, EVERYTHING, Inventory(MANY[:3])), lambda ask: reply)


def test_a_peer_that_always_differs_is_given_up(monkeypatch):
    monkeypatch.setattr("map_reduce.core.repair.compare.ASKS_MAX", 50)
    with pytest.raises(ProtocolError, match="no end"):
        perform(difference(PEER, EVERYTHING, Inventory(MANY)), lambda ask: ArcParts((b"a",) * 2))


def test_blocks_that_do_not_belong_are_not_believed():
    arc = Arc(Identifier(0), Identifier(RING_SIZE // 2))
    inside = next(ref for ref in MANY if identifier_of(ref.name) in arc)
    outside = next(ref for ref in MANY if identifier_of(ref.name) not in arc)
    bad = [outside, BlockRef(inside.name, -1, inside.digest), BlockRef(inside.name, 1, b"")]
    reply = ArcBlocks((*bad, inside))
    assert perform(difference(PEER, arc, Inventory([])), lambda ask: reply).only_there == (inside,)


def test_an_identifier_of_another_length_is_refused():
    assert "20 bytes" in str(answer_comparison(Inventory([]), CompareArc(b"", b"", b"")))


@pytest.mark.parametrize(
    "reply",
    [
        MissingBlocks((3,), (), (), ()),
        MissingBlocks((), (-1,), (), ()),
        MissingBlocks((), (), (7,), ()),
        MissingBlocks((-1,), (), (), ()),
    ],
)
def test_a_member_cannot_lack_what_it_was_not_asked_for(reply):
    with pytest.raises(ProtocolError):
        perform(missing_at(PEER, MANY[:3]), lambda ask: reply)


def test_a_quiet_ring_costs_one_question_for_each_copy_and_few_for_strays():
    world = World(members(10), 5)
    world.held[world.ring[0]].update(MANY[:500])
    world.repair()
    world.asked = 0
    for member in world.ring:
        world.mend_arc(member)
    assert world.asked == 10 * 4
    world.asked = 0
    for member in world.ring:
        world.settle_strays(member)
    assert world.asked <= 10 * 5 * 3
