"""Nodes look after their records: off the lost, onto the new, and into the ground."""

import pytest
from record_ring import GONE_AFTER_S, STEP_S, RecordRing

from map_reduce.core.registers import care
from map_reduce.core.registers.acceptor import Held


def write(ring, record, value):
    ring.client.change(record, lambda old: value)


def members(ring, record):
    return ring.client.read(record).configs[-1]


@pytest.fixture
def ring():
    with RecordRing(5) as made:
        yield made


def test_a_record_moves_off_a_dead_member_and_no_sooner_than_it_should(ring):
    record = ring.record(members=3)
    write(ring, record, b"kept")
    dead = ring.nodes[0]
    ring.lose(dead)
    ring.look(GONE_AFTER_S - 2 * STEP_S)
    assert dead.own.me in members(ring, record)
    ring.look(4 * care.TURN_S)
    assert members(ring, record) == tuple(node.own.me for node in ring.nodes[:3])
    assert ring.client.read(record).value == b"kept"
    assert ring.client.read(record).epoch == 2  # one of them did it, once


def test_members_lost_one_after_the_other_are_all_replaced(ring):
    record = ring.record(members=3)
    write(ring, record, b"kept")
    for number in range(6, 10):
        ring.add(number)
        ring.lose(ring.nodes[0])
        ring.look(GONE_AFTER_S + 6 * care.TURN_S)
    assert not {node.own.me for node in ring.nodes[:3]} & set(record.members)
    ring.client.forget(record)  # it knows the certificate, of whose members nobody is left
    assert ring.client.read(record).value == b"kept"
    assert set(members(ring, record)) <= {node.own.me for node in ring.nodes}


def test_a_node_that_has_lost_its_memory_is_replaced_at_once(ring):
    record = ring.record(members=3)
    write(ring, record, b"kept")
    ring.lose(ring.nodes[0])
    again = ring.add(1)  # the same address, another identity
    ring.look(4 * care.TURN_S)
    assert len(members(ring, record)) == 3
    assert ring.client.read(record).epoch == 2
    assert ring.nodes[0].own.me in members(ring, record)
    assert again.own.me.address == record.members[0].address


def test_a_member_that_the_ring_still_has_is_not_replaced_for_being_silent(ring):
    record = ring.record(members=3)
    write(ring, record, b"kept")
    ring.nodes[0].transport.close()  # but nobody has noticed
    ring.look(3 * GONE_AFTER_S)
    assert ring.client.read(record).epoch == 0


def test_a_member_whose_replica_has_ended_is_replaced(ring):
    record = ring.record(members=3)
    write(ring, record, b"kept")
    ring.nodes[1].own._fail(OSError("No space left on device"))
    ring.look(2 * GONE_AFTER_S + 4 * care.TURN_S)
    assert ring.nodes[1].own.me not in members(ring, record)
    assert ring.client.read(record).value == b"kept"


def test_a_record_of_a_ring_of_one_grows_with_the_ring():
    with RecordRing(1) as ring:
        record = ring.record(members=1)
        write(ring, record, b"kept")
        ring.look(10)
        assert members(ring, record) == record.members
        ring.add(2)
        ring.add(3)
        ring.look(4 * care.TURN_S)
        assert members(ring, record) == tuple(node.own.me for node in ring.nodes)
        ring.lose(ring.nodes[0])
        assert ring.client.read(record).value == b"kept"


def test_a_change_that_somebody_left_half_done_is_finished(ring):
    record = ring.record(members=3)
    write(ring, record, b"kept")
    proposer = ring.client._proposer
    joint = (record.members, tuple(node.own.me for node in ring.nodes[1:4]))
    state = ring.client.read(record)
    ring.client._run(record, proposer._move(record, state, joint), 10)
    ring.look(6 * care.TURN_S)
    assert ring.client.read(record).configs == (joint[1],)


def test_who_leaves_moves_its_records_to_others(ring):
    record = ring.record(members=2)  # both have what is written
    write(ring, record, b"kept")
    leaving = ring.nodes[1]
    leaving.care.leave(10)
    assert leaving.own.me not in members(ring, record)
    assert len(members(ring, record)) == 3
    assert leaving.own.me not in ring.client.choose_members(0)
    ring.lose(leaving)
    assert ring.client.read(record).value == b"kept"


def test_the_last_node_that_leaves_has_nobody_to_give_to():
    with RecordRing(1) as ring:
        record = ring.record(members=1)
        write(ring, record, b"kept")
        ring.nodes[0].care.leave(10)
        assert members(ring, record) == record.members


# ------------------------------------------------------------------ deletion


def held_of(ring, record):
    return [one for node in ring.nodes for one in node.own.all_held() if one.name == record.name]


def test_a_deleted_record_is_buried_after_a_day_by_all_who_held_it(ring):
    record = ring.record(members=1)
    write(ring, record, bytes(1000))
    # n1 is a former member and does not hear of the deletion
    ring.client.reconfigure(record, tuple(node.own.me for node in ring.nodes[1:4]))
    ring.client.delete(record)
    ring.look(STEP_S)
    assert not any(one.buried_s for one in held_of(ring, record))
    ring.clock.now += care.TOMBSTONE_KEPT_S
    ring.look(STEP_S)
    for _ in range(5):  # a request among them may have been late: it is made again at the next look
        if all(one.buried_s for one in held_of(ring, record)):
            break
        ring.clock.now += 2 * care.LOOK_S
        ring.look(2 * STEP_S)
    assert len(held_of(ring, record)) >= 3  # a majority of the last members, and n1
    for one in held_of(ring, record):
        assert one == Held(record.name, buried_s=one.buried_s)
        assert one.buried_s
    assert ring.client.read(record).deleted


def test_a_record_that_lives_is_asked_about_and_not_buried(ring):
    record = ring.record(members=3)
    write(ring, record, b"kept")
    ring.look(STEP_S)
    ring.clock.now += 2 * care.LOOK_S
    ring.look(2 * STEP_S)
    assert not any(one.buried_s for one in held_of(ring, record))
    assert ring.client.read(record).value == b"kept"


def test_a_buried_name_is_forgotten_when_its_time_is_over(ring, monkeypatch):
    record = ring.record(members=3)
    for node in ring.nodes:
        node.own.bury(record.name, 1)  # in 1970
    ring.look(STEP_S)
    assert held_of(ring, record)
    ring.clock.now += 2 * 3600
    ring.look(STEP_S)
    assert not held_of(ring, record)
