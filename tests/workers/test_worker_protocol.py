"""Frames between a daemon and a worker process."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worker_orders import order, the_list

from map_reduce.core.messages import Checked
from map_reduce.errors import ProtocolError
from map_reduce.ports import LocalInput, LocalSource
from map_reduce.workers import protocol
from map_reduce.workers.protocol import (
    Ended,
    Forget,
    FromWorker,
    Ready,
    Recalled,
    Report,
    Run,
    daemon_side,
    framed,
    run_of,
    worker_side,
)

COUNTS = st.integers(0, 2**63)
MESSAGES: st.SearchStrategy[FromWorker] = st.one_of(
    st.just(Ready()),
    st.builds(Report, COUNTS, COUNTS, COUNTS, st.text()),
    st.builds(Ended, COUNTS, st.just(Checked()), st.booleans(), st.text()),
    st.builds(Recalled, COUNTS, st.booleans()),
)


def received(data: bytes, pieces: list[int]) -> list[FromWorker]:
    """What the daemon's side reads from ``data`` when it arrives in pieces of these sizes."""
    reader = daemon_side()
    found: list[FromWorker] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        start = 0
        for size in [*pieces, len(data)]:
            if piece := data[start : start + size]:
                theirs.sendall(piece)
                assert reader.receive(ours)
                found += reader.messages()
            start += size
        theirs.close()
        assert not reader.receive(ours)
    return found


@settings(max_examples=30)
@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(1, 20)))
def test_messages_arrive_whole_however_the_stream_is_cut(
    messages: list[FromWorker], pieces: list[int]
) -> None:
    data = b"".join(framed(message) for message in messages)
    assert received(data, pieces) == messages


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode(["Run", 1]),
        msgspec.msgpack.encode(["Forget", "job"]),
        msgspec.msgpack.encode(["Report", "one", 2, 3, ""]),
        msgspec.msgpack.encode(["Ended", 1, ["Done"], False, ""]),
    ],
)
def test_what_a_worker_may_not_say_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        received(len(body).to_bytes(4, "big") + body, [])


def test_an_announced_length_is_bounded() -> None:
    with pytest.raises(ProtocolError, match="at most"):
        received(b"\xff\xff\xff\xff", [])


def test_a_frame_that_is_too_long_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "FRAME_BYTES_MAX", 100)
    with pytest.raises(ProtocolError, match="at most 100"):
        framed(Forget("x" * 100))


def test_text_that_is_not_unicode_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="Unicode"):
        framed(Forget("\udcff"))


def test_an_order_arrives_with_its_paths_whatever_their_bytes() -> None:
    strange = Path(os.fsdecode(b"/tmp/\xff strange"))
    local = LocalInput(strange, strange / "split", (LocalSource(strange / "source", 3, 4),))
    wanted = order(the_list, [1])
    run = run_of(7, wanted, local, strange / "output", strange / "note")
    reader = worker_side()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(framed(run))
        reader.receive(ours)
    [arrived] = reader.messages()
    assert isinstance(arrived, Run)
    assert arrived.order == wanted
    assert arrived.local_input() == local
    assert arrived.output_path() == strange / "output"
    assert arrived.note_path() == strange / "note"
