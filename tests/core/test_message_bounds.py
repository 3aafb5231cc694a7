"""Numbers that others choose are bounded where messages are decoded."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from map_reduce.core.messages import (
    BOUNDS_BYTES_MAX,
    SAMPLE_SPLITS_MAX,
    BlockRef,
    Counts,
    InlineItems,
    Sampled,
    SampleWork,
    TaskRules,
)

ITEMS = InlineItems(b"", 1, 0, False)


def over_the_wire(sent: Any) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=type(sent))


@pytest.mark.parametrize(
    "sent",
    [
        *(TaskRules(priority=priority) for priority in (0.0, -1.0, math.nan, math.inf, 1e9)),
        *(TaskRules(timeout_s=timeout_s) for timeout_s in (-1.0, math.nan, math.inf)),
        TaskRules(result_ttl_s=math.nan),
        TaskRules(memory_mb_max=-5),
        TaskRules(memory_mb_max=1 << 62),
        Counts(records_in=1 << 63),
        Counts(spilled_bytes=1 << 60),
        BlockRef("b", 1 << 63, b""),
        SampleWork((ITEMS,) * (SAMPLE_SPLITS_MAX + 1), 4),
        SampleWork((ITEMS,), 1 << 40),
        Sampled(b"x" * (BOUNDS_BYTES_MAX + 1), 1),
    ],
    ids=lambda sent: repr(sent)[:60],
)
def test_what_is_out_of_range_is_no_message(sent: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        over_the_wire(sent)


@pytest.mark.parametrize(
    "sent",
    [
        TaskRules(),
        TaskRules(priority=0.01, timeout_s=7 * 86400.0, memory_mb_max=1 << 20),
        TaskRules(priority=100.0, result_ttl_s=365 * 86400.0),
        Counts(records_in=1 << 40, bytes_in=1 << 41),
        SampleWork((ITEMS,) * SAMPLE_SPLITS_MAX, 4096),
    ],
    ids=lambda sent: type(sent).__name__,
)
def test_what_options_allow_is_one(sent: Any) -> None:
    assert over_the_wire(sent) == sent
