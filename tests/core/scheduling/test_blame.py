"""Failures of attempts: when it is tried again, when a record is left out, when it is enough."""

import msgspec
import pytest
from scheduling_fakes import (
    FakeCluster,
    died,
    failed_at,
    items,
    job,
    member,
    raised,
    scheduler_of,
    sizes_of,
)

from map_reduce.core.messages import (
    BadRecord,
    Counts,
    Failed,
    Failure,
    MapOutput,
    OutputPart,
    ReduceOutput,
    Skipping,
    Tally,
    TaskRules,
)
from map_reduce.core.scheduling.blame import KNOWN_BAD_MAX
from map_reduce.core.scheduling.effects import Fail, Finish

A, B, C = member(1), member(2), member(3)
ANY = TaskRules(skips=True, skips_share_max=1.0)


def cluster_of(splits=3, rules=None, nodes=(A, B, C), **settings):
    spec = msgspec.structs.replace(job(*map(items, range(splits))), rules=rules or TaskRules())
    cluster = FakeCluster(scheduler_of(spec, **settings))
    cluster.join(*nodes)
    cluster.take_all()
    return cluster


def fail(cluster, outcome, task=0, phase="map"):
    cluster.end_one(phase, task, outcome)
    cluster.take_all()


def starts_of(cluster, task=0, phase="map"):
    return [s for s in cluster.all_starts if (s.attempt.phase, s.attempt.task) == (phase, task)]


def failure_of(cluster):
    assert isinstance(cluster.ending, Fail), cluster.ending
    return cluster.ending.failure


def timeout(suspect=None):
    return Failed(Failure("TaskTimeoutError", "too long"), retry=True, suspect=suspect)


# ------------------------------------------------------------------ bad records fail the job


def test_an_exception_is_tried_again_once_elsewhere_with_care():
    cluster = cluster_of()
    fail(cluster, failed_at("map", 7))
    first, second = starts_of(cluster)
    assert first.node != second.node
    assert (first.careful, second.careful) == (False, True)
    assert second.skipping is None
    cluster.settle()
    cluster.check_result()


def test_the_same_exception_at_the_same_record_fails_the_job():
    cluster = cluster_of(attempts_max=10)
    fail(cluster, failed_at("map", 7))
    first = starts_of(cluster)[0]
    fail(cluster, failed_at("map", 7))
    failure = failure_of(cluster)
    assert failure.kind == "MapError"
    assert failure.message.splitlines() == [
        "at record 7: ValueError",
        f"The same has happened in attempt 1 on {first.node}, so it was not tried again.",
    ]


@pytest.mark.parametrize(
    "other", [failed_at("map", 8), failed_at("map", 7, "KeyError"), failed_at("reduce", 7), died()]
)
def test_what_is_not_the_same_is_tried_up_to_the_limit(other):
    cluster = cluster_of(attempts_max=3)
    fail(cluster, failed_at("map", 7))
    fail(cluster, other)
    assert cluster.ending is None
    fail(cluster, failed_at("map", 9))
    assert "the last of 3 failed attempts" in failure_of(cluster).message


def test_what_may_pass_is_tried_up_to_the_limit_at_the_same_record():
    cluster = cluster_of(attempts_max=3)
    fail(cluster, failed_at("map", 7, ""))
    fail(cluster, failed_at("map", 7, ""))
    assert cluster.ending is None
    fail(cluster, failed_at("map", 7, ""))
    assert "the last of 3 failed attempts" in failure_of(cluster).message


def test_out_of_time_is_tried_once_more():
    cluster = cluster_of(attempts_max=10)
    fail(cluster, timeout())
    assert cluster.ending is None
    fail(cluster, timeout())
    assert "The same has happened in attempt 1" in failure_of(cluster).message


def test_what_is_certain_fails_at_once():
    cluster = cluster_of(rules=ANY)
    fail(cluster, raised())
    assert failure_of(cluster).message == "map raised ValueError"


# ------------------------------------------------------------------ bad records are left out


def test_a_record_that_surely_killed_its_process_is_left_out_by_the_next_attempt():
    cluster = cluster_of(rules=ANY)
    fail(cluster, died())
    killer = failed_at("map", 7, "WorkerDiedError", sure=True)
    fail(cluster, killer)
    last = starts_of(cluster)[-1]
    assert last.careful
    assert last.skipping == Skipping(-1, (killer.suspect,))
    cluster.settle()
    cluster.check_result()
    tally = cluster.scheduler.ledger.tally.shown()
    assert (tally.records_skipped, tally.skipped) == (1, (killer.suspect.bad,))


def test_each_of_many_killers_costs_one_attempt():
    cluster = cluster_of(rules=ANY, attempts_max=2)
    fail(cluster, died())
    for position in range(50):
        fail(cluster, failed_at("map", position, "WorkerDiedError", sure=True))
    assert len(starts_of(cluster)) == 52
    cluster.settle()
    assert cluster.scheduler.ledger.tally.records_skipped == 50


def test_too_many_killers_of_one_task_are_enough():
    cluster = cluster_of(rules=ANY)
    for position in range(KNOWN_BAD_MAX):
        fail(cluster, failed_at("map", position, sure=True))
    assert cluster.ending is None
    fail(cluster, failed_at("map", KNOWN_BAD_MAX, sure=True))
    assert "101 records of one task have each ended an attempt" in failure_of(cluster).message


@pytest.mark.parametrize("cause", ["", "WorkerDiedError"])
def test_a_record_that_may_be_innocent_is_left_out_the_second_time(cause):
    cluster = cluster_of(rules=ANY)
    fail(cluster, failed_at("map", 7, cause))
    assert starts_of(cluster)[-1].skipping == Skipping()
    fail(cluster, failed_at("map", 7, cause))
    assert [known.position for known in starts_of(cluster)[-1].skipping.known] == [7]


def test_a_record_that_ends_an_attempt_and_its_backup_counts_once():
    cluster = cluster_of(splits=1, rules=TaskRules(True, 1), timeout_s=10.0)
    for _ in range(6):
        cluster.tick(1.0)
    cluster.take_all()
    assert len(starts_of(cluster, phase="whole")) == 2
    for _ in range(2):
        cluster.end_one("whole", 0, failed_at("map", 3, sure=True))
    cluster.take_all()
    assert cluster.ending is None
    assert [known.position for known in cluster.all_starts[-1].skipping.known] == [3]
    cluster.settle()
    assert cluster.scheduler.ledger.tally.records_skipped == 1


def test_failures_are_forgotten_once_a_record_is_found():
    cluster = cluster_of(rules=ANY, attempts_max=3)
    for position in range(10):
        fail(cluster, failed_at("map", position, ""))
        fail(cluster, failed_at("map", position, ""))
    assert cluster.ending is None
    cluster.settle()
    assert cluster.scheduler.ledger.tally.records_skipped == 10


def test_failures_at_no_record_are_bounded_as_ever():
    cluster = cluster_of(rules=ANY, attempts_max=3)
    for _ in range(3):
        fail(cluster, died())
    assert failure_of(cluster).kind == "WorkerDiedError"
    cluster = cluster_of(rules=ANY)
    fail(cluster, failed_at("combine", -1))
    fail(cluster, failed_at("combine", -1))
    assert "The same has happened" in failure_of(cluster).message
    cluster = cluster_of(rules=ANY)
    fail(cluster, timeout())
    fail(cluster, timeout())
    assert failure_of(cluster).kind == "TaskTimeoutError"


def test_a_record_that_takes_too_long_is_left_out():
    cluster = cluster_of(rules=ANY)
    fail(cluster, timeout())
    fail(cluster, timeout(failed_at("map", 3, sure=True).suspect))
    assert [known.position for known in starts_of(cluster)[-1].skipping.known] == [3]
    cluster.settle()
    cluster.check_result()


# ------------------------------------------------------------------ limits


def bad(count, first=0):
    return tuple(BadRecord(f"record {n}", "", "ValueError") for n in range(first, first + count))


def end_map(cluster, task, skipped):
    partitions = cluster.scheduler.ledger.partitions
    tally = Tally(records_skipped=skipped, skipped=bad(skipped, 100 * task))
    made = MapOutput(f"{task}-0", sizes_of(task, partitions), Counts(10), tally)
    cluster.end_one("map", task, made)
    cluster.take_all()


def test_attempts_are_told_how_many_may_still_be_left_out():
    cluster = cluster_of(splits=8, rules=TaskRules(True, 5), nodes=(A,))
    assert {start.skipping for start in cluster.all_starts} == {Skipping(5)}
    end_map(cluster, 0, 3)
    assert cluster.all_starts[-1].skipping == Skipping(2)


def test_up_to_so_many_in_all_tasks():
    for second, ends in ((2, False), (3, True)):
        cluster = cluster_of(rules=TaskRules(True, 5))
        end_map(cluster, 0, 3)
        end_map(cluster, 1, second)
        assert (cluster.ending is not None) == ends
    assert failure_of(cluster).kind == "BadRecordsError"
    assert failure_of(cluster).message.splitlines() == [
        "6 records and keys cannot be processed, and at most 5 may be left out (on_bad_record). "
        "The first ones:",
        *(f"  record {n}: ValueError" for n in (0, 1, 2, 100, 101)),
    ]


def test_killers_count_too():
    cluster = cluster_of(rules=TaskRules(True, 3))
    end_map(cluster, 1, 2)
    fail(cluster, failed_at("map", 7, sure=True))
    assert cluster.ending is None
    fail(cluster, failed_at("map", 8, sure=True))
    assert "4 records and keys cannot" in failure_of(cluster).message
    assert "record 8: '8'" not in failure_of(cluster).message.splitlines()[0]
    assert "  record 7: 7: ValueError" in failure_of(cluster).message.splitlines()


def test_an_attempt_that_leaves_out_too_much_tells_of_other_tasks_too():
    cluster = cluster_of(rules=TaskRules(True, 3))
    end_map(cluster, 1, 1)
    fail(cluster, Failed(Failure("BadRecordsError", "more than may be"), retry=False))
    told = failure_of(cluster).message
    assert told.startswith("more than may be\nLeft out in other tasks before")
    assert "  record 100: ValueError" in told


def test_a_share_is_told_when_all_is_mapped():
    for skipped, ends in ((3, False), (4, True)):  # of 30
        cluster = cluster_of(rules=TaskRules(True, -1, 0.1))
        end_map(cluster, 0, skipped)
        assert cluster.ending is None
        end_map(cluster, 1, 0)
        end_map(cluster, 2, 0)
        assert (cluster.ending is not None) == ends
    assert "4 of 30 records (13.3 %) cannot be processed, and at most 10 % may be left out" in (
        failure_of(cluster).message
    )


def test_a_share_of_keys_is_told_at_the_end():
    for skipped, ends in ((1, Finish), (2, Fail)):
        cluster = cluster_of(splits=1, rules=TaskRules(True, -1, 0.1))
        made = ReduceOutput(OutputPart(10 - skipped, b"", None), Counts(5), Tally((), 0, skipped))
        cluster.end_one("whole", 0, made)
        assert isinstance(cluster.ending, ends)


def test_what_was_left_out_in_an_output_that_is_lost_does_not_count():
    cluster = cluster_of(rules=TaskRules(True, 3), nodes=(A, B))
    end_map(cluster, 0, 2)
    cluster.crash(starts_of(cluster)[0].node)
    cluster.take_all()
    end_map(cluster, 0, 3)
    assert cluster.ending is None
    assert cluster.scheduler.ledger.tally.records_skipped == 3
