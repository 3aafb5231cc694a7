"""Backup attempts: when there are any, where, and that nothing counts twice."""

import msgspec
import pytest
from scheduling_fakes import FakeCluster, died, items, job, lines, member, raised, scheduler_of

from map_reduce.core.messages import AttemptId, Running, TaskRules
from map_reduce.core.scheduling.backups import backups_max
from map_reduce.core.scheduling.effects import Fail, Stop
from map_reduce.core.scheduling.events import StillRunning

A, B, C = member(1), member(2), member(3)
TASK_S = 2.0


def cluster_of(spec, **settings):
    settings = {"node_silence_s_max": 1000.0, "unlisted_s_max": 10_000.0, **settings}
    return FakeCluster(scheduler_of(spec, **settings))


def tail_of(count=6, kind=lines, nodes=(A, B, C), last=A, **settings):
    """A job with all maps done in two seconds each but one, which runs on ``last``; the slots of
    the others are free."""
    cluster = cluster_of(job(*map(kind, range(count))), **settings)
    cluster.join(*nodes, slots=2)
    while True:
        cluster.take_all()
        running = [(at, id_) for at, id_ in cluster.running() if id_.phase == "map"]
        assert running
        slow = next((id_ for at, id_ in running if at == last), None)
        if len(running) == 1 and slow and not cluster.scheduler.map_queue:
            return cluster, slow
        pass_time(cluster, TASK_S)
        for at, id_ in running:
            if id_ != slow:
                cluster.feed(cluster.end(at, id_))


def pass_time(cluster, seconds, bytes_in=None):
    """Nodes give signs of life; ``bytes_in`` says how far attempts are by then."""
    for _ in range(round(seconds * 4)):
        cluster.now_s += 0.25
        for at, node in list(cluster.nodes.items()):
            told = [Running(id_, 0, (bytes_in or {}).get(id_, 0)) for id_ in node.running]
            cluster.feed(StillRunning(at, tuple(told)))
        cluster.tick(0.0, signs=False)


def backups_of(cluster):
    """(node, attempt) of those begun as backups."""
    by_task, found = {}, []
    for start in cluster.all_starts:
        if (start.attempt.phase, start.attempt.task) in by_task:
            found.append((start.node, start.attempt))
        by_task[start.attempt.phase, start.attempt.task] = start
    return found


def test_a_task_that_lags_is_begun_on_another_node_and_counts_once():
    cluster, slow = tail_of()
    assert not backups_of(cluster)
    pass_time(cluster, 5 * TASK_S)
    [(at, backup)] = backups_of(cluster)
    assert at != A
    assert (backup.task, backup.number) == (slow.task, 1)
    assert not cluster.all_starts[-1].careful
    cluster.take_all()
    cluster.feed(cluster.end(at, backup))
    assert [(stop.node, stop.attempt) for stop in cluster.stops] == [(A, slow)]
    cluster.settle()
    cluster.check_result()  # its counters, too


def test_the_first_attempt_may_win_and_the_backup_is_stopped():
    cluster, slow = tail_of()
    pass_time(cluster, 5 * TASK_S)
    [(at, backup)] = backups_of(cluster)
    cluster.take_all()
    late = cluster.end(at, backup)  # it ends before the stop gets there
    cluster.feed(cluster.end(A, slow))
    assert [(stop.node, stop.attempt) for stop in cluster.stops] == [(at, backup)]
    assert cluster.scheduler.ledger.maps[slow.task].winner == slow
    assert not any(isinstance(effect, Stop) for effect in cluster.feed(late))
    assert cluster.scheduler.ledger.maps[slow.task].winner == slow
    cluster.settle()
    cluster.check_result()


def test_tasks_that_take_their_usual_time_have_no_backup():
    cluster, slow = tail_of()
    begun = cluster.now_s - cluster.scheduler.attempts[slow].since_s
    assert begun < TASK_S * 2
    pass_time(cluster, TASK_S)
    assert not backups_of(cluster)


def test_there_is_no_backup_while_a_task_waits():
    cluster = cluster_of(job(*map(lines, range(40))))
    cluster.join(A, B, slots=1)
    cluster.take_all()
    for _ in range(12):  # B works on, A does not
        pass_time(cluster, TASK_S)
        for at, id_ in cluster.running():
            if at == B:
                cluster.feed(cluster.end(at, id_))
        cluster.take_all()
    assert cluster.scheduler.map_queue
    assert not backups_of(cluster)


def test_a_task_that_waits_for_another_node_is_no_reason_to_leave_a_slot_idle():
    cluster = cluster_of(job(*map(items, range(3))))
    cluster.join(A, B, slots=1)
    cluster.take_all()
    [(a, slow)] = [(at, id_) for at, id_ in cluster.running() if at == A]
    [(b, other)] = [(at, id_) for at, id_ in cluster.running() if at == B]
    pass_time(cluster, TASK_S)
    cluster.feed(cluster.end(b, other))
    cluster.take_all()
    cluster.end_one("map", 2, died())  # at B, so it waits for A, which is busy
    assert [task.index for task in cluster.scheduler.map_queue] == [2]
    pass_time(cluster, 5 * TASK_S)
    [(at, backup)] = backups_of(cluster)
    assert (at, backup.task) == (B, slow.task)
    cluster.take_all()
    cluster.feed(cluster.end(B, backup))  # which frees A
    assert cluster.all_starts[-1].node == a
    cluster.settle()
    cluster.check_result()


def test_one_that_lags_is_known_by_its_progress_long_before_its_time_is_up():
    cluster, slow = tail_of()
    already_s = cluster.now_s - cluster.scheduler.attempts[slow].since_s
    pass_time(cluster, 0.5, {slow: 10})  # a tenth of its 100 bytes
    assert already_s + 0.5 < 2 * TASK_S
    assert len(backups_of(cluster)) == 1


def test_one_that_is_nearly_done_is_left_alone():
    cluster, slow = tail_of()
    pass_time(cluster, 6 * TASK_S, {slow: 1})
    assert len(backups_of(cluster)) == 1
    cluster, slow = tail_of()
    for moved in range(30):  # late, but with little left, and it moves
        pass_time(cluster, 0.25, {slow: 80 + moved // 2})
    assert not backups_of(cluster)


def test_one_that_stands_still_near_its_end_is_begun_again():
    cluster, slow = tail_of()
    pass_time(cluster, 10 * TASK_S, {slow: 99})
    assert len(backups_of(cluster)) == 1


def test_a_large_task_may_take_longer():
    """A reduce task of ten times the bytes is expected to take ten times as long."""
    cluster, slow = tail_of()
    attempt = cluster.scheduler.attempts[slow]
    attempt.size_bytes *= 10
    pass_time(cluster, 8 * TASK_S)
    assert not backups_of(cluster)


def test_a_job_of_one_task_has_a_backup_only_when_half_its_time_is_over():
    cluster = cluster_of(job(lines(0)), timeout_s=100.0)
    cluster.join(A, B)
    cluster.take_all()
    pass_time(cluster, 49)
    assert not backups_of(cluster)
    pass_time(cluster, 2)
    [(at, backup)] = backups_of(cluster)
    cluster.take_all()
    cluster.feed(cluster.end(at, backup))
    assert len(cluster.stops) == 1
    cluster.check_result()


def test_the_time_is_that_of_the_job_where_it_says_so():
    rules = TaskRules(timeout_s=10.0)
    cluster = cluster_of(msgspec.structs.replace(job(lines(0)), rules=rules), timeout_s=100.0)
    cluster.join(A, B)
    cluster.take_all()
    pass_time(cluster, 6)
    assert len(backups_of(cluster)) == 1


@pytest.mark.parametrize(
    ("setting", "rule", "expected"),
    [(False, None, 0), (True, False, 0), (False, True, 1), (True, None, 1)],
)
def test_backups_can_be_switched_off_and_on(setting, rule, expected):
    spec = msgspec.structs.replace(job(lines(0)), rules=TaskRules(backups=rule))
    cluster = cluster_of(spec, backups=setting, timeout_s=4.0)
    cluster.join(A, B)
    cluster.take_all()
    pass_time(cluster, 10)
    assert len(backups_of(cluster)) == expected


def test_there_is_none_on_the_same_node():
    cluster, _ = tail_of(nodes=(A,))
    pass_time(cluster, 20 * TASK_S)
    assert not backups_of(cluster)


def test_there_is_none_where_the_task_has_failed_or_the_input_is_not_seen():
    spec = job(*map(lines, range(3)), readers=(A.address,))
    cluster = cluster_of(spec)
    cluster.join(A, B, slots=2)
    cluster.take_all()
    pass_time(cluster, 20 * TASK_S)
    assert not backups_of(cluster)
    cluster, slow = tail_of(nodes=(A, B))
    cluster.feed(cluster.end(A, slow, died()))
    cluster.take_all()
    pass_time(cluster, 20 * TASK_S)
    starts = [start.node for start in cluster.all_starts if start.attempt.task == slow.task]
    assert starts == [A, B]


def test_a_slow_node_runs_no_backups():
    cluster, _ = tail_of(nodes=(A, B))
    cluster.scheduler.nodes.get(B).lag = 3.0
    pass_time(cluster, 20 * TASK_S)
    assert not backups_of(cluster)


def test_a_node_that_takes_longer_than_others_is_noticed():
    cluster, slow = tail_of()
    pass_time(cluster, 10 * TASK_S)
    cluster.feed(cluster.end(A, slow))
    lags = {node.member: node.lag for node in cluster.scheduler.nodes}
    assert lags[A] > 2.0
    assert lags[B] == lags[C] == 1.0


def test_a_slow_node_is_given_tasks_last_and_none_to_wait_there():
    cluster = cluster_of(job(*map(lines, range(30))))
    cluster.join(A, B, C, slots=1)
    cluster.scheduler.nodes.get(A).lag = 99.0
    for _ in range(2):
        cluster.take_all()
        cluster.now_s += 1
        for at, id_ in cluster.running():
            cluster.feed(cluster.end(at, id_))
    assert len(cluster.scheduler.map_queue) > 3
    on_nodes = {node.member: len(node.attempts) for node in cluster.scheduler.nodes}
    assert on_nodes == {A: 1, B: 2, C: 2}


def test_two_brisk_tasks_wait_for_each_slot_until_one_takes_long():
    cluster = cluster_of(job(*map(lines, range(40))))
    cluster.join(A, slots=2)
    node = cluster.scheduler.nodes.get(A)
    assert len(node.attempts) == 2 + 1
    cluster.take_all()
    cluster.feed(cluster.end(*cluster.running()[0]))
    assert len(node.attempts) == 2 + 4
    cluster.take_all()
    cluster.now_s += 10
    for left in (5, 4, 3, 3):
        cluster.feed(cluster.end(*cluster.running()[0]))
        assert len(node.attempts) == left
        cluster.now_s += 10
    cluster.settle()
    cluster.check_result()


def test_no_brisk_task_waits_where_tasks_are_few():
    cluster = cluster_of(job(*map(lines, range(8))))
    cluster.join(A, B, slots=1)
    for _ in range(3):
        cluster.take_all()
        cluster.feed(cluster.end(*cluster.running()[0]))
    assert cluster.scheduler.nodes.brisk
    assert len(cluster.scheduler.map_queue) == 2  # for whoever is free first


@pytest.mark.parametrize("backups", [True, False])
def test_what_waits_behind_a_slot_goes_to_a_node_that_is_idle(backups):
    cluster = cluster_of(job(*map(lines, range(3))), backups=backups)
    cluster.join(A, slots=1)  # so that one task waits behind another
    cluster.take_all()
    waiting = cluster.all_starts[1].attempt
    assert [start.node for start in cluster.all_starts] == [A, A]
    cluster.join(B, C, slots=1)
    cluster.take_all()
    assert len(cluster.all_starts) == 3  # not at once
    pass_time(cluster, 1.5)
    assert [(stop.node, stop.attempt) for stop in cluster.stops] == [(A, waiting)]
    [moved] = [start for start in cluster.all_starts if start.node == C]
    assert (moved.attempt.task, moved.attempt.number, moved.careful) == (waiting.task, 1, False)
    pass_time(cluster, 60.0)
    cluster.settle()
    cluster.check_result()


def test_there_are_not_many_at_a_time():
    nodes = [member(port) for port in range(1, 9)]
    cluster = cluster_of(job(*map(items, range(9))))
    cluster.join(*nodes, slots=2)
    cluster.take_all()
    at, first = cluster.running()[0]
    pass_time(cluster, 1.0)
    cluster.feed(cluster.end(at, first))
    pass_time(cluster, 60.0)
    assert len(backups_of(cluster)) == backups_max(16) == 4
    assert {at for at, _ in backups_of(cluster)}.isdisjoint({None})


def test_when_one_of_the_two_dies_the_other_goes_on():
    for which in (0, 1):
        cluster, slow = tail_of()
        pass_time(cluster, 5 * TASK_S)
        cluster.take_all()
        both = [(A, slow), *backups_of(cluster)]
        at, id_ = both[which]
        cluster.feed(cluster.end(at, id_, died()))
        assert both[1 - which][1] in cluster.scheduler.attempts
        assert cluster.scheduler.ledger.maps[slow.task].endings[0].attempt == id_
        cluster.settle()
        cluster.check_result()


def test_a_backup_that_is_lost_with_its_node_is_begun_again_elsewhere():
    cluster, slow = tail_of()
    pass_time(cluster, 5 * TASK_S)
    [(first_at, _)] = backups_of(cluster)
    cluster.take_all()
    cluster.crash(first_at)
    pass_time(cluster, 1.0)
    again = [(at, id_) for at, id_ in backups_of(cluster) if id_.task == slow.task][-1]
    assert again[0] not in (A, first_at)
    assert again[1] == AttemptId("job", "map", slow.task, 2)


def test_a_backup_that_fails_for_good_fails_the_job():
    cluster, _ = tail_of()
    pass_time(cluster, 5 * TASK_S)
    cluster.take_all()
    [(at, backup)] = backups_of(cluster)
    cluster.feed(cluster.end(at, backup, raised()))
    assert isinstance(cluster.ending, Fail)
    assert not cluster.scheduler.attempts


def attempts_at(cluster, attempt):
    """How often the attempt's task was begun."""
    tasks = [(start.attempt.phase, start.attempt.task) for start in cluster.all_starts]
    return tasks.count((attempt.phase, attempt.task))


def lagging_reduce():
    """A job whose reduce tasks are done but for one, which runs on A."""
    cluster = cluster_of(job(*map(lines, range(4))))
    cluster.join(A, B, C, slots=2)
    cluster.settle("reduce")
    while True:
        cluster.take_all()
        running = cluster.running()
        slow = next(id_ for at, id_ in running if at == A)
        if len(running) == 1:
            return cluster, slow
        pass_time(cluster, TASK_S)
        for at, id_ in running:
            if id_ != slow:
                cluster.feed(cluster.end(at, id_))


def test_a_reduce_task_has_no_backup_until_map_outputs_made_again_are_written():
    cluster, slow = lagging_reduce()
    cluster.writes_at_once = False
    cluster.crash(C)
    while cluster.scheduler.ledger.maps_missing:
        cluster.take_all()
        for at, id_ in cluster.running():
            if id_.phase == "map":
                cluster.feed(cluster.end(at, id_))
    pass_time(cluster, 20 * TASK_S)
    assert attempts_at(cluster, slow) == 1
    cluster.write()
    pass_time(cluster, TASK_S)
    assert attempts_at(cluster, slow) == 2


def test_reduce_tasks_have_backups_too():
    cluster, slow = lagging_reduce()
    pass_time(cluster, 20 * TASK_S)
    [(at, backup)] = backups_of(cluster)
    assert (backup.phase, backup.task) == ("reduce", slow.task)
    cluster.take_all()
    cluster.feed(cluster.end(at, backup))
    cluster.check_result()
