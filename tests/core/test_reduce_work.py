"""What a reduce task is told of its sources: little for each, and all of it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import (
    AttemptId,
    Functions,
    OrderAttempts,
    ReduceWork,
    Request,
    Source,
    StartAttempt,
)
from map_reduce.core.names import map_output
from map_reduce.transport.wire import MESSAGE_BYTES_MAX, decode_request, encode_request

NAMES = st.one_of(st.text("ab/", max_size=6), st.sampled_from(["job/map/1.1.0", "job/map/2.1.0"]))
SOURCES = st.builds(
    Source,
    st.builds(Address, st.sampled_from(["10.0.0.1", "10.0.0.2"]), st.integers(1, 3)),
    NAMES,
    st.integers(0, 1 << 40),
    st.integers(1, 1 << 40),
)


@given(st.lists(SOURCES, max_size=8))
def test_the_sources_are_those_that_were_given(sources):
    work = ReduceWork.of(2, 5, 9, iter(sources))
    assert work.sources == tuple(sources)
    assert (work.first_partition, work.last_partition, work.partitions) == (2, 5, 9)
    assert len(work.nodes) == len({source.node for source in sources})
    encoded = msgspec.msgpack.encode(work)
    assert msgspec.msgpack.decode(encoded, type=ReduceWork) == work


def test_a_row_of_a_node_that_is_not_named_is_no_message():
    for place in (-1, 1):
        with pytest.raises(ValueError, match="not named"):
            ReduceWork(0, 1, 1, "", (Address("a", 1),), ((place, "x", 0, 1),))


def test_the_outputs_of_a_hundred_thousand_map_tasks_fit_a_message():
    job_id = "f" * 64
    nodes = [Address(f"10.1.{n // 250}.{n % 250}", 9000) for n in range(1000)]
    sources = [
        Source(nodes[n % 1000], map_output(AttemptId(job_id, "map", n, 12, 3)), n << 12, 1 << 20)
        for n in range(100_000)
    ]
    work = ReduceWork.of(0, 1, 167, sources)
    attempt = AttemptId(job_id, "reduce", 0, 0)
    order = StartAttempt(attempt, 1, nodes[0], Functions(b"", None, b""), work, 60.0, False)
    data = encode_request(Request("cluster", Member(nodes[0], 1), OrderAttempts((order,))))
    assert len(data) < 0.75 * MESSAGE_BYTES_MAX
    told = decode_request(data).body
    assert isinstance(told, OrderAttempts)
    assert told.orders == (order,)
