"""What the scheduler does, story by story."""

import pytest
from scheduling_fakes import (
    MIB,
    NO_NODE_S_MAX,
    SILENCE_S_MAX,
    FakeCluster,
    died,
    items,
    job,
    lines,
    member,
    raised,
    scheduler_of,
    sizes_of,
    small_files,
)

from map_reduce import errors
from map_reduce.core.messages import (
    Counts,
    Failed,
    Failure,
    MapOutput,
    MapWork,
    OutputPart,
    ReduceOutput,
    ReduceWork,
    Running,
    Tally,
    WholeWork,
)
from map_reduce.core.scheduling.effects import Fail, Finish, Start, Stop
from map_reduce.core.scheduling.events import (
    AttemptEnded,
    AttemptRefused,
    AttemptTaken,
    Cancel,
    NodesKnown,
    NodeSlots,
    StillRunning,
    Tick,
)

A, B, C = member(1), member(2), member(3)


def cluster_of(*splits, readers=(), input_bytes=None, **settings):
    spec = job(*splits, readers=readers, input_bytes=input_bytes)
    return FakeCluster(scheduler_of(spec, **settings))


def of_items(count, **settings):
    return cluster_of(*map(items, range(count)), **settings)


def failure_of(cluster):
    assert isinstance(cluster.ending, Fail)
    failure = cluster.ending.failure
    assert issubclass(getattr(errors, failure.kind), errors.MapReduceError)
    return failure


def starts_on(cluster, at):
    return [start for start in cluster.all_starts if start.node == at]


# ------------------------------------------------------------------ a job's way


def test_a_job_without_input_is_done_at_once():
    cluster = of_items(0)
    assert cluster.feed(Tick()) == (Finish(()),)


def test_a_job_of_one_split_is_one_task():
    cluster = of_items(1)
    cluster.join(A, B)
    assert [start.work for start in cluster.all_starts] == [WholeWork(items(0))]
    cluster.settle()
    assert len(cluster.ending.parts) == 1
    shown = cluster.scheduler.progress(cluster.now_s)
    assert (shown.phase, shown.map_tasks_done, shown.map_tasks_total) == ("done", 1, 1)


def test_splits_are_mapped_then_reduced_from_measured_sizes():
    cluster = of_items(5)
    cluster.join(A, B)
    cluster.settle()
    cluster.check_result()
    maps = [start.work for start in cluster.all_starts if isinstance(start.work, MapWork)]
    reduces = [start.work for start in cluster.all_starts if isinstance(start.work, ReduceWork)]
    assert [work.split for work in maps] == [items(index) for index in range(5)]
    assert {work.partitions for work in maps + reduces} == {cluster.scheduler.ledger.partitions}
    assert len(reduces) == 8  # two for each slot


def test_sources_of_a_reduce_task_are_in_split_order_and_leave_out_empty_ranges():
    cluster = of_items(3)
    cluster.join(A, slots=1)
    cluster.take_all()
    partitions = cluster.scheduler.ledger.partitions
    for task in (0, 1, 2):
        sizes = (0,) * partitions if task == 1 else (10,) * partitions
        outcome = MapOutput(f"out{task}", sizes, Counts())
        while not cluster.running():
            cluster.take_all()
        cluster.feed(cluster.end(*cluster.running()[0], outcome))
        cluster.take_all()
    (work,) = (s.work for s in cluster.all_starts if isinstance(s.work, ReduceWork))
    assert [source.name for source in work.sources] == ["out0", "out2"]


def test_a_job_whose_maps_give_nothing_is_done_without_reduce_tasks():
    cluster = of_items(2)
    cluster.join(A)
    cluster.take_all()
    for at, attempt in cluster.running():
        empty = MapOutput("x", (0,) * cluster.scheduler.ledger.partitions, Counts())
        cluster.feed(cluster.end(at, attempt, empty))
    assert cluster.ending == Finish(())


def test_parts_are_in_order_whichever_reduce_task_ends_first():
    cluster = of_items(4)
    cluster.join(A, B, slots=4)
    cluster.settle("reduce")
    cluster.take_all()
    for at, attempt in reversed(cluster.running()):
        part = OutputPart(attempt.task, b"", None)
        cluster.feed(cluster.end(at, attempt, ReduceOutput(part, Counts())))
        cluster.take_all()
    while cluster.ending is None:
        at, attempt = cluster.running()[-1]
        part = OutputPart(attempt.task, b"", None)
        cluster.feed(cluster.end(at, attempt, ReduceOutput(part, Counts())))
        cluster.take_all()
    assert [part.records for part in cluster.ending.parts] == list(range(16))


# ------------------------------------------------------------------ who gets what


def test_few_tasks_are_spread_over_the_nodes():
    cluster = of_items(6)
    cluster.join(A, B, C, slots=4)
    assert [len(starts_on(cluster, at)) for at in (A, B, C)] == [2, 2, 2]


def test_one_more_task_waits_at_each_node_only_while_tasks_are_plenty():
    cluster = of_items(50)
    cluster.join(A, B, slots=2)
    assert [len(starts_on(cluster, at)) for at in (A, B)] == [3, 3]
    few = of_items(5)
    few.join(A, B, slots=2)
    assert len(few.all_starts) == 4


def test_larger_nodes_get_more():
    cluster = of_items(20)
    cluster.feed(NodesKnown((NodeSlots(A, 1), NodeSlots(B, 6))))
    assert [len(starts_on(cluster, at)) for at in (A, B)] == [2, 7]


def test_a_node_without_slots_gets_nothing_and_one_with_slots_later_does():
    cluster = of_items(2)
    cluster.feed(NodesKnown((NodeSlots(A, 0),)))
    assert not cluster.all_starts
    cluster.feed(NodesKnown((NodeSlots(A, 1),)))
    assert len(cluster.all_starts) == 1


def test_file_splits_go_to_their_readers_and_the_rest_to_anyone():
    of_files = (lines(0), lines(1), small_files("a.txt", "b.txt"))
    cluster = cluster_of(*of_files, items(3), readers=(B.address,))
    cluster.join(A, B, slots=1)
    assert [start.work.split for start in starts_on(cluster, A)] == [items(3)]
    cluster.settle()
    by_split = {s.work.split: s.node for s in cluster.all_starts if isinstance(s.work, MapWork)}
    assert {by_split[split] for split in of_files} == {B}
    cluster.check_result()


def test_without_named_readers_any_node_reads():
    cluster = cluster_of(lines(0), lines(1))
    cluster.join(A, B, slots=1)
    assert {start.node for start in cluster.all_starts} == {A, B}


def test_a_busy_node_is_asked_again_after_a_while_and_others_meanwhile():
    cluster = of_items(2)
    cluster.join(A, B, slots=1)
    first, second = cluster.starts
    cluster.feed(cluster.take(second))
    cluster.starts.remove(first)
    assert cluster.feed(AttemptRefused(first.attempt, first.node, True)) == ()
    cluster.tick(1.0)
    (again,) = cluster.starts
    assert (again.node, again.attempt.task) == (first.node, first.attempt.task)
    assert again.attempt.number == 1
    assert not again.careful


def test_a_busy_node_that_ends_an_attempt_has_room_again():
    cluster = of_items(3)
    cluster.join(A, slots=2)
    first, second = cluster.starts
    cluster.feed(cluster.take(first))
    cluster.starts.clear()
    cluster.feed(AttemptRefused(second.attempt, A, True))
    cluster.feed(cluster.end(A, first.attempt))
    assert len(cluster.starts) == 2


def test_a_refused_task_goes_to_a_free_node_at_once():
    cluster = of_items(2)
    cluster.join(A, B, slots=2)
    start = cluster.starts[0]
    other = {A: B, B: A}[start.node]
    effects = cluster.feed(AttemptRefused(start.attempt, start.node, False, "no"))
    assert [type(effect) for effect in effects] == [Stop, Start]
    assert effects[1].node == other


def test_the_largest_reduce_tasks_go_first():
    cluster = of_items(2)
    cluster.join(A, slots=2)
    cluster.take_all()
    partitions = cluster.scheduler.ledger.partitions
    skewed = tuple(
        MIB * (20 if partition == partitions - 1 else 1) for partition in range(partitions)
    )
    for at, attempt in cluster.running():
        cluster.feed(cluster.end(at, attempt, MapOutput(str(attempt), skewed, Counts())))
    first = next(s.work for s in cluster.all_starts if isinstance(s.work, ReduceWork))
    assert first.last_partition == partitions


def test_reduce_tasks_of_very_many_sources_are_given_out_one_after_another():
    cluster = of_items(4, sources_per_event_max=8)
    cluster.join(A, slots=4)
    cluster.settle("reduce")
    assert len(cluster.starts) == 2
    cluster.feed(cluster.take(cluster.starts[0]))
    assert len(cluster.starts) == 3
    cluster.settle()
    cluster.check_result()


# ------------------------------------------------------------------ what counts


def test_a_repeated_report_changes_nothing():
    cluster = of_items(3)
    cluster.join(A)
    cluster.take_all()
    at, attempt = cluster.running()[0]
    ended = cluster.end(at, attempt)
    assert cluster.feed(ended) != ()
    assert cluster.feed(ended) == ()
    assert cluster.scheduler.progress(0).map_tasks_done == 1


def test_of_two_attempts_at_a_task_the_first_to_succeed_counts_and_the_other_is_stopped():
    cluster = of_items(2)
    cluster.join(A, B, slots=2)
    cluster.take_all()
    scheduler = cluster.scheduler
    first = scheduler.ledger.maps[0].attempts[0]
    other = next(node for node in scheduler.nodes if node is not first.node)
    scheduler._start(scheduler.ledger.maps[0], other)  # no rule starts a second attempt yet
    cluster.feed(Tick())
    cluster.take_all()
    second = scheduler.ledger.maps[0].attempts[1]
    cluster.feed(cluster.end(other.member, second.id))
    assert cluster.stops == [Stop(first.node.member, first.id)]
    assert scheduler.ledger.maps[0].winner == second.id
    cluster.settle()
    cluster.check_result()


def test_a_task_of_two_attempts_goes_on_when_one_of_them_is_lost():
    cluster = of_items(2)
    cluster.join(A, B, slots=2)
    cluster.take_all()
    scheduler = cluster.scheduler
    other = next(n for n in scheduler.nodes if n is not scheduler.ledger.maps[0].attempts[0].node)
    scheduler._start(scheduler.ledger.maps[0], other)
    cluster.feed(Tick())
    cluster.take_all()
    cluster.crash(other.member)
    assert len(scheduler.ledger.maps[0].attempts) == 1
    cluster.settle()
    cluster.check_result()


def test_a_report_from_another_node_than_was_asked_is_ignored():
    cluster = of_items(2)
    cluster.join(A, B, slots=1)
    cluster.take_all()
    (on_a,) = (attempt for at, attempt in cluster.running() if at == A)
    made = MapOutput("x", sizes_of(0, cluster.scheduler.ledger.partitions), Counts())
    assert cluster.feed(AttemptEnded(on_a, B, made)) == ()
    assert cluster.scheduler.ledger.maps_missing == 2


@pytest.mark.parametrize("sizes", [(1, 2, 3), (-1,) * 32])
def test_an_output_of_the_wrong_shape_is_the_attempts_fault(sizes):
    cluster = of_items(2, attempts_max=1)
    cluster.join(A, B)
    cluster.take_all()
    assert cluster.scheduler.ledger.partitions == 32
    cluster.end_one("map", 0, MapOutput("x", sizes, Counts()))
    assert failure_of(cluster).kind == "ProtocolError"


def test_what_nobody_waits_for_is_stopped_but_never_an_output_that_counts():
    cluster = of_items(3)
    cluster.join(A, B, slots=1)
    start = cluster.starts[0]
    cluster.feed(AttemptRefused(start.attempt, start.node, False, "no reply"))
    assert cluster.feed(AttemptTaken(start.attempt, start.node)) == (
        Stop(start.node, start.attempt),
    )
    other = cluster.starts[1]
    cluster.take(other)
    cluster.feed(cluster.end(other.node, other.attempt))
    assert cluster.feed(AttemptTaken(other.attempt, other.node)) == ()


# ------------------------------------------------------------------ failures


def test_an_error_of_user_code_fails_the_job_and_stops_the_rest():
    cluster = of_items(4)
    cluster.join(A, B)
    cluster.take_all()
    others = {(at, id_) for at, id_ in cluster.running() if id_.task != 2}
    cluster.end_one("map", 2, raised("map raised ValueError at line 7"))
    failure = failure_of(cluster)
    assert failure == Failure("MapError", "map raised ValueError at line 7", b"exception")
    assert {(stop.node, stop.attempt) for stop in cluster.stops} == others
    assert cluster.scheduler.progress(cluster.now_s).phase == "failed"


def test_a_task_that_dies_is_tried_elsewhere_with_care():
    cluster = of_items(2)
    cluster.join(A, B, slots=1)
    cluster.take_all()
    (node,) = (at for at, attempt in cluster.running() if attempt.task == 0)
    cluster.end_one("map", 0, died())
    assert not cluster.starts, "the other node is full; better wait for it"
    cluster.end_one("map", 1)
    (again,) = cluster.starts
    assert again.attempt.task == 0
    assert again.node != node
    assert again.careful
    assert not any(start.careful for start in cluster.all_starts[:2])


def test_a_task_that_dies_on_the_only_node_is_tried_there_again():
    cluster = of_items(2)
    cluster.join(A, slots=1)
    cluster.take_all()
    cluster.end_one("map", 0, died())
    assert cluster.starts[0].attempt.task == 0


def test_a_task_that_dies_every_time_fails_the_job_and_says_where_it_was_tried():
    cluster = of_items(2, attempts_max=3)
    cluster.join(A, B, C, slots=1)
    cluster.take_all()
    cluster.end_one("map", 0)
    for _ in range(3):
        cluster.take_all()
        cluster.end_one("map", 1, died("record 5 kills its process"))
    failure = failure_of(cluster)
    assert failure.kind == "WorkerDiedError"
    assert failure.message.startswith("record 5 kills its process")
    assert "3 failed attempts at map task 1" in failure.message
    for number, at in enumerate(cluster_nodes_of(cluster, "map", 1), 1):
        assert f"attempt {number} on {at} (WorkerDiedError)" in failure.message


def cluster_nodes_of(cluster, phase, task):
    return [
        start.node
        for start in cluster.all_starts
        if (start.attempt.phase, start.attempt.task) == (phase, task)
    ]


def test_one_attempt_allowed_means_the_failure_as_it_is():
    cluster = of_items(1, attempts_max=1)
    cluster.join(A)
    cluster.take_all()
    cluster.end_one("whole", 0, died("boom"))
    assert failure_of(cluster).message == "boom"


def test_cancelling_stops_all_attempts():
    cluster = of_items(3)
    cluster.join(A, B)
    cluster.take_all()
    cluster.feed(Cancel("cancelled by Ctrl-C"))
    assert failure_of(cluster) == Failure("JobCancelledError", "cancelled by Ctrl-C")
    assert cluster.scheduler.phase.value == "cancelled"
    assert len(cluster.stops) == 3


def test_after_the_end_nothing_is_done_but_stop_what_still_runs():
    cluster = of_items(2)
    cluster.join(A)
    start = cluster.starts[0]
    cluster.feed(Cancel("enough"))
    assert cluster.feed(Cancel("enough")) == ()
    assert cluster.feed(Tick()) == ()
    cluster.know()
    stop = Stop(start.node, start.attempt)
    assert cluster.feed(AttemptTaken(start.attempt, start.node)) == (stop,)
    running = (Running(start.attempt, 1, 1),)
    assert cluster.feed(StillRunning(start.node, running)) == (stop,)


# ------------------------------------------------------------------ lost nodes and outputs


def test_attempts_of_a_lost_node_are_given_to_others_and_do_not_count_as_failures():
    cluster = of_items(4, attempts_max=1)
    cluster.join(A, B)
    cluster.take_all()
    cluster.crash(B)
    cluster.settle()
    cluster.check_result()
    assert not any(start.careful for start in cluster.all_starts)


def test_map_outputs_of_a_node_lost_during_map_are_made_again():
    cluster = of_items(4)
    cluster.join(A, B, slots=1)
    cluster.take_all()
    first, _ = cluster.running()
    cluster.feed(cluster.end(*first))
    assert cluster.scheduler.ledger.maps_missing == 3
    cluster.crash(first[0])
    assert cluster.scheduler.ledger.maps_missing == 4
    cluster.settle()
    cluster.check_result()


def test_map_outputs_of_a_lost_node_are_made_again_in_the_reduce_phase():
    cluster = of_items(6)
    cluster.join(A, B)
    cluster.settle("reduce")
    before = cluster.scheduler.progress(cluster.now_s)
    held = [index for index, task in enumerate(cluster.scheduler.ledger.maps) if task.winner]
    on_b = [t for t in held if cluster.scheduler.ledger.maps[t].output.node == B]
    count = len(cluster.all_starts)
    cluster.crash(B)
    again = [start.attempt for start in cluster.all_starts[count:]]
    shown = cluster.scheduler.progress(cluster.now_s)
    assert (shown.phase, shown.map_tasks_done) == ("reduce", before.map_tasks_done)
    cluster.settle()
    cluster.check_result()
    assert {id_.task for id_ in again if id_.phase == "map"} <= set(on_b)
    assert cluster.scheduler.progress(cluster.now_s).records == 60, "each record counts once"
    assert sorted(t for t in on_b) == sorted(
        start.attempt.task
        for start in cluster.all_starts
        if start.attempt.phase == "map" and start.attempt.number > 0
    )


def test_map_outputs_that_no_open_reduce_task_needs_are_not_made_again():
    """B's output lies in the first half of the partitions, whose reduce tasks are committed."""
    cluster = of_items(2)
    cluster.join(A, B, slots=1)
    cluster.take_all()
    half = cluster.scheduler.ledger.partitions // 2
    low = (MIB,) * half + (0,) * half
    for at, attempt in cluster.running():
        sizes = low if at == B else low[::-1]
        cluster.feed(cluster.end(at, attempt, MapOutput(f"on {at}", sizes, Counts())))
    reduces = cluster.scheduler.ledger.finals
    while not all(task.winner for task in reduces if task.first < half):
        cluster.take_all()
        at, attempt = min(cluster.running(), key=lambda running: running[1].task)
        part = OutputPart(attempt.task, b"", None)
        cluster.feed(cluster.end(at, attempt, ReduceOutput(part, Counts())))
    assert not all(task.winner for task in reduces)
    cluster.crash(B)
    assert cluster.scheduler.ledger.maps_missing == 0
    cluster.crash(A)
    assert cluster.scheduler.ledger.maps_missing == 1


def test_an_output_that_cannot_be_fetched_is_made_again_before_reduce_goes_on():
    cluster = of_items(4)
    cluster.join(A, B)
    cluster.settle("reduce")
    cluster.take_all()
    (name,) = list(cluster.nodes[A].outputs)[:1]
    split = cluster.nodes[A].outputs.pop(name)
    at, attempt = next(
        (at, id_)
        for at, id_ in cluster.running()
        if any(s.name == name for s in cluster.nodes[at].running[id_].sources)
    )
    count = len(cluster.all_starts)
    cluster.feed(cluster.end(at, attempt))
    cluster.settle()
    cluster.check_result()
    after = [start.attempt for start in cluster.all_starts[count:]]
    assert [id_.task for id_ in after if id_.phase == "map"] == [split]
    assert after[0].phase == "map"


def test_a_node_whose_outputs_cannot_be_fetched_time_and_again_has_lost_them_all():
    cluster = of_items(12)
    cluster.join(A, B)
    cluster.settle("reduce")
    lost = dict(cluster.nodes[A].outputs)
    cluster.nodes[A].outputs.clear()
    cluster.settle()
    cluster.check_result()
    again = [s for s in cluster.all_starts if s.attempt.phase == "map" and s.attempt.number > 0]
    assert sorted(s.attempt.task for s in again) == sorted(lost.values())
    assert {s.node for s in again} == {B}, "made again where they can be fetched"


def lost_source(cluster, at, attempt):
    """The attempt reports that it could not fetch the first of its sources."""
    source = cluster.nodes[at].running[attempt].sources[0]
    failure = Failure("Unreachable", f"cannot fetch {source.name}")
    cluster.feed(cluster.end(at, attempt, Failed(failure, True, source)))


def test_the_third_report_about_a_node_gives_up_all_its_outputs_at_once():
    cluster = of_items(12)
    cluster.join(A, slots=4)
    cluster.settle("reduce")
    cluster.take_all()
    reduces = cluster.running()[:3]
    sources = [
        cluster.nodes[at].running[attempt].sources[i] for i, (at, attempt) in enumerate(reduces)
    ]
    for missing, (at, attempt), source in zip((1, 2, 12), reduces, sources, strict=True):
        failed = Failed(Failure("Unreachable", f"cannot fetch {source.name}"), True, source)
        cluster.feed(cluster.end(at, attempt, failed))
        assert cluster.scheduler.ledger.maps_missing == missing
    cluster.settle()
    cluster.check_result()


def test_a_reduce_task_that_cannot_fetch_twice_in_one_place_goes_elsewhere():
    cluster = of_items(2)
    cluster.join(A, slots=1)
    cluster.settle("reduce")
    for _ in range(2):
        while not any(attempt.phase == "reduce" for _, attempt in cluster.running()):
            cluster.take_all()
            for at, attempt in cluster.running():
                if attempt.phase == "map":
                    cluster.feed(cluster.end(at, attempt))
        ((at, attempt),) = cluster.running()
        assert not cluster.scheduler.ledger.finals[attempt.task].avoid
        lost_source(cluster, at, attempt)
    assert cluster.scheduler.ledger.finals[attempt.task].avoid == {A}
    cluster.join(B, slots=1)
    cluster.settle()
    cluster.check_result()


def test_a_task_lost_too_often_ends_the_job_and_says_why():
    cluster = of_items(2, losses_max=4)
    for incarnation in range(1, 20):
        if cluster.ending is None:
            cluster.join(member(1, incarnation))
            cluster.take_all()
            cluster.crash(member(1, incarnation))
    failure = failure_of(cluster)
    assert "lost 5 times" in failure.message
    assert "10.0.0.1:1 is gone" in failure.message


def test_a_restarted_node_is_another_one():
    cluster = of_items(2)
    cluster.join(A, slots=1)
    cluster.take_all()
    del cluster.nodes[A]
    cluster.join(member(1, incarnation=2), slots=1)
    assert cluster.starts[0].node == member(1, incarnation=2)


# ------------------------------------------------------------------ every wait has an end


def test_attempts_of_a_silent_node_are_given_up():
    cluster = of_items(2)
    cluster.join(A, B, slots=1)
    cluster.take_all()
    for _ in range(int(SILENCE_S_MAX) + 2):
        cluster.now_s += 1
        cluster.feed(cluster.sign_of(A))
        cluster.feed(Tick())
    assert [stop.node for stop in cluster.stops] == [B]
    cluster.end_one("map", next(id_.task for at, id_ in cluster.running() if at == A))
    assert cluster.starts[-1].node == A


def test_a_node_that_had_nothing_to_do_was_not_silent():
    cluster = of_items(1)
    cluster.join(A, B)
    cluster.take_all()
    for _ in range(int(3 * SILENCE_S_MAX)):
        cluster.now_s += 1
        cluster.feed(cluster.sign_of(A))
        cluster.feed(Tick())
    cluster.crash(A)
    assert cluster.starts[0].node == B
    cluster.tick(1.0, signs=False)
    assert not cluster.stops


def test_a_pause_of_the_scheduler_itself_condemns_nobody():
    cluster = of_items(2)
    cluster.join(A, B, slots=1)
    cluster.take_all()
    cluster.tick(1000.0, signs=False)
    assert not cluster.stops
    assert cluster.ending is None


def test_an_attempt_that_its_node_forgot_is_given_up():
    cluster = of_items(2)
    cluster.join(A, slots=2)
    cluster.take_all()
    forgotten = cluster.running()[0][1]
    del cluster.nodes[A].running[forgotten]
    cluster.wait(50, signs=True)
    assert [stop.attempt for stop in cluster.stops] == [forgotten]
    cluster.settle()
    cluster.check_result()


@pytest.mark.parametrize("nodes", [(), (NodeSlots(A, 0),)])
def test_without_any_slot_the_job_fails_after_a_while(nodes):
    cluster = of_items(2)
    for _ in range(int(NO_NODE_S_MAX) - 1):
        cluster.wait(1)
        cluster.feed(NodesKnown(nodes))
    assert cluster.ending is None
    cluster.wait(3)
    assert failure_of(cluster).kind == "NoNodeError"


def test_without_any_node_the_input_is_not_blamed():
    cluster = cluster_of(lines(0), lines(1), readers=(A.address,))
    cluster.join(A)
    cluster.crash(A)
    cluster.wait(NO_NODE_S_MAX + 3)
    assert failure_of(cluster).kind == "NoNodeError"


def test_a_node_that_comes_late_is_given_its_time():
    cluster = of_items(2)
    cluster.wait(NO_NODE_S_MAX - 1)
    cluster.join(A)
    cluster.wait(3)
    assert cluster.ending is None
    cluster.settle()
    cluster.check_result()


def test_nodes_that_come_and_go_do_not_keep_an_unreadable_job_alive():
    cluster = cluster_of(lines(0), lines(1), readers=(B.address,))
    for incarnation in range(1, 40):
        if cluster.ending is None:
            cluster.join(member(3, incarnation))
            cluster.wait(1)
            cluster.crash(member(3, incarnation))
    assert failure_of(cluster).kind == "InputMissingError"


def test_when_all_nodes_refuse_the_job_fails_and_names_the_reason():
    cluster = of_items(2)
    cluster.join(A, B)
    for _ in range(int(NO_NODE_S_MAX) + 3):
        for start in list(cluster.starts):
            cluster.starts.remove(start)
            cluster.feed(AttemptRefused(start.attempt, start.node, False, "the disk is full"))
        cluster.wait(1)
    failure = failure_of(cluster)
    assert failure.kind == "Refused"
    assert "the disk is full" in failure.message
    assert len(cluster.all_starts) < 40, "they are left alone for longer each time"


def test_a_node_that_takes_a_task_again_is_forgiven():
    cluster = of_items(1)
    cluster.join(A)
    for _ in range(3):
        start = cluster.starts.pop()
        cluster.feed(AttemptRefused(start.attempt, A, False, "no reply"))
        assert not cluster.starts
        cluster.wait(3)
    assert cluster.scheduler.nodes.get(A).refusals == 3
    cluster.take_all()
    assert cluster.scheduler.nodes.get(A).refusals == 0


def test_busy_nodes_are_waited_for():
    cluster = of_items(2)
    cluster.join(A)
    for _ in range(int(3 * NO_NODE_S_MAX)):
        for start in list(cluster.starts):
            cluster.starts.remove(start)
            cluster.feed(AttemptRefused(start.attempt, start.node, True))
        cluster.tick()
    assert cluster.ending is None
    cluster.settle()
    cluster.check_result()


def test_a_long_task_is_waited_for_as_long_as_its_node_names_it():
    cluster = of_items(1)
    cluster.join(A)
    cluster.take_all()
    cluster.wait(500, signs=True)
    assert cluster.ending is None
    assert not cluster.stops


@pytest.mark.parametrize("splits", [1, 3])
def test_without_a_reader_the_job_fails_and_names_file_and_nodes(splits):
    cluster = cluster_of(*map(lines, range(splits)), readers=(B.address, C.address))
    cluster.join(A)
    cluster.wait(NO_NODE_S_MAX + 3)
    failure = failure_of(cluster)
    assert failure.kind == "InputMissingError"
    for text in ("/data/big.txt", str(B), str(C)):
        assert text in failure.message


def test_of_many_readers_the_failure_names_some_and_counts_the_rest():
    cluster = cluster_of(lines(0), readers=tuple(member(port).address for port in range(10, 30)))
    cluster.join(A)
    cluster.wait(NO_NODE_S_MAX + 3)
    assert "and 12 more nodes" in failure_of(cluster).message


def test_a_reader_that_comes_back_in_time_is_as_good_as_new():
    cluster = cluster_of(lines(0), lines(1), readers=(B.address,))
    cluster.join(A)
    cluster.wait(NO_NODE_S_MAX - 5)
    cluster.join(B)
    cluster.settle()
    cluster.check_result()


def test_lost_readers_do_no_harm_once_the_input_is_read():
    cluster = cluster_of(lines(0), items(1), items(2), items(3), readers=(B.address,))
    cluster.join(A, B, slots=1)
    cluster.take_all()
    cluster.end_one("map", 0, MapOutput("x", (0,) * cluster.scheduler.ledger.partitions, Counts()))
    cluster.crash(B)
    cluster.wait(NO_NODE_S_MAX * 2, signs=True)
    cluster.settle()
    assert isinstance(cluster.ending, Finish)


# ------------------------------------------------------------------ progress


def test_progress_counts_what_runs_and_never_goes_back():
    cluster = of_items(2, input_bytes=200)
    cluster.join(A, B, slots=1)
    cluster.take_all()
    (at, attempt), _ = cluster.running()
    cluster.feed(StillRunning(at, (Running(attempt, 7, 70),)))
    shown = cluster.scheduler.progress(2.5)
    assert (shown.phase, shown.records, shown.input_bytes_done) == ("map", 7, 70)
    assert (shown.map_tasks_total, shown.reduce_tasks_total, shown.elapsed_s) == (2, 0, 2.5)
    cluster.feed(cluster.end(at, attempt, died()))
    shown = cluster.scheduler.progress(3.0)
    assert (shown.records, shown.input_bytes_done, shown.attempts_failed) == (7, 70, 1)
    cluster.settle()
    shown = cluster.scheduler.progress(cluster.now_s)
    assert (shown.records, shown.input_bytes_done, shown.input_bytes_total) == (20, 200, 200)
    assert shown.reduce_tasks_done == shown.reduce_tasks_total > 0
    assert cluster.scheduler.progress(1e6).elapsed_s == shown.elapsed_s


def test_a_failure_that_is_retried_without_source_is_the_tasks_own():
    cluster = of_items(2, attempts_max=2)
    cluster.join(A)
    cluster.settle("reduce")
    for _ in range(2):
        cluster.take_all()
        missing = Failed(Failure("BlockMissingError", "no copy left"), retry=True)
        cluster.end_one("reduce", 0, missing)
    assert failure_of(cluster).kind == "BlockMissingError"


@pytest.mark.parametrize("total", [150, 1000])
def test_bytes_done_end_at_the_total_whatever_the_nodes_counted(total):
    """Compressed input is counted as it is read, which may be more or less than was submitted."""
    cluster = of_items(2, input_bytes=total)
    cluster.join(A, slots=1)
    for task in (0, 1):
        cluster.take_all()
        assert cluster.scheduler.progress(cluster.now_s).input_bytes_done == 100 * task
        cluster.end_one("map", task)
    assert cluster.scheduler.progress(cluster.now_s).input_bytes_done == total


# ------------------------------------------------------------------ counters


def test_counters_are_those_of_the_attempts_that_count():
    cluster = of_items(3)
    cluster.join(A, B, slots=2)
    cluster.take_all()
    cluster.end_one("map", 0, died())
    cluster.settle("reduce")
    lost = cluster.scheduler.ledger.maps[1].output.node
    cluster.nodes[lost].outputs.clear()
    cluster.crash(lost)
    counters = dict(cluster.scheduler.ledger.tally.shown().counters)
    assert counters["map"] < 3  # that of the lost output is taken back
    cluster.join(C)
    cluster.settle()
    cluster.check_result()


def test_too_many_counters_fail_the_job():
    cluster = of_items(2)
    cluster.join(A, slots=2)
    cluster.take_all()
    partitions = cluster.scheduler.ledger.partitions
    for task in (0, 1):
        names = tuple((f"{task}.{number:03}", 1) for number in range(60))
        made = MapOutput(f"{task}", sizes_of(task, partitions), Counts(), Tally(names))
        cluster.end_one("map", task, made)
    failure = failure_of(cluster)
    assert failure.kind == "CounterError"
    assert "more than 100 counters" in failure.message
