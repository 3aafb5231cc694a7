"""What the records of a job hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.jobs.state import (
    CELLS_PER_SHARD,
    FINALS_PER_SHARD,
    FinalWin,
    JobEnd,
    JobState,
    MapWin,
    Shard,
    decode_parts,
    encode_parts,
    final_shard,
    labels,
    map_shard,
    maps_per_shard,
)
from map_reduce.core.messages import BlockRef, Counts, Failure, OutputPart, Progress, Tally
from map_reduce.core.scheduling.plan import PARTITIONS_MAX
from map_reduce.errors import ProtocolError

NODE = Member(Address("10.0.0.1", 1), 77)
PART = OutputPart(3, b"abc", None)
TALLY = Tally((("words", 3),), 1, 2)


def test_states_survive_being_written():
    ending = JobEnd(Progress("failed"), (PART,), Failure("MapError", "text"), BlockRef("b", 1, b""))
    some = JobState((3, 7)), JobState((3, 7), adds=False), JobState(None, ending, "enough")
    for state in (JobState(), *some):
        assert JobState.decode(state.encode()) == state
    map_win = MapWin(4, 1, 2, NODE, "job/map/4.2.1", (0, 5, 0), Counts(1, 2), TALLY)
    shard = Shard((map_win,), (FinalWin(0, 0, 1, NODE, PART, Counts(), TALLY),))
    assert Shard.decode(shard.encode()) == shard
    assert decode_parts(encode_parts((PART, PART))) == (PART, PART)


def test_a_record_that_was_never_written_is_a_new_job():
    assert JobState.decode(b"") == JobState()
    assert Shard.decode(b"") == Shard()


@pytest.mark.parametrize("kind", [JobState, Shard])
def test_nonsense_is_refused(kind):
    with pytest.raises(ProtocolError, match=kind.__name__):
        kind.decode(b"\xc1 nonsense")


def test_nonsense_is_no_list_of_parts():
    with pytest.raises(ProtocolError, match="parts"):
        decode_parts(b"\xc1")


@given(
    maps=st.integers(0, 3000),
    finals=st.integers(0, 500),
    partitions=st.integers(1, PARTITIONS_MAX),
)
def test_every_task_is_in_one_of_the_shards_that_are_named(maps, finals, partitions):
    size = maps_per_shard(partitions)
    used = {map_shard(task // size) for task in range(maps)}
    used |= {final_shard(task // FINALS_PER_SHARD) for task in range(finals)}
    named = list(labels(maps, finals, partitions))
    assert set(named) == used
    assert len(named) == len(used)
    assert size == 1 or size * partitions <= CELLS_PER_SHARD
