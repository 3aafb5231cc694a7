"""Majorities of each configuration, and who comes next."""

from hypothesis import given
from hypothesis import strategies as st
from register_cluster import replica

from map_reduce.core.registers.quorums import (
    is_quorum,
    may_become_quorum,
    members_of,
    next_config,
)

R = [replica(number) for number in range(1, 9)]
replicas = st.lists(st.sampled_from(R), unique=True)
configs = st.lists(st.sampled_from(R), unique=True, min_size=1).map(tuple)


def test_half_is_no_majority():
    assert not is_quorum(R[:2], [tuple(R[:4])])
    assert is_quorum(R[:3], [tuple(R[:4])])


def test_a_majority_of_all_together_is_not_one_of_each():
    old, new = tuple(R[:3]), tuple(R[3:6])
    assert not is_quorum([*R[:3], R[3]], [old, new])
    assert is_quorum([*R[:2], *R[3:5]], [old, new])


@given(configs, replicas, replicas)
def test_two_quorums_meet(config, some, others):
    if is_quorum(some, [config]) and is_quorum(others, [config]):
        assert set(some) & set(others) & set(config)


@given(st.lists(configs, max_size=2), replicas, st.data())
def test_what_may_become_a_quorum_does_if_the_rest_agree(all_configs, refusing, data):
    rest = [one for one in members_of(all_configs) if one not in refusing]
    assert may_become_quorum(refusing, all_configs) == is_quorum(rest, all_configs)


@given(configs, replicas, replicas, st.integers(1, 6))
def test_next_config(current, gone, candidates, size):
    following = next_config(current, gone, candidates, size)
    assert following
    assert len(set(following)) == len(following)
    assert set(following) <= set(current) | set(candidates)
    assert len(following) >= min(size, len(current))
    if following != current:
        assert set(following) != set(current)
        staying = [one for one in current if one not in gone]
        assert list(following[: len(staying)]) == staying[:size]


def test_the_dead_are_replaced_by_the_next_on_the_ring():
    assert next_config(tuple(R[:5]), {R[1]}, R, 5) == (R[0], R[2], R[3], R[4], R[5])


def test_a_record_does_not_shrink_because_nodes_died():
    assert next_config(tuple(R[:3]), {R[1]}, [R[0], R[2]], 3) == tuple(R[:3])


def test_a_record_grows_with_the_ring():
    assert next_config((R[0],), (), R[:3], 5) == tuple(R[:3])
