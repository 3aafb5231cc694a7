"""An attempt that begins anew within its process leaves no half of an output behind."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec
from worker_orders import files_in, order, start

from map_reduce.core.messages import MapOutput, MapWork, Skipping
from map_reduce.workers.pool import ProcessWorkerPool


def test_the_file_of_a_run_that_failed_is_gone_where_the_next_one_needs_none(
    pool: ProcessWorkerPool, scratch: Path
) -> None:
    def large_or_small(index: int, item: Any) -> Any:
        if item == "bad":
            return [*((key, f"{key:0200d}") for key in range(20_000)), ("last", threading.Lock())]
        return [(item, 1)]

    wanted = order(large_or_small, ["good", "bad"], phase="map")
    assert isinstance(wanted.work, MapWork)
    work = MapWork(wanted.work.split, 16)
    outcome, made = start(
        pool, msgspec.structs.replace(wanted, work=work, skipping=Skipping(5, ()))
    ).next()
    assert isinstance(outcome, MapOutput)
    assert isinstance(made, bytes)
    assert files_in(scratch) == []
