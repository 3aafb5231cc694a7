"""Ints that were added up, and for which a reduce task has no use: the maps run once more."""

from scheduling_fakes import FakeCluster, items, job, member, scheduler_of

from map_reduce.core.messages import Failed, Failure
from map_reduce.core.scheduling.effects import Fail
from map_reduce.core.scheduling.states import TaskState

A, B, C = member(1), member(2), member(3)
SPLITS = 12
ADDED = [task for task in range(SPLITS) if task % 3]
"""Those that the fakes add up where they may."""


def reducing(*members, **settings):
    """A cluster whose maps have added up, and whose reduce tasks run."""
    cluster = FakeCluster(scheduler_of(job(*map(items, range(SPLITS))), **settings))
    cluster.mixed = True
    cluster.join(*members, slots=4)
    cluster.settle("reduce")
    cluster.take_all()
    assert {start.work.adds for start in maps_of(cluster)} == {True}
    return cluster


def maps_of(cluster):
    return [start for start in cluster.all_starts if start.attempt.phase == "map"]


def again(cluster):
    """The tasks of maps that are told not to add, in the order in which they are begun."""
    return [start.attempt.task for start in maps_of(cluster) if not start.work.adds]


def end_reduces(cluster, most=99):
    for at, attempt in cluster.running()[:most]:
        if attempt.phase == "reduce":
            cluster.feed(cluster.end(at, attempt))


def test_what_was_added_up_is_made_again_once_and_nothing_else():
    cluster = reducing(A, B)
    end_reduces(cluster, 1)
    assert cluster.scheduler.ledger.maps_missing == len(ADDED)
    end_reduces(cluster)
    cluster.settle()
    cluster.check_result()
    assert sorted(again(cluster)) == ADDED


def test_no_node_is_at_fault():
    cluster = reducing(A, B)
    end_reduces(cluster)
    ledger = cluster.scheduler.ledger
    assert not any(task.avoid for task in [*ledger.maps, *ledger.finals])
    cluster.settle()
    assert {node.fetches_failed for node in cluster.scheduler.nodes} == {0}


def test_one_node_alone_does_it_as_well():
    cluster = reducing(A)
    cluster.settle()
    cluster.check_result()
    assert sorted(again(cluster)) == ADDED


def test_a_node_that_does_not_tell_what_it_has_added_makes_all_its_outputs_again():
    cluster = reducing(A, B)
    ledger = cluster.scheduler.ledger
    at, attempt = next(one for one in cluster.running() if one[1].phase == "reduce")
    for task in ledger.maps:
        task.output.added = task.output.added and task.output.node != A
    source = next(s for s in cluster.nodes[at].running[attempt].sources if s.node == A.address)
    failed = Failed(Failure("ClusterError", "sums"), True, source, lost_sums=True)
    of_a = sum(task.output.node == A for task in ledger.maps)
    told = sum(task.output.added for task in ledger.maps)
    cluster.feed(cluster.end(at, attempt, failed))
    assert ledger.maps_missing == of_a + told
    cluster.settle()
    cluster.check_result()


def test_a_job_whose_sums_are_never_of_use_names_them():
    cluster = reducing(A, losses_max=0)
    end_reduces(cluster, 1)
    assert isinstance(cluster.ending, Fail)
    assert "had no use for what was added up in" in cluster.ending.failure.message


def test_an_attempt_after_another_that_was_lost_adds_as_the_first_did():
    cluster = FakeCluster(scheduler_of(job(*map(items, range(2)))))
    cluster.join(A, B, slots=1)
    cluster.take_all()
    cluster.crash(A)
    cluster.settle("reduce")
    assert [start.attempt.number for start in maps_of(cluster)] == [0, 0, 1]
    assert all(start.work.adds for start in maps_of(cluster))


def test_an_output_that_is_added_up_by_an_order_of_before_does_not_count():
    cluster = reducing(A, B)
    cluster.crash(B)
    cluster.join(C, slots=4)
    cluster.take_all()
    task = next(id_.task for _, id_ in cluster.running() if id_.phase == "map" and id_.task % 3)
    at, attempt = next(one for one in cluster.running() if one[1].phase == "reduce")
    source = next(s for s in cluster.nodes[at].running[attempt].sources if s.node == A.address)
    failed = Failed(Failure("ClusterError", "sums"), True, source, lost_sums=True)
    cluster.feed(cluster.end(at, attempt, failed))
    cluster.end_one("map", task)
    assert cluster.scheduler.ledger.maps[task].state is not TaskState.COMMITTED
    cluster.settle()
    cluster.check_result()
    assert task in again(cluster)


def test_the_maps_wait_until_the_ledger_has_it():
    cluster = reducing(A, B)
    cluster.writes_at_once = False
    end_reduces(cluster)
    assert not again(cluster)
    assert [batch.adds for batch in cluster.batches] == [False]
    cluster.write()
    assert again(cluster)


def test_the_next_master_goes_on_with_what_was_made_again():
    for done in range(len(ADDED) + 1):
        cluster = reducing(A, B, C)
        end_reduces(cluster)
        cluster.take_all()
        for at, attempt in cluster.running()[:done]:
            cluster.feed(cluster.end(at, attempt))
        cluster.take_over()
        cluster.settle()
        cluster.check_result()
        assert sorted(again(cluster)) == ADDED, f"{done} were done"


def test_a_master_that_dies_before_it_is_written_has_told_nobody():
    cluster = reducing(A, B)
    cluster.writes_at_once = False
    end_reduces(cluster)
    cluster.writes_at_once = True
    cluster.take_over()
    assert cluster.scheduler.ledger.adds
    cluster.settle()
    cluster.check_result()
    assert sorted(again(cluster)) == ADDED
