"""Masters: one for each epoch, and fenced off afterwards."""

import pytest
from register_cluster import Cluster, member, proposer

from map_reduce.core.registers.lease import Lease, fenced, sealed, taken_over
from map_reduce.errors import ProtocolError

A, B = member(1), member(2)


def test_of_two_candidates_one_becomes_master():
    cluster = Cluster()
    first = cluster.run(proposer(1).compare_and_set(cluster.record, taken_over(0, A, 9.0)))
    second = cluster.run(proposer(2).compare_and_set(cluster.record, taken_over(0, B, 9.0)))
    assert first.changed
    assert not second.changed
    assert Lease.decode(second.state.value) == Lease(1, A, 9.0)


def test_an_old_master_commits_nothing():
    value = taken_over(0, A, 1.0)(None)
    value = fenced(1, lambda old: old + b"a", 2.0)(value)
    assert Lease.decode(value) == Lease(1, A, 2.0, b"a")
    value = taken_over(1, B, 5.0)(value)
    assert fenced(1, lambda old: b"late")(value) is None
    assert Lease.decode(fenced(2, lambda old: old + b"b")(value)) == Lease(2, B, 5.0, b"ab")


def test_a_shard_is_sealed_against_older_masters():
    value = sealed(1, A)(None)
    value = fenced(1, lambda old: b"a")(value)
    value = sealed(2, B)(value)
    assert Lease.decode(value).payload == b"a"
    assert fenced(1, lambda old: b"late")(value) is None
    assert sealed(1, A)(value) is None
    assert sealed(2, B)(value) is None


def test_what_is_no_lease_is_refused():
    with pytest.raises(ProtocolError):
        Lease.decode(b"\xc1")
