"""How long a client waits for those that it cannot reach."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from map_reduce.client import handle
from map_reduce.client.handle import SILENCE_S_MAX, JobHandle
from map_reduce.client.submission import Submitted
from map_reduce.core.messages import HOLD_S_MAX, JobStatus, Progress
from map_reduce.errors import JobLostError, Unreachable
from map_reduce.server.access import Access, Hearing

DONE = JobStatus("a job", "", Progress("done"), (), 0, None, None)
HELD_S = HOLD_S_MAX - 1.0


class Clock:
    """Goes on where somebody waits."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def wait(self, timeout: float) -> None:
        self.now_s += timeout


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(handle, "time", made)
    return made


def job_of(clock: Clock, replies: Iterator[Any]) -> JobHandle:
    """Each reply takes so long, and is a status or an error."""
    pauses = SimpleNamespace(wait=clock.wait, clear=lambda: None)
    hearing = Hearing(cast(threading.Event, pauses), told=False)
    access = SimpleNamespace(
        hearing=lambda name: contextlib.nullcontext(hearing),
        is_open=True,
        check_usable=lambda: None,
    )
    job = JobHandle(cast(Access, access), Submitted("a job", None), "", show_progress=False)

    def status(*_: Any, **__: Any) -> JobStatus:
        took_s, reply = next(replies)
        clock.now_s += took_s
        if isinstance(reply, Exception):
            raise reply
        return cast(JobStatus, reply)

    job._source.status = status  # type: ignore[method-assign]
    return job


def test_a_master_that_dies_long_after_it_was_asked_has_not_been_silent_for_so_long(
    clock: Clock,
) -> None:
    lost = Unreachable("the node was killed")
    job = job_of(clock, iter([(HELD_S, lost), (1.0, lost), (0.0, DONE)]))
    job.wait()
    assert job.progress.phase == "done"


def test_silence_has_an_end(clock: Clock) -> None:
    lost = Unreachable("nobody answers")
    job = job_of(clock, iter(lambda: (1.0, lost), None))
    with pytest.raises(JobLostError, match="out of reach"):
        job.wait()
    assert SILENCE_S_MAX < clock.now_s - 100.0 < SILENCE_S_MAX + 3.0
