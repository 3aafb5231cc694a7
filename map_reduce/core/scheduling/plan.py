"""How a job is cut: how many partitions, and which of them make a reduce task.

The number of partitions is fixed before the first map task starts, when nobody knows how the
keys are spread; so partitions are many and fine. Reduce tasks are cut when all map output is
measured: each takes neighbouring partitions, so that one map task's share of it is one range of
bytes, and the cuts are placed so that the tasks are about equally large however skewed the keys
are.

    partitions   |▁|▁|▃|▁|█████|▁|▁|▂|▂|▁|▁|▁|       bytes measured
    reduce tasks |   0   |  1  |   2   |   3   |      contiguous, evened out

A single hot partition cannot be cut: it stands alone, and the others share the rest of the tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

from map_reduce.errors import ProtocolError

PARTITIONS_PER_SLOT = 8
PARTITION_INPUT_BYTES = 16 << 20
"""One partition at least for so much input."""

PARTITIONS_MAX = 4096

CELLS_MAX = 1 << 24
"""Bound of splits x partitions, of each of which the scheduler keeps 8 bytes."""

REDUCE_TASKS_PER_SLOT = 2
REDUCE_TASK_BYTES_MIN = 1 << 20
"""Less is not worth a task of its own."""

REDUCE_TASK_BYTES_MAX = 256 << 20
"""More is cut further where the partitions allow it, whatever the slots: a task is to end long
before its time is up, and little is to be lost with it."""


def partitions_for(splits: int, slots: int, input_bytes: int) -> int:
    """How many partitions a job of so many splits gets on so many slots.

    ``input_bytes`` is 0 where unknown.
    """
    if splits <= 1:
        return 1
    wanted = max(PARTITIONS_PER_SLOT * slots, -(-input_bytes // PARTITION_INPUT_BYTES))
    return max(1, min(wanted, PARTITIONS_MAX, CELLS_MAX // splits))


def check_cut(splits: int, partitions: int) -> None:
    """Raises ProtocolError: no job is cut so; the scheduler would keep too much of it in memory."""
    if not (1 <= partitions <= PARTITIONS_MAX and splits * partitions <= max(CELLS_MAX, splits)):
        raise ProtocolError(f"no job has {partitions} partitions for each of {splits} splits")


def reduce_tasks_max(total_bytes: int, slots: int) -> int:
    """How many reduce tasks so many bytes of map output are worth at most."""
    wanted = max(REDUCE_TASKS_PER_SLOT * slots, -(-total_bytes // REDUCE_TASK_BYTES_MAX))
    return max(1, min(wanted, -(-total_bytes // REDUCE_TASK_BYTES_MIN)))


def group_partitions(sizes: Sequence[int], tasks_max: int) -> tuple[tuple[int, int], ...]:
    """Cut partitions 0 … len(sizes) - 1 into at most ``tasks_max`` ranges (first, last + 1).

    The ranges follow one another and leave nothing out; the largest of those that hold more
    than one partition with bytes is as small as it can be. No ranges where all sizes are 0.
    """
    if not any(sizes):
        return ()
    low, high = 1, sum(sizes)
    while low < high:
        capacity = (low + high) // 2
        if len(_fill(sizes, capacity)) <= tasks_max:
            high = capacity
        else:
            low = capacity + 1
    return tuple(_fill(sizes, low))


def _fill(sizes: Sequence[int], capacity: int) -> list[tuple[int, int]]:
    """Ranges of at most ``capacity`` bytes or of one partition with bytes, as few as possible."""
    ranges: list[tuple[int, int]] = []
    first = held = 0
    for index, size in enumerate(sizes):
        if held and size and held + size > capacity:
            ranges.append((first, index))
            first = index
            held = 0
        held += size
    ranges.append((first, len(sizes)))
    return ranges
