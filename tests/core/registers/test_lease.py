"""Masters: one for each epoch, and fenced off afterwards."""

import pytest
from register_cluster import Cluster, member, proposer

from map_reduce.core.registers.lease import (
    Lease,
    fenced,
    owned,
    remarked,
    resigned,
    sealed,
    taken_over,
)
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


def test_a_further_record_is_written_by_its_master_and_not_by_one_before():
    shard = owned(3, A, b"mine")(None)
    assert Lease.decode(shard) == Lease(3, A, 0.0, b"mine")
    assert Lease.decode(owned(3, A, b"more")(shard)).payload == b"more"
    sealed_by_b = sealed(4, B)(shard)
    assert Lease.decode(sealed_by_b).payload == b"mine"
    assert owned(3, A, b"late")(sealed_by_b) is None


def test_who_resigns_leaves_the_job_to_anybody_and_its_epoch_as_it_was():
    value = taken_over(0, A, 1.0)(None)
    left = resigned(1, A)(value)
    assert Lease.decode(left) == Lease(1, None)
    assert resigned(1, A)(left) is None
    assert resigned(1, B)(value) is None
    assert Lease.decode(taken_over(1, B, 1.0)(left)).master == B


def test_a_remark_changes_neither_master_nor_epoch():
    value = taken_over(0, A, 1.0)(None)
    remarked_on = remarked(lambda payload: payload + b"stop")(value)
    assert Lease.decode(remarked_on) == Lease(1, A, 1.0, b"stop")
    assert remarked(lambda payload: None)(value) is None
