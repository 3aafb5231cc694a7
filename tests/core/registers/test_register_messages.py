"""Messages about records travel as all others do."""

import pytest
from register_cluster import member, replica

from map_reduce.core.messages import MESSAGES, Request
from map_reduce.core.messages.records import (
    NO_BALLOT,
    AcceptRecord,
    Ballot,
    GetRecord,
    GetReplica,
    ListRecords,
    PrepareRecord,
    RecordAccepted,
    RecordBuried,
    RecordConflict,
    RecordHeld,
    RecordLine,
    RecordLines,
    RecordState,
    ReplicaIs,
)
from map_reduce.transport import wire

BALLOT = Ballot(2, 3, member(1))
STATE = RecordState(b"\x00v", ((replica(1, 2**63 - 1),), (replica(2),)), 1, 4, (BALLOT,))
SAMPLES = [
    GetReplica(),
    ReplicaIs(replica(1, 2**63 - 1)),
    ListRecords("name"),
    RecordLines(replica(1), (RecordLine("name", 2, STATE.configs),), True),
    GetRecord("name/shard", 2**63 - 1),
    PrepareRecord("name", 1, BALLOT),
    AcceptRecord("name", 1, BALLOT, STATE),
    RecordHeld(BALLOT, STATE),
    RecordHeld(NO_BALLOT, None),
    RecordAccepted(),
    RecordBuried(),
    RecordConflict(BALLOT),
]


def test_there_is_a_sample_of_each():
    assert {type(sample) for sample in SAMPLES} == {
        kind for kind in MESSAGES if kind.__module__.endswith(".records")
    }


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_it_arrives_as_it_was_sent(sample):
    assert wire.decode_reply(wire.encode_reply(sample)) == sample
    request = Request("cluster", member(1), sample)
    assert wire.decode_request(wire.encode_request(request)) == request


def test_no_ballot_is_below_every_ballot():
    assert Ballot(0, 1, member(1)) > NO_BALLOT
