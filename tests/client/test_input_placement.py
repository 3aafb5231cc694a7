"""A client places the blocks of its input where there is least."""

from __future__ import annotations

from types import SimpleNamespace

from map_reduce import ServerInterface
from map_reduce.client.submission import _Submission
from map_reduce.core.chord.placement import Placement
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import BlockRef
from map_reduce.core.messages.records import Replica
from map_reduce.job import Job

MEMBERS = [Member(Address("node", port), 1) for port in range(1, 9)]


def owners(loads, count):
    """Who owns the blocks that a submission puts."""
    put = []
    blocks = SimpleNamespace(put=lambda name, data: put.append(name) or BlockRef(name, 0, b""))
    record = SimpleNamespace(choose_odd_members=lambda line: (Replica(MEMBERS[0].address, 1),))
    access = SimpleNamespace(blocks=blocks, records=record, last_members=MEMBERS)
    submission = _Submission(access, Job(len, len), 2, loads)
    for _ in range(count):
        submission._put_input(b"a" * 100)
    assert len(set(put)) == count
    return [Placement(MEMBERS).owner(name) for name in put]


def test_blocks_are_spread_evenly():
    placed = owners(dict.fromkeys(MEMBERS, 0.0), 400)
    assert max(map(placed.count, MEMBERS)) < 1.6 * 400 / len(MEMBERS)


def test_nodes_that_have_more_get_less():
    loads = {member: 0.0 if number < 4 else 1e9 for number, member in enumerate(MEMBERS)}
    placed = owners(loads, 100)
    assert sum(loads[owner] == 0 for owner in placed) > 80


def test_where_no_node_is_known_blocks_have_their_first_names():
    placement = Placement(())
    assert placement.choose(["a", "b"], 1) == "a"


def test_the_loads_are_known_with_the_slots():
    with ServerInterface(slots=1) as cluster:
        slots, loads = cluster._capacity()
    assert slots == 1
    assert len(loads) == 1
