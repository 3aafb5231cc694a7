"""Who is gone, whose turn it is to replace them, and what may be forgotten."""

from register_cluster import Cluster, proposer, replica

from map_reduce.core.messages.records import NO_BALLOT, Ballot, RecordState
from map_reduce.core.registers import care
from map_reduce.core.registers.acceptor import Held
from map_reduce.core.registers.birth import Record
from map_reduce.core.registers.care import Burials, Care, Fellows, forgettable

N = [replica(number) for number in range(8)]


class Clock:
    def __init__(self):
        self.s = 100.0

    def now_s(self):
        return self.s


def holding(*configs, epoch=0, name="r", deleted=False):
    state = RecordState(b"v", tuple(configs), epoch, 1, (), deleted, configs[0])
    return Held(name, NO_BALLOT, NO_BALLOT, state)


def make_care(me=N[1], clock=None, members_max=3, dice=0.0):
    return Care(me, (clock or Clock()).now_s, lambda: dice, members_max=members_max, turn_s=5.0)


# ------------------------------------------------------------------ who is gone


def test_who_has_not_been_seen_for_long_is_gone_until_seen_again():
    clock = Clock()
    fellows = Fellows(clock.now_s, gone_after_s=30, pause_s_max=10)
    assert not fellows.gone(N[1])  # never looked for
    for _ in range(4):
        fellows.look()
        fellows.missed(N[1].address)
        assert not fellows.gone(N[1])
        clock.s += 9
    assert fellows.gone(N[1])
    fellows.saw(N[1])
    assert not fellows.gone(N[1])
    fellows.missed(N[1].address)
    assert not fellows.gone(N[1])


def test_who_answers_as_another_is_gone_at_once():
    fellows = Fellows(Clock().now_s)
    fellows.saw(replica(1, identity=77))
    assert fellows.gone(N[1])
    assert not fellows.gone(replica(1, identity=77))
    fellows.saw(N[1])  # the disk was merely not mounted
    assert not fellows.gone(N[1])


def test_what_was_not_seen_while_this_node_was_stopped_does_not_count():
    clock = Clock()
    fellows = Fellows(clock.now_s, gone_after_s=30, pause_s_max=10)
    fellows.look()
    fellows.missed(N[1].address)
    clock.s += 1000
    fellows.look()
    fellows.missed(N[1].address)
    assert not fellows.gone(N[1])


def test_others_are_forgotten():
    clock = Clock()
    fellows = Fellows(clock.now_s, gone_after_s=0)
    fellows.saw(replica(1, identity=77))
    fellows.missed(N[2].address)
    fellows.keep([N[3].address])
    assert not fellows.gone(N[1])
    assert not fellows.gone(N[2])


# ------------------------------------------------------------------ whose turn it is


def test_a_whole_record_needs_no_care_and_none_by_others():
    care_of = make_care()
    nobody, everybody = (lambda one: False), (lambda one: True)
    assert not care_of.needed(holding(N[:3]), nobody, nodes=8)
    assert care_of.needed(holding(N[:3]), everybody, nodes=8)
    assert not care_of.needed(holding(N[3:6]), everybody, nodes=8)  # not a member
    assert not care_of.needed(Held("r", Ballot(0, 1, None)), everybody, nodes=8)
    assert care_of.needed(holding(N[:3], N[1:4], epoch=1), nobody, nodes=8)  # half done


def test_a_small_record_grows_when_there_are_nodes():
    care_of, nobody = make_care(members_max=5), lambda one: False
    for nodes, wanted in ((1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5)):
        assert care_of.needed(holding(N[1:2]), nobody, nodes) == (wanted > 1)
        there = N[1 : nodes + 1]
        target = make_care(members_max=5).wanted(holding(N[1:2]), nobody, there)
        assert target == (tuple(there[:wanted]) if wanted > 1 else None)


def test_an_even_number_of_members_is_left_as_it_is():
    care_of = make_care(members_max=5)
    assert not care_of.needed(holding(N[1:3]), lambda one: False, nodes=2)
    wanted = care_of.wanted(holding(N[1:5]), {N[2]}.__contains__, [*N[:2], *N[3:6]])
    assert wanted == (N[1], N[3], N[4], N[0], N[5])  # of six nodes, five
    wanted = care_of.wanted(holding(N[1:5]), {N[2]}.__contains__, [*N[1:2], *N[3:6]])
    assert wanted == (N[1], N[3], N[4], N[5])


def test_the_gone_are_replaced_and_nobody_else_is():
    care_of = make_care()
    wanted = care_of.wanted(holding(N[:3]), lambda one: one == N[0], N[2:6])
    assert wanted == (N[1], N[2], N[3])
    alone = make_care().wanted(holding(N[:3]), lambda one: one == N[0], [])
    assert alone is None  # nobody new to be had: the gone stay


def test_members_take_turns():
    clock = Clock()
    gone = {N[0]}.__contains__
    first, second = make_care(N[1], clock), make_care(N[2], clock)
    held = holding(N[:3])
    assert first.wanted(held, gone, N[3:]) is not None
    assert second.wanted(held, gone, N[3:]) is None
    clock.s += 5
    assert second.wanted(held, gone, N[3:]) is not None
    second.failed("r")
    assert second.wanted(held, gone, N[3:]) is None
    clock.s += 10
    assert second.wanted(held, gone, N[3:]) is not None
    second.moved("r")
    # somebody has got on with it: a new turn
    assert second.wanted(holding(N[:3], N[1:4], epoch=1), gone, N[3:]) is None


def test_failures_are_tried_again_later_and_later():
    clock = Clock()
    care_of, held = make_care(clock=clock, dice=0.5), holding(N[:3])
    gone = {N[0]}.__contains__
    waits = []
    for _ in range(12):
        since_s = clock.s
        while care_of.wanted(held, gone, N[3:]) is None:
            clock.s += 1
        waits.append(clock.s - since_s)
        care_of.failed("r")
    assert waits[1:] == sorted(waits[1:])
    assert waits[-1] == care.RETRY_S_MAX


# ------------------------------------------------------------------ burying


def test_a_tombstone_is_read_again_after_a_day_and_what_lives_now_and_then():
    clock = Clock()
    burials = Burials(clock.now_s, lambda: 0.5)
    dead, alive = holding(N[:3], deleted=True, name="dead"), holding(N[:3], name="alive")
    assert not burials.due(dead)
    assert not burials.due(alive)
    clock.s += care.LOOK_S / 2
    assert burials.due(alive)
    assert not burials.due(alive)
    assert not burials.due(dead)
    clock.s += care.TOMBSTONE_KEPT_S
    assert burials.due(dead)
    burials.keep([])
    assert not burials.due(dead)
    assert not burials.due(Held("promised", Ballot(0, 1, None)))


def test_names_are_forgotten_by_age_and_number():
    now_s = 10 * care.NAMES_KEPT_S
    buried = [Held(f"r{age}", buried_s=now_s - age) for age in range(5)]
    old = Held("old", buried_s=now_s - care.NAMES_KEPT_S - 1)
    assert forgettable([holding(N[:3]), *buried[:2], old], now_s, 3) == ["old"]
    assert set(forgettable([*buried, old], now_s, 3)) == {"r3", "r4", "old"}


def test_one_replica_that_has_buried_a_record_answers_for_all():
    cluster = Cluster(size=5, members=5)
    first = proposer(1)
    cluster.run(first.compare_and_set(cluster.record, lambda value: b"v"))
    cluster.run(first.delete(cluster.record), reach={1, 2, 3})
    acceptor = cluster.acceptors[cluster.replicas[2]]
    acceptor.bury(cluster.record.name, 5)
    assert acceptor.all_held() == (Held(cluster.record.name, buried_s=5),)
    # the two that know nothing of it, and the one that has buried it
    state = cluster.run(proposer(2).read(cluster.record), reach={3, 4, 5})
    assert state.deleted
    cluster.run(proposer(2).delete(cluster.record), reach={3})
    acceptor.forget(cluster.record.name)
    assert acceptor.all_held() == ()


def test_a_holder_reaches_the_record_by_what_it_holds():
    cluster = Cluster(size=5, members=3)
    cluster.run(proposer(1).compare_and_set(cluster.record, lambda value: b"v"))
    cluster.run(proposer(1).reconfigure(cluster.record, cluster.replicas[2:5]))
    held = cluster.acceptors[cluster.replicas[4]].held(cluster.record.name)
    assert Record(held.name, held.state.born) == cluster.record
