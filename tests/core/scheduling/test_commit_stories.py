"""What the scheduler writes to the ledger and when, and how another goes on from there."""

from scheduling_fakes import FakeCluster, items, job, member, raised, scheduler_of

from map_reduce.core.messages import AttemptId, MapWork, ReduceWork
from map_reduce.core.scheduling.commits import GATHER_S, GATHERED_MAX
from map_reduce.core.scheduling.effects import Fail, Finish
from map_reduce.core.scheduling.events import AttemptEnded, Cancel, Committed

A, B, C = member(1), member(2), member(3)


def of_items(count, *members, slots=2, **settings):
    cluster = FakeCluster(scheduler_of(job(*map(items, range(count))), **settings))
    cluster.join(*members, slots=slots)
    return cluster


def slow_ledger(*args, **settings):
    """A cluster whose batches wait for the test to write them."""
    cluster = of_items(*args, **settings)
    cluster.writes_at_once = False
    return cluster


def starts_of(cluster, kind):
    return [start for start in cluster.all_starts if isinstance(start.work, kind)]


def run_all(cluster):
    """Everything that has been started ends well."""
    cluster.take_all()
    for at, attempt in cluster.running():
        cluster.feed(cluster.end(at, attempt))


# ------------------------------------------------------------------ what is written when


def test_a_job_of_one_task_is_written_once_and_told_afterwards():
    cluster = slow_ledger(1, A)
    run_all(cluster)
    assert cluster.ending is None
    assert cluster.scheduler.progress(0.0).phase == "map", "to others it still runs"
    (batch,) = cluster.batches
    assert batch.shards == ()
    cluster.write()
    assert cluster.ending == Finish(batch.ending.parts)
    assert cluster.scheduler.progress(0.0).phase == "done"


def test_reduce_tasks_wait_for_the_ledger_and_map_tasks_do_not():
    cluster = slow_ledger(12, A)
    while cluster.scheduler.ledger.maps_missing:
        run_all(cluster)
    assert len(starts_of(cluster, MapWork)) == 12
    run_all(cluster)
    assert starts_of(cluster, ReduceWork) == []
    (batch,) = cluster.batches
    assert set(batch.map_tasks) == set(range(12))
    assert batch.cuts == cluster.scheduler.ledger.cuts
    cluster.write()
    assert len(starts_of(cluster, ReduceWork)) == 2


def test_a_failure_is_told_once_it_is_written():
    cluster = slow_ledger(3, A)
    cluster.take_all()
    cluster.end_one("map", 1, raised())
    assert cluster.ending is None
    assert len(cluster.stops) == 1
    cluster.write()
    assert isinstance(cluster.ending, Fail)


def test_what_comes_after_the_end_was_decided_changes_nothing():
    cluster = slow_ledger(2, A)
    cluster.take_all()
    (at, attempt), _ = cluster.running()
    late = cluster.end(at, attempt)
    cluster.feed(Cancel("enough"))
    assert cluster.feed(late) == ()
    assert cluster.feed(Cancel("more than enough")) == ()
    cluster.write()
    assert cluster.ending.failure.message == "enough"
    assert cluster.feed(Committed(1)) == ()


def test_wins_gather_for_a_while():
    cluster = of_items(40, A, slots=4)
    run_all(cluster)
    assert cluster.all_batches == []
    cluster.tick(GATHER_S)
    assert [batch.map_tasks for batch in cluster.all_batches] == [(0, 1, 2, 3, 4)]
    run_all(cluster)
    assert len(cluster.all_batches) == 1


def test_many_wins_are_written_without_waiting():
    cluster = of_items(GATHERED_MAX + 10, A, slots=GATHERED_MAX)
    run_all(cluster)
    assert len(cluster.all_batches) == 1
    assert len(cluster.all_batches[0].map_tasks) == GATHERED_MAX


def test_one_batch_is_under_way_at_a_time_and_the_next_gathers():
    cluster = slow_ledger(40, A, slots=4)
    run_all(cluster)
    cluster.tick(GATHER_S)
    run_all(cluster)
    cluster.tick(GATHER_S)
    assert len(cluster.all_batches) == 1
    cluster.write()
    assert len(cluster.all_batches) == 2


def test_a_report_that_a_batch_was_written_counts_once():
    cluster = of_items(12, A)
    while cluster.scheduler.ledger.maps_missing:
        run_all(cluster)
    assert cluster.feed(Committed(1)) == ()
    assert cluster.feed(Committed(99)) == ()
    cluster.settle()
    cluster.check_result()


def test_a_map_output_made_again_is_written_before_reduce_goes_on():
    cluster = of_items(6, A, B)
    cluster.settle("reduce")
    cluster.writes_at_once = False
    cluster.crash(B)
    count = len(starts_of(cluster, ReduceWork))
    while cluster.scheduler.ledger.maps_missing:
        run_all(cluster)
    run_all(cluster)
    assert len(starts_of(cluster, ReduceWork)) == count
    cluster.write()
    assert len(starts_of(cluster, ReduceWork)) > count


def test_a_ledger_that_cannot_be_written_fails_no_job():
    cluster = slow_ledger(3, A)
    while cluster.scheduler.ledger.maps_missing:
        run_all(cluster)
    cluster.wait(200, signs=True)
    assert cluster.ending is None
    cluster.write()
    cluster.writes_at_once = True
    cluster.settle()
    cluster.check_result()


# ------------------------------------------------------------------ another master


def test_what_is_in_the_ledger_is_not_run_again():
    cluster = of_items(12, A, B)
    cluster.settle("reduce")
    maps = len(starts_of(cluster, MapWork))
    for _ in range(3):
        cluster.take_over()
        run_all(cluster)
    cluster.settle()
    cluster.check_result()
    assert len(starts_of(cluster, MapWork)) == maps == 12


def test_what_runs_goes_on_and_counts():
    cluster = of_items(4, A, B)
    cluster.take_all()
    cluster.take_over()
    assert cluster.starts == []
    cluster.settle()
    cluster.check_result()
    assert [start.attempt.number for start in starts_of(cluster, MapWork)] == [0, 0, 0, 0]


def test_what_ended_and_is_not_in_the_ledger_is_reported_again_and_counts():
    cluster = slow_ledger(4, A, B)
    run_all(cluster)
    assert cluster.watch.ledger.maps == {}
    cluster.take_over()
    cluster.writes_at_once = True
    cluster.settle()
    cluster.check_result()
    assert len(starts_of(cluster, MapWork)) == 4


def test_of_two_attempts_at_a_task_the_one_in_the_ledger_counts():
    cluster = of_items(3, A, B, slots=1)
    cluster.take_all()
    first = cluster.running()
    cluster.take_over(deaf=[A, B])  # they run on for the master that was
    cluster.take_all()
    while cluster.scheduler.ledger.maps_missing:
        run_all(cluster)
    for at, attempt in first:
        assert cluster.feed(AttemptEnded(attempt, at, raised())) == ()
    cluster.settle()
    cluster.check_result()


def test_attempts_of_two_masters_have_different_names():
    cluster = of_items(2, A, slots=1)
    cluster.take_all()
    cluster.take_over(deaf=[A])
    ids = [start.attempt for start in cluster.all_starts]
    assert ids == [AttemptId("job", "map", 0, 0, 1), AttemptId("job", "map", 0, 0, 2)]


def test_an_output_that_is_gone_with_its_node_is_made_again():
    cluster = of_items(6, A, B)
    cluster.settle("reduce")
    held = len(cluster.nodes[B].outputs)
    maps = len(starts_of(cluster, MapWork))
    cluster.crash(B, noticed=False)
    cluster.take_over()
    cluster.settle()
    cluster.check_result()
    assert len(starts_of(cluster, MapWork)) == maps + held


def test_an_output_that_its_node_does_not_have_any_more_is_made_again():
    cluster = of_items(6, A, B)
    cluster.settle("reduce")
    maps = len(starts_of(cluster, MapWork))
    (name, *_) = cluster.nodes[A].outputs
    del cluster.nodes[A].outputs[name]
    cluster.take_over()
    cluster.settle()
    cluster.check_result()
    assert len(starts_of(cluster, MapWork)) == maps + 1


def test_the_reduce_tasks_are_cut_once_whatever_slots_the_next_master_sees():
    cluster = of_items(6, A, B)
    cluster.settle("reduce")
    cuts = cluster.watch.ledger.cuts
    cluster.join(C, slots=30)
    cluster.take_over()
    assert cluster.scheduler.ledger.cuts == cuts
    cluster.settle()
    cluster.check_result()


def test_a_node_that_did_not_answer_is_told_to_stop_what_is_done_elsewhere():
    cluster = of_items(2, A, B, slots=1)
    cluster.take_all()
    cluster.take_over(deaf=[B])
    ((_, forgotten),) = [(at, id_) for at, id_ in cluster.running() if at == B]
    cluster.feed(cluster.sign_of(B))
    assert [stop.attempt for stop in cluster.stops] == [forgotten]
    cluster.settle()
    cluster.check_result()


def test_progress_goes_on_from_what_is_in_the_ledger():
    cluster = of_items(12, A, B)
    cluster.settle("reduce")
    before = cluster.scheduler.progress(cluster.now_s)
    cluster.take_over()
    after = cluster.scheduler.progress(cluster.now_s)
    assert (after.phase, after.records) == ("reduce", before.records)
    assert after.map_tasks_done == 12


def test_a_job_without_input_and_one_that_nobody_began_can_be_taken_over():
    for splits in (0, 1, 5):
        cluster = of_items(splits)
        cluster.take_over()
        cluster.join(A)
        cluster.settle()
        cluster.check_result() if splits else None
