"""What a job has cost: sums and spreads over the tasks whose outputs count."""

from __future__ import annotations

import msgspec


class Spread(msgspec.Struct, frozen=True, array_like=True):
    """How something is spread over so many: their sum, the middle one, the largest."""

    count: int = 0
    total: float = 0.0
    median: float = 0.0
    largest: float = 0.0


class Figures(msgspec.Struct, frozen=True, array_like=True):
    """Of the attempts whose outputs count, whichever master began them, as the ledger has it.

    ``attempts`` and ``repeated`` are of the last master only: begun, and begun at a task that had
    been begun before.
    """

    cpu_s: float = 0.0  # processor time of the worker processes
    watched_s: float = 0.0  # for so long workers were watched while attempts ran,
    in_user_code_s: float = 0.0  # and for so much of that they were in the user's functions
    input_bytes: int = 0  # read by map tasks
    shuffled_bytes: int = 0  # of map outputs, whether or not they had to travel
    spilled_bytes: int = 0  # put on disk by tasks whose data did not fit in their memory
    stored_bytes: int = 0  # of input, functions and results, in blocks of the ring: one copy
    nodes: int = 0  # that there were at the end
    slots: int = 0
    attempts: int = 0
    repeated: int = 0
    partitions: int = 0
    split_bytes: Spread = Spread()
    map_s: Spread = Spread()  # wall time of the attempts
    partition_bytes: Spread = Spread()
    reduce_bytes: Spread = Spread()  # that each reduce task reads
    reduce_s: Spread = Spread()
