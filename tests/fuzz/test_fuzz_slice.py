"""A short slice of the fuzzing: the corpus, and so many changes to it, the same each time."""

from __future__ import annotations

import logging
import random
import tracemalloc

import pytest
from seeds import changed, seeds_of
from targets import TARGETS

CHANGES = 1500
SLOW = {"channel": 300, "certificate": 300, "pieces": 500}
MEMORY_BYTES_MAX = 32 << 20


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_that_is_decoded_does_harm(target: str) -> None:
    seeds = seeds_of(target)
    draw = random.Random(target)
    logging.disable()
    tracemalloc.start()
    try:
        for data in (*seeds, b""):
            TARGETS[target](data)
        variations = [changed(data, seeds, draw) for data in seeds]
        for _ in range(SLOW.get(target, CHANGES)):
            data = next(draw.choice(variations))
            try:
                TARGETS[target](data)
            except Exception as error:
                error.add_note(f"the bytes were {data!r}") if hasattr(error, "add_note") else None
                raise
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)
    assert peak_bytes < MEMORY_BYTES_MAX
