"""The work for one event does not grow with the number of tasks."""

import sys
from collections import deque

from scheduling_fakes import items, job, member, scheduler_of

from map_reduce.core.messages import (
    Counts,
    MapOutput,
    MapWork,
    OutputPart,
    ReduceOutput,
    Running,
)
from map_reduce.core.scheduling.effects import Commit, Finish, Start
from map_reduce.core.scheduling.events import (
    AttemptEnded,
    Committed,
    NodesKnown,
    NodeSlots,
    StillRunning,
)


def steps_of(call):
    """Python lines that a call runs: a measure that no other load on the machine disturbs."""
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        result = call()
    finally:
        sys.settrace(before)
    return lines, result


def end_of(start):
    work = start.work
    if isinstance(work, MapWork):
        made = MapOutput(f"{start.attempt.task}", (1,) * work.partitions, Counts(1, 1))
    else:
        made = ReduceOutput(OutputPart(1, b"", None), Counts())
    return AttemptEnded(start.attempt, start.node, made)


def steps_of_median_map_end(tasks):
    scheduler = scheduler_of(job(*map(items, range(tasks))))
    nodes = tuple(NodeSlots(member(port), 4) for port in range(10))
    starts = deque(scheduler.handle(NodesKnown(nodes), 0.0))
    counted = []
    for _ in range(200):
        event = end_of(starts.popleft())
        steps, effects = steps_of(lambda event=event: scheduler.handle(event, 0.0))
        counted.append(steps)
        starts.extend(effect for effect in effects if isinstance(effect, Start))
    return sorted(counted)[100]


def test_the_end_of_a_map_task_costs_the_same_in_a_large_job():
    assert steps_of_median_map_end(20_000) <= steps_of_median_map_end(500) * 1.2


def steps_of_a_sign_of_life(nodes):
    """Of a job that leaves most of them idle."""
    scheduler = scheduler_of(job(*map(items, range(8))))
    listed = tuple(NodeSlots(member(port), 4) for port in range(1, nodes + 1))
    [start, *_] = scheduler.handle(NodesKnown(listed), 0.0)
    sign = StillRunning(start.node, (Running(start.attempt, 1, 1),))
    steps, _ = steps_of(lambda: scheduler.handle(sign, 0.1))
    return steps


def test_a_sign_of_life_costs_the_same_however_many_nodes_are_idle():
    assert steps_of_a_sign_of_life(1000) <= steps_of_a_sign_of_life(10) * 1.2


def test_twenty_thousand_tasks():
    scheduler = scheduler_of(job(*map(items, range(20_000))))
    nodes = tuple(NodeSlots(member(port), 4) for port in range(10))
    effects = deque(scheduler.handle(NodesKnown(nodes), 0.0))
    while effects:
        effect = effects.popleft()
        if isinstance(effect, Start):
            effects.extend(scheduler.handle(end_of(effect), 0.0))
        elif isinstance(effect, Commit):
            effects.extend(scheduler.handle(Committed(effect.number), 0.0))
    assert isinstance(effect, Finish)
    assert scheduler.progress(0.0).map_tasks_done == 20_000
