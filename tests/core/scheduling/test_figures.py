"""What a job has cost: of the tasks that count, each once, whoever was its master."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scheduling_fakes import FakeCluster, items, job, member, scheduler_of, sizes_of

from map_reduce.core.messages import (
    BlockItems,
    BlockRef,
    Counts,
    MapOutput,
    OutputPart,
    ReduceOutput,
    Spread,
)
from map_reduce.core.scheduling.figures import figures_of, spread


def counts(task):
    """Of which no two tasks have the same."""
    wall_s = 1.0 + task
    return Counts(10, 100 + task, 0, 0, 2.0**-task, wall_s, wall_s / 2, wall_s / 4, 1000 * task)


def cluster_of(splits, *nodes):
    cluster = FakeCluster(scheduler_of(job(*splits)))
    cluster.join(*nodes)
    return cluster


def end_map(cluster, task):
    at, attempt = [(at, id_) for at, id_ in cluster.running() if id_.task == task][-1]
    partitions = cluster.scheduler.ledger.partitions
    name = f"{task}-{attempt.epoch}.{attempt.number}"
    cluster.nodes[at].outputs[name] = task
    made = MapOutput(name, sizes_of(task, partitions), counts(task))
    cluster.feed(cluster.end(at, attempt, made))


def figures(cluster):
    scheduler = cluster.scheduler
    return figures_of(scheduler.spec, scheduler.ledger, scheduler.nodes)


def test_sums_are_of_the_tasks_that_count_and_the_end_has_them():
    cluster = cluster_of(map(items, range(4)), member(1), member(2))
    cluster.take_all()
    for task in range(4):
        end_map(cluster, task)
    cluster.settle()
    found = cluster.scheduler.ending.figures
    assert found == figures(cluster)
    assert found.cpu_s == 1.0 + 0.5 + 0.25 + 0.125
    assert found.watched_s == pytest.approx(2 * found.in_user_code_s) == 5.0
    assert found.input_bytes == 4 * 100 + 6
    assert found.spilled_bytes == 6000
    partitions = cluster.scheduler.ledger.partitions
    written = [sizes_of(task, partitions) for task in range(4)]
    assert found.shuffled_bytes == sum(map(sum, written)) == found.reduce_bytes.total
    assert found.partition_bytes == spread(map(sum, zip(*written, strict=True)))
    assert found.map_s == Spread(4, 10.0, 3.0, 4.0)
    assert found.reduce_s.count == found.reduce_bytes.count == len(cluster.scheduler.ledger.finals)
    assert (found.nodes, found.slots, found.partitions) == (2, 4, partitions)
    assert (found.attempts, found.repeated) == (4 + found.reduce_s.count, 0)


def test_a_task_that_runs_again_counts_once_and_its_attempts_are_told():
    cluster = cluster_of(map(items, range(4)), member(1), member(2))
    cluster.take_all()
    end_map(cluster, 1)
    victim = next(task.output.node for task in cluster.scheduler.ledger.maps if task.output)
    assert figures(cluster).cpu_s == 0.5
    cluster.crash(victim)
    assert figures(cluster).cpu_s == 0.0
    cluster.settle()
    again = figures(cluster)
    assert again.repeated >= 1
    assert again.attempts == again.repeated + 4 + again.reduce_s.count


def test_the_next_master_knows_the_same_but_for_the_attempts():
    cluster = cluster_of(map(items, range(4)), member(1), member(2))
    cluster.take_all()
    for task in (0, 2, 3):
        end_map(cluster, task)
    cluster.tick()
    before = figures(cluster)
    assert before.map_s.count == 3
    cluster.take_over()
    after = figures(cluster)
    assert after.cpu_s == before.cpu_s
    assert after.map_s == before.map_s
    assert after.partition_bytes == before.partition_bytes
    assert after.attempts < before.attempts


@pytest.mark.parametrize(("name", "stored"), [("job/input/0", 750), ("another/result/0", 50)])
def test_what_lies_in_blocks_of_the_job_counts_as_stored(name, stored):
    whole = BlockItems(BlockRef(name, 700, b""), 10, 0, False)
    cluster = cluster_of([whole], member(1))
    cluster.take_all()
    [(at, attempt)] = cluster.running()
    made = ReduceOutput(OutputPart(3, b"", BlockRef("out", 50, b"")), counts(0))
    cluster.feed(cluster.end(at, attempt, made))
    found = cluster.scheduler.ending.figures
    assert found.stored_bytes == stored
    assert found.split_bytes == Spread(1, 700.0, 700.0, 700.0)
    assert found.map_s.count == 1
    assert found.reduce_s.count == found.shuffled_bytes == 0


@given(st.lists(st.integers(0, 10**12)))
def test_spread(values):
    found = spread(values)
    assert (found.count, found.total) == (len(values), sum(values))
    if values:
        assert found.largest == max(values)
        assert sum(value < found.median for value in values) <= len(values) / 2
        assert sum(value > found.median for value in values) <= len(values) / 2
