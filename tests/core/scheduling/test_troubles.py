"""What failed attempts have taught, and the master that did not see them."""

import msgspec
import pytest
from scheduling_fakes import FakeCluster, died, failed_at, items, job, member, scheduler_of

from map_reduce.core.jobs.state import TROUBLES_BYTES_MAX, Shard
from map_reduce.core.messages import TaskRules
from map_reduce.core.scheduling.commits import GATHER_S
from map_reduce.core.scheduling.effects import Fail, Finish
from map_reduce.core.scheduling.events import AttemptEnded

A, B, C = member(1), member(2), member(3)
ANY = TaskRules(skips=True, skips_share_max=1.0)


def cluster_of(splits=3, rules=None, slots=2, **settings):
    spec = msgspec.structs.replace(job(*map(items, range(splits))), rules=rules or TaskRules())
    cluster = FakeCluster(scheduler_of(spec, **settings))
    cluster.join(A, B, C, slots=slots)
    cluster.take_all()
    return cluster


def fail(cluster, outcome, task=0, phase="map"):
    cluster.end_one(phase, task, outcome)
    cluster.take_all()


def write_all(cluster):
    cluster.tick(GATHER_S)
    cluster.take_all()


def starts_of(cluster, task=0):
    return [start for start in cluster.all_starts if start.attempt.task == task]


@pytest.mark.parametrize("splits", [1, 3])
def test_a_failure_before_the_takeover_counts_after_it(splits):
    cluster = cluster_of(splits, attempts_max=10)
    phase = "map" if splits > 1 else "whole"
    fail(cluster, failed_at("map", 7), phase=phase)
    write_all(cluster)
    cluster.take_over()
    fail(cluster, failed_at("map", 7), phase=phase)
    assert isinstance(cluster.ending, Fail)
    assert "The same has happened in attempt 1 on" in cluster.ending.failure.message


def test_what_was_not_written_is_found_out_once_more():
    cluster = cluster_of(attempts_max=10)
    fail(cluster, failed_at("map", 7))
    for node in cluster.nodes.values():
        node.kept.clear()  # failures are not told twice
    cluster.take_over()
    fail(cluster, failed_at("map", 7))
    assert cluster.ending is None
    fail(cluster, failed_at("map", 7))
    assert isinstance(cluster.ending, Fail)


def test_the_next_master_is_as_careful_and_keeps_away_from_the_same_nodes():
    cluster = cluster_of(attempts_max=10)
    where = starts_of(cluster)[0].node
    fail(cluster, died())
    write_all(cluster)
    at, attempt = next(one for one in cluster.running() if one[1].task == 0)
    cluster.crash(at, noticed=False)
    cluster.take_over()
    last = starts_of(cluster)[-1]
    assert last.careful
    assert last.node not in (where, at)
    assert last.attempt.epoch == attempt.epoch + 1


def test_a_record_that_kills_its_worker_is_left_out_by_the_next_master_too():
    cluster = cluster_of(rules=ANY)
    fail(cluster, failed_at("map", 7, "SIGSEGV", sure=True))
    write_all(cluster)
    at, _ = next(one for one in cluster.running() if one[1].task == 0)
    cluster.crash(at)
    cluster.take_over()
    (known,) = starts_of(cluster)[-1].skipping.known
    assert known.position == 7


def test_it_is_known_also_where_the_task_was_done_and_its_output_is_lost():
    cluster = cluster_of(rules=ANY)
    fail(cluster, failed_at("map", 7, "SIGSEGV", sure=True))
    at, attempt = next(one for one in cluster.running() if one[1].task == 0)
    cluster.feed(cluster.end(at, attempt))
    write_all(cluster)
    cluster.crash(at)
    cluster.take_over()
    (known,) = starts_of(cluster)[-1].skipping.known
    assert known.position == 7


def test_a_failure_that_is_reported_to_both_masters_counts_once():
    cluster = cluster_of(attempts_max=10)
    at, attempt = next(one for one in cluster.running() if one[1].task == 0)
    work = cluster.nodes[at].running[attempt]
    fail(cluster, failed_at("map", 7))
    write_all(cluster)
    cluster.nodes[at].running[attempt] = work  # the answer to its report was lost: it tells again
    cluster.take_over()
    cluster.feed(AttemptEnded(attempt, at, failed_at("map", 7)))
    assert cluster.ending is None
    assert len(cluster.scheduler.ledger.maps[0].endings) == 1
    cluster.take_all()
    cluster.settle()
    assert isinstance(cluster.ending, Finish)
    cluster.check_result()


def test_they_keep_nobody_waiting():
    cluster = cluster_of(2)
    cluster.writes_at_once = False
    fail(cluster, died())
    for at, attempt in list(cluster.running()):
        cluster.feed(cluster.end(at, attempt))
    (batch,) = cluster.batches
    assert set(batch.map_tasks) == {0, 1}, "one batch has all of it, at once"
    assert [trouble.task for _, shard in batch.shards for trouble in shard.troubles] == [0]


def test_a_shard_stays_small_whatever_fails():
    cluster = cluster_of(200, rules=ANY, slots=100, attempts_max=10)
    long = failed_at("map", 7, "ValueError")
    bad = msgspec.structs.replace(long.suspect.bad, record="x" * 1000)
    long = msgspec.structs.replace(long, suspect=msgspec.structs.replace(long.suspect, bad=bad))
    for task in range(200):
        fail(cluster, long, task)
    write_all(cluster)
    shards = [shard for batch in cluster.all_batches for _, shard in batch.shards]
    assert max(len(shard.troubles) for shard in shards) > 20
    assert max(len(shard.encode()) for shard in shards) < 1.5 * TROUBLES_BYTES_MAX
    assert all(Shard.decode(shard.encode()) == shard for shard in shards)
