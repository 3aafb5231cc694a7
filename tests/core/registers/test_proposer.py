"""Reading and changing records, rule by rule (the rules stand in ``proposer.py``)."""

import pytest
from register_cluster import Cluster, proposer, replica

from map_reduce.core.messages import No
from map_reduce.core.messages.records import (
    AcceptRecord,
    GetRecord,
    PrepareRecord,
    RecordState,
    Replica,
)
from map_reduce.core.registers.acceptor import Acceptor
from map_reduce.core.registers.proposer import Settled
from map_reduce.errors import Refused, Undecided, Unreachable
from map_reduce.simulation.registers.mutants import MerelySeen

MINORITY = {1}
MAJORITY = {1, 2}


def to(value):
    return lambda old: value


def one_accept_at(number, everybody=range(1, 10)):
    """Everything arrives, but of the requests to accept only that to one replica."""
    return lambda message: {number} if isinstance(message, AcceptRecord) else set(everybody)


def test_a_record_is_born_empty():
    cluster = Cluster()
    state = cluster.run(proposer().read(cluster.record), MAJORITY)
    assert state == cluster.record.at_birth
    assert (state.value, state.version, state.epoch) == (None, 0, 0)


def test_what_one_writes_another_reads():
    cluster = Cluster()
    written = cluster.run(proposer(1).compare_and_set(cluster.record, to(b"x")), {1, 2})
    assert written == Settled(written.state, True)
    assert cluster.run(proposer(2).read(cluster.record), {2, 3}).value == b"x"


def test_a_change_sees_the_value_and_may_leave_it():
    cluster = Cluster()
    p = proposer()
    cluster.run(p.compare_and_set(cluster.record, to(b"x")))
    left = cluster.run(p.compare_and_set(cluster.record, lambda old: None if old else b"y"))
    assert not left.changed
    assert left.state.value == b"x"
    appended = cluster.run(p.compare_and_set(cluster.record, lambda old: old + b"y"))
    assert appended.state.value == b"xy"
    assert appended.state.version == 2


def test_a_quiet_record_is_read_in_one_round_and_nothing_is_written():
    cluster = Cluster()
    cluster.run(proposer(1).compare_and_set(cluster.record, to(b"x")))
    cluster.requests.clear()
    cluster.run(proposer(2).read(cluster.record))
    assert len(cluster.requests) == 3
    assert all(isinstance(message, GetRecord) for _, message in cluster.requests)


def test_a_read_commits_what_only_some_have_accepted():
    cluster = Cluster()
    write = proposer(1, attempts_max=1).compare_and_set(cluster.record, to(b"x"))
    with pytest.raises(Undecided):
        cluster.run(write, one_accept_at(1))
    assert cluster.run(proposer(2).read(cluster.record), {1, 2}).value == b"x"
    assert cluster.run(proposer(3).read(cluster.record), {2, 3}).value == b"x"


def test_without_a_majority_nothing_happens_and_it_says_so():
    cluster = Cluster()
    waits = []
    write = proposer(attempts_max=3).compare_and_set(cluster.record, to(b"x"))
    with pytest.raises(Unreachable, match=r"no majority of n1:1, n2:1, .*nothing was") as caught:
        cluster.run(write, MINORITY, waits)
    assert not isinstance(caught.value, Undecided)
    assert waits == [1, 2, 3]
    assert cluster.run(proposer(2).read(cluster.record)).value is None


def test_an_unknown_outcome_is_said_to_be_unknown():
    cluster = Cluster()
    write = proposer(attempts_max=2).compare_and_set(cluster.record, to(b"x"))
    with pytest.raises(Undecided, match="may or may not have been changed"):
        cluster.run(write, one_accept_at(1))


def test_two_proposers_outbid_each_other():
    cluster = Cluster()
    first, second = proposer(1), proposer(2)
    for value in (b"a", b"b", b"c"):
        cluster.run(first.compare_and_set(cluster.record, to(value)))
        cluster.run(second.compare_and_set(cluster.record, to(value + value)))
    state = cluster.run(first.read(cluster.record))
    assert (state.value, state.version) == (b"cc", 6)


def append(old):
    return (old or b"") + b"x"


def test_a_change_in_doubt_is_found_and_not_made_twice():
    cluster = Cluster()
    p, rival = proposer(1), proposer(2)
    lost = []

    def reach(message):
        if isinstance(message, AcceptRecord) and not lost:
            return {1}
        return {1, 2, 3}

    procedure = p.compare_and_set(cluster.record, append)

    def interfere(attempt):
        lost.append(attempt)
        cluster.run(rival.compare_and_set(cluster.record, lambda old: old + b"y"))

    class Waits(list):
        append = staticmethod(interfere)

    settled = cluster.run(procedure, reach, Waits())
    assert settled.changed
    assert settled.state.value == b"x"
    assert cluster.run(p.read(cluster.record)).value == b"xy"


def test_a_change_in_doubt_that_came_to_nothing_is_made_again():
    cluster = Cluster()
    p, rival = proposer(1), proposer(2)
    blocked = []

    def reach(message):
        if not blocked:
            return {1} if isinstance(message, AcceptRecord) else {1, 2}
        return {2, 3}

    class Waits(list):
        def append(self, attempt):
            blocked.append(attempt)
            cluster.run(rival.compare_and_set(cluster.record, to(b"y")), {2, 3})

    settled = cluster.run(p.compare_and_set(cluster.record, append), reach, Waits())
    assert settled.changed
    assert settled.state.value == b"yx"


def test_long_overtaken_doubts_stay_doubts():
    cluster = Cluster()
    p, rival = proposer(1), proposer(2)

    class Waits(list):
        def append(self, attempt):
            for _ in range(9 if attempt == 1 else 0):
                cluster.run(rival.compare_and_set(cluster.record, append))

    with pytest.raises(Undecided, match="others have changed it"):
        cluster.run(p.compare_and_set(cluster.record, append), one_accept_at(1), Waits())


def test_a_process_that_repeats_ballots_would_write_two_values_at_one():
    cluster = Cluster()
    write = proposer(1, attempts_max=1).compare_and_set(cluster.record, to(b"x"))
    with pytest.raises(Undecided):
        cluster.run(write, one_accept_at(1))
    same_life = proposer(1).compare_and_set(cluster.record, to(b"y"))
    cluster.run(same_life, {2, 3})
    held = {cluster.acceptors[one].held(cluster.record.name) for one in cluster.replicas[:3]}
    assert len({one.accepted for one in held}) == 1
    assert {one.state.value for one in held} == {b"x", b"y"}

    cluster = Cluster()
    write = proposer(1, attempts_max=1).compare_and_set(cluster.record, to(b"x"))
    with pytest.raises(Undecided):
        cluster.run(write, one_accept_at(1))
    cluster.run(proposer(1, incarnation=2).compare_and_set(cluster.record, to(b"y")), {2, 3})
    assert cluster.run(proposer(2).read(cluster.record), {1, 2}).value == b"y"


def test_a_deleted_record_stays_deleted():
    cluster = Cluster()
    p = proposer()
    cluster.run(p.compare_and_set(cluster.record, to(b"x")))
    cluster.run(p.delete(cluster.record))
    cluster.run(p.delete(cluster.record))
    state = cluster.run(proposer(2).read(cluster.record))
    assert (state.value, state.deleted) == (None, True)
    with pytest.raises(Refused, match="deleted"):
        cluster.run(p.compare_and_set(cluster.record, to(b"y")))


# ------------------------------------------------------------------ changing the members


def test_members_are_replaced_and_old_hints_lead_to_them():
    cluster = Cluster(size=6)
    p = proposer()
    cluster.run(p.compare_and_set(cluster.record, to(b"x")))
    state = cluster.run(p.reconfigure(cluster.record, cluster.replicas[3:]))
    assert state.configs == (cluster.replicas[3:],)
    assert state.epoch == 2
    assert cluster.run(proposer(2).read(cluster.record), {1, 2, 4, 5}).value == b"x"
    write = proposer(3).compare_and_set(cluster.record, to(b"y"))
    assert cluster.run(write, {1, 4, 5}).state.value == b"y"


def test_the_old_members_alone_decide_nothing_any_more():
    cluster = Cluster(size=6)
    cluster.run(proposer(1).reconfigure(cluster.record, cluster.replicas[3:]))
    write = proposer(2, attempts_max=2).compare_and_set(cluster.record, to(b"y"))
    with pytest.raises(Unreachable):
        cluster.run(write, {1, 2, 3})


def test_the_new_members_alone_serve_who_has_a_hint():
    cluster = Cluster(size=6)
    cluster.run(proposer(1).reconfigure(cluster.record, cluster.replicas[3:]))
    p = proposer(2)
    p.hint(cluster.record, cluster.replicas[4:])
    assert cluster.run(p.compare_and_set(cluster.record, to(b"y")), {5, 6}).changed


def test_a_wrong_hint_does_no_harm():
    cluster = Cluster(size=6)
    cluster.run(proposer(1).compare_and_set(cluster.record, to(b"x")))
    p = proposer(2)
    p.hint(cluster.record, cluster.replicas[3:])
    assert cluster.run(p.read(cluster.record)).value == b"x"
    empty = proposer(3, attempts_max=2)
    empty.hint(cluster.record, cluster.replicas[3:])
    with pytest.raises(Unreachable):
        cluster.run(empty.compare_and_set(cluster.record, to(b"y")), {4, 5, 6})


def test_while_members_change_each_side_needs_its_majority():
    cluster = Cluster(size=6)
    change = proposer(1, attempts_max=1).reconfigure(cluster.record, cluster.replicas[3:])
    with pytest.raises((Unreachable, Undecided)):
        cluster.run(change, joint_only())
    for reach in ({1, 2, 3, 4}, {3, 4, 5, 6}):
        with pytest.raises(Unreachable):
            cluster.run(
                proposer(2, attempts_max=2).compare_and_set(cluster.record, to(b"y")), reach
            )
    write = proposer(3).compare_and_set(cluster.record, to(b"z"))
    state = cluster.run(write, {1, 2, 4, 5}).state
    assert len(state.configs) == 2


def joint_only():
    """Everything but requests to accept the last step of a change of members."""

    def reach(message):
        final = isinstance(message, AcceptRecord) and message.state.epoch == 2
        return set() if final else set(range(1, 7))

    return reach


def test_a_half_done_change_is_finished_before_another_begins():
    cluster = Cluster(size=6)
    change = proposer(1, attempts_max=1).reconfigure(cluster.record, cluster.replicas[3:])
    with pytest.raises(Undecided):
        cluster.run(change, joint_only())
    mixed = cluster.replicas[:1] + cluster.replicas[4:]
    state = cluster.run(proposer(2).reconfigure(cluster.record, mixed))
    assert (state.configs, state.epoch) == ((mixed,), 4)


def test_members_that_do_not_answer_are_not_written_into_a_record():
    cluster = Cluster(size=6)
    change = proposer(1, attempts_max=2).reconfigure(cluster.record, cluster.replicas[3:])
    with pytest.raises(Unreachable) as caught:
        cluster.run(change, {1, 2, 3, 4})
    assert not isinstance(caught.value, Undecided)
    assert cluster.run(proposer(2).read(cluster.record), {1, 2, 3}).epoch == 0


def test_of_two_changes_at_once_one_is_refused():
    cluster = Cluster(size=6)
    rival = proposer(2)

    def reach(message):
        if isinstance(message, PrepareRecord) and cluster_is_committed() and not done:
            done.append(True)
            cluster.run(rival.reconfigure(cluster.record, cluster.replicas[1:4]))
        return set(range(1, 7))

    def cluster_is_committed():
        return any(isinstance(message, AcceptRecord) for _, message in cluster.requests)

    done: list[bool] = []
    with pytest.raises(Refused, match="epoch 2, decided by n2:1, n3:1, n4:1"):
        cluster.run(proposer(1).reconfigure(cluster.record, cluster.replicas[3:]), reach)


@pytest.mark.parametrize("wrong", [(), (replica(1), replica(1))])
def test_members_must_be_some_and_distinct(wrong):
    cluster = Cluster()
    with pytest.raises(Refused, match="cannot be decided by"):
        cluster.run(proposer().reconfigure(cluster.record, wrong))


def test_who_lost_its_disk_is_nobody_and_can_be_replaced():
    cluster = Cluster(size=3)
    p = proposer()
    cluster.run(p.compare_and_set(cluster.record, to(b"x")))
    reborn = Replica(cluster.replicas[0].address, 1234)
    cluster.acceptors[cluster.replicas[0]] = cluster.acceptors[reborn] = Acceptor(reborn)
    answer = cluster.answer(cluster.replicas[0], GetRecord(cluster.record.name, 1))
    assert isinstance(answer, No)
    members = (reborn, *cluster.replicas[1:])
    state = cluster.run(p.reconfigure(cluster.record, members))
    assert state.configs == (members,)
    assert cluster.run(proposer(2).read(cluster.record), {1, 2}).value == b"x"


def test_a_lost_member_that_answers_first_does_not_hide_the_others():
    cluster = Cluster(size=3, members=1)
    cluster.run(proposer(1).reconfigure(cluster.record, cluster.replicas[::-1]))
    lost = cluster.replicas[0]
    cluster.acceptors[lost] = Acceptor(Replica(lost.address, 1234))
    p = proposer(2)
    p.hint(cluster.record, cluster.replicas)
    assert cluster.run(p.compare_and_set(cluster.record, to(b"x"))).changed


def split_brain(kind):
    """The story of rule 2, told in ``docs/records.md``; what either side ends up with."""
    cluster = Cluster(size=6)
    record, old, new = cluster.record, cluster.replicas[:3], cluster.replicas[3:]
    change = proposer(1, kind=kind, attempts_max=1).reconfigure(record, new)
    with pytest.raises(Undecided):  # only n4 hears of the joint configuration
        cluster.run(change, lambda m: {4} if is_epoch(m, 1) else set(range(1, 7)))
    finisher = proposer(2, kind=kind, attempts_max=4)
    finisher.hint(record, new)
    change = finisher.reconfigure(record, cluster.replicas[2:5])
    with pytest.raises(Undecided):  # only n4 hears of the new one
        cluster.run(change, lambda m: {4} if is_epoch(m, 2) else set(range(1, 7)))
    ends: list[RecordState | None] = []
    for number, members, reach in ((3, new, {4, 5, 6}), (4, old, {1, 2, 3})):
        p = proposer(number, kind=kind)
        p.hint(record, members)
        try:
            ends.append(cluster.run(p.compare_and_set(record, append), reach).state)
        except Unreachable:
            ends.append(None)
    return ends


def is_epoch(message, epoch):
    return isinstance(message, AcceptRecord) and message.state.epoch == epoch


def test_without_the_identity_write_a_record_splits_and_with_it_it_does_not():
    new, old = split_brain(MerelySeen)
    assert (new.value, old.value) == (b"x", b"x")
    assert new.configs != old.configs
    new, old = split_brain(type(proposer()))
    assert new.value == b"x"
    assert old is None
