"""Which waiting task goes to which node: rule 2 of the scheduler."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from map_reduce.core.scheduling.nodes import Nodes, NodeState
from map_reduce.core.scheduling.pending import Pending
from map_reduce.core.scheduling.tasks import ReduceTask, Task


def given(
    queue: Pending, nodes: Nodes, sources_each: int, sources_max: int
) -> Iterator[tuple[Task, NodeState]]:
    """Tasks taken from the queue, each with its node; to be started before the next is asked for.

    Args:
        sources_each: map outputs that a reduce task names.
        sources_max: so many are named, and no more tasks are given.
    """
    if not queue:
        return  # to look at all nodes with room would take its time at each event
    slots = nodes.slots_total
    found = nodes.with_room(queue.readers_only, queueing=len(queue) > slots)
    rooms = [(node.is_slow, node.load, order, node) for order, node in enumerate(found)]
    heapq.heapify(rooms)
    sources = 0
    while rooms and queue and sources < sources_max:
        slow, _, order, node = heapq.heappop(rooms)
        if node.queued >= 0 and (slow or len(queue) <= slots):
            continue  # no task is to wait behind a slow one, nor where they are not plenty
        task = queue.take(node, nodes)
        if task is None:
            continue
        yield task, node
        if isinstance(task, ReduceTask):
            sources += sources_each
        if node.queued < nodes.queued_max(node):
            heapq.heappush(rooms, (slow, node.load, order, node))
