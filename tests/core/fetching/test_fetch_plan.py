"""Which requests bring a reduce task's sources, against any order in which they come, or do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.fetching.plan import FetchPlan
from map_reduce.core.identifiers import Address
from map_reduce.core.messages import RANGES_MAX, ReduceWork, Source
from map_reduce.errors import ProtocolError

NODES = [Address("10.0.0.1", 1), Address("10.0.0.2", 1), Address("10.0.0.3", 1)]
PREFIX = "job/map/"


def work_of(shapes):
    """A source for each (node, offset, length)."""
    sources = [
        Source(NODES[node], f"{PREFIX}{number}", offset, length)
        for number, (node, offset, length) in enumerate(shapes)
    ]
    return ReduceWork.of(0, 1, 1, sources)


def content(name, offset, length):
    """What stands in a map output: no two bytes near each other are alike, here or elsewhere."""
    number = int(name.removeprefix(PREFIX))
    return bytes((number * 83 + place * 7) % 251 for place in range(offset, offset + length))


SHAPES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 40)), max_size=12)


@given(SHAPES, st.data())
def test_every_byte_comes_to_its_place_whatever_fails_and_in_whatever_order(shapes, data):
    work = work_of(shapes)
    numbers = (
        data.draw(st.lists(st.sampled_from(range(len(shapes))), unique=True)) if shapes else []
    )
    begin = data.draw(st.integers(0, 5))
    plan = FetchPlan(work, numbers, NODES[0], begin)
    file = bytearray(begin)
    under_way = []
    while plan.left_bytes or under_way:
        bytes_max = data.draw(st.integers(1, 50))
        node = data.draw(st.sampled_from(plan.nodes))
        run = plan.take(node, bytes_max) if len(under_way) < 4 else None
        if run is not None:
            assert run.node == node
            assert 0 < run.length_bytes <= bytes_max
            rows = plan.request(run).rows
            assert sum(length for _, _, length in rows) == run.length_bytes
            under_way.append(run)
        elif under_way:
            run = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            if data.draw(st.booleans()):
                plan.put_back(run)
                continue
            request = plan.request(run)
            reply = b"".join(content(request.prefix + n, o, size) for n, o, size in request.rows)
            file[len(file) :] = bytes(max(0, run.at + len(reply) - len(file)))
            file[run.at : run.at + len(reply)] = reply
            plan.arrived(run)
    assert len(file) == begin + sum(shapes[number][2] for number in numbers)
    for number in numbers:
        _, offset, length = shapes[number]
        at = plan.places[number]
        assert at >= begin
        assert file[at : at + length] == content(f"{PREFIX}{number}", offset, length)


@given(SHAPES, st.integers(1, 100))
def test_as_few_requests_as_the_bytes_allow(shapes, bytes_max):
    plan = FetchPlan(work_of(shapes), range(len(shapes)), NODES[0])
    for node in plan.nodes:
        expected = plan.runs(node, bytes_max)
        came = 0
        while plan.take(node, bytes_max) is not None:
            came += 1
        of_node = sum(length for place, _, length in shapes if NODES[place] == node)
        assert came == expected == -(-of_node // bytes_max)
    assert set(plan.nodes) == {NODES[place] for place, _, _ in shapes}


def test_thousands_of_tiny_sources_come_in_a_few_requests():
    plan = FetchPlan(work_of([(1, 0, 3)] * 2500), range(2500), NODES[0])
    assert plan.runs(NODES[1], 1 << 20) == 3
    sizes = []
    while (run := plan.take(NODES[1], 1 << 20)) is not None:
        sizes.append(len(run.parts))
    assert sizes == [RANGES_MAX, RANGES_MAX, 2500 - 2 * RANGES_MAX]


def test_each_node_begins_with_the_one_that_comes_after_it():
    work = work_of([(0, 0, 1), (1, 0, 1), (2, 0, 1)])
    begun = [FetchPlan(work, range(3), me).nodes for me in NODES]
    assert begun == [
        (NODES[1], NODES[2], NODES[0]),
        (NODES[2], NODES[0], NODES[1]),
        (NODES[0], NODES[1], NODES[2]),
    ]


def test_what_is_lost_is_named_and_nothing_else_can_be():
    work = work_of([(1, 0, 5), (1, 5, 5), (2, 0, 5)])
    plan = FetchPlan(work, range(3), NODES[0])
    run = plan.take(NODES[1], 100)
    assert plan.source_called(run, f"{PREFIX}1") == work.sources[1]
    with pytest.raises(ProtocolError, match="not asked for"):
        plan.source_called(run, f"{PREFIX}2")
