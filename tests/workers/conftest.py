from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_orders import Gate, process_pool

from map_reduce.workers.pool import ProcessWorkerPool


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def pool(scratch: Path) -> Iterator[ProcessWorkerPool]:
    with process_pool(scratch) as made:
        yield made


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")
