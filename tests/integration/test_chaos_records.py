"""Records on rings of real processes: members are killed, lose their memory, and get it back."""

import threading

import pytest

from map_reduce.core.identifiers import identifier_of
from map_reduce.core.registers.birth import Birth
from map_reduce.errors import Unreachable
from map_reduce.testing import ChaosCluster
from map_reduce.testing.record_chaos import SETTINGS, records_under_chaos

WAIT_S = 60


def await_that(holds, what):
    pause = threading.Event()
    for _ in range(WAIT_S * 10):
        if holds():
            return
        pause.wait(0.1)
    raise AssertionError(f"not within {WAIT_S} s: {what}")


def node_of(cluster, replica):
    return cluster.node_at(replica.address)


@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_record_moves_off_a_killed_member_and_the_next_one_may_be_killed_too(kills):
    with ChaosCluster(4, seed=1, settings=SETTINGS) as cluster:
        access = cluster.access()
        try:
            access.members()  # from now on all are ways in
            members = access.records.choose_members(identifier_of("a job"))
            record = Birth(b"about", b"nonce", members).record()
            access.records.change(record, lambda value: b"kept")
            lost = []
            for _ in range(kills):
                if lost:
                    cluster.restart(node_of(cluster, lost[-1]))
                lost.append(access.records.read(record).configs[-1][0])
                cluster.kill(node_of(cluster, lost[-1]))

                def moved():
                    access.members()
                    state = access.records.read(record)
                    return len(state.configs) == 1 and lost[-1] not in state.configs[0]

                await_that(moved, "the record has moved")
            assert access.records.read(record).value == b"kept"
        finally:
            access.close()


@pytest.mark.slow
def test_a_ring_whose_nodes_were_all_killed_at_once_has_its_records_again():
    with ChaosCluster(3, seed=1, keep_data=True, settings=SETTINGS) as cluster:
        access = cluster.access()
        try:
            access.members()  # from now on all are ways in
            members = access.records.choose_members(identifier_of("a job"))
            record = Birth(b"about", b"nonce", members).record()
            assert access.records.change(record, lambda value: b"kept").changed
            first, *others = cluster.nodes
            cluster.kill(*others)
            with pytest.raises(Unreachable):
                access.records.read(record, within_s=1)
            for node in others:
                cluster.restart(node)
            assert access.records.read(record, within_s=WAIT_S).value == b"kept"
            cluster.restart(first)
            assert access.records.read(record, within_s=WAIT_S).value == b"kept"
        finally:
            access.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("keep_data", [False, True])
def test_the_history_of_records_on_a_ring_that_is_hurt_could_have_happened(keep_data):
    with ChaosCluster(5, keep_data=keep_data, settings=SETTINGS) as cluster:
        print(f"seed {cluster.seed}")
        print(result := records_under_chaos(cluster, seconds=25))
        assert result.operations["done"] > 100
        assert result.faults
