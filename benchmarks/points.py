"""A job that stops where it is told to, says so, and goes on when it may.

Its functions reach named points: they leave a mark, a file in a folder that all processes of this
machine see, and wait there until the point's gate, another file, is open. So whoever watches the
folder knows where the job is, and can do something to its cluster at that very moment.

    map   ── "map": the first record of each task but the first few
          ── "last map": the last record of all
    reduce ── "reduce": half of the keys
    pickling a result in its worker ── "commit"
    unpickling a result in the client ── "fetch"
    reading the input in the client ── "submit"
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

POINTS = ("submit", "map", "last map", "reduce", "commit", "fetch")

ITEMS = 320
ITEMS_PER_TASK = 16
ITEM_BYTES = 4000
FREE_TASKS = 6
KEYS = 40
PAIRS_PER_ITEM = 8
RESULT_BYTES = 20_000
POLL_S = 0.003
GATE_S_MAX = 240.0


class Mark(NamedTuple):
    """Who reached a point: the worker process, and the node that it belongs to."""

    pid: int
    node_pid: int


class Points:
    """The marks and gates of one job; pickled along with its functions.

    Args:
        stop_at: the point where the job is to wait; it runs through all the others.
        client_pid: whose unpickling counts.
    """

    def __init__(self, folder: Path, stop_at: str, client_pid: int) -> None:
        self.folder = str(folder)
        self.stop_at = stop_at
        self.client_pid = client_pid

    def reach(self, point: str) -> None:
        """Leave a mark and wait, if this is where the job is to stop."""
        if point != self.stop_at or os.path.exists(self._gate):
            return
        Path(self.folder, f"at-{os.getpid()}-{os.getppid()}").touch()
        until_s = time.monotonic() + GATE_S_MAX
        while not os.path.exists(self._gate):
            if time.monotonic() > until_s:
                raise TimeoutError(f"the gate of {point} was not opened")
            time.sleep(POLL_S)

    @property
    def _gate(self) -> str:
        return f"{self.folder}/open"

    def open(self) -> None:
        """Let everybody go on."""
        Path(self._gate).touch()

    def marks(self) -> list[Mark]:
        """Who has reached the point."""
        names = [name for name in os.listdir(self.folder) if name.startswith("at-")]
        pairs = [map(int, name.split("-")[1:]) for name in sorted(names)]
        return [Mark(pid, _node_of(parent)) for pid, parent in pairs]


def _node_of(parent: int) -> int:
    """The node of a worker process with this parent, which is the node or a template of its."""
    try:
        process = psutil.Process(parent)
        is_template = any("template_process" in word for word in process.cmdline())
        return process.ppid() if is_template else parent
    except psutil.Error:
        return parent


class Result:
    """What reduce returns: some bytes that depend on all values in their order."""

    def __init__(self, text: str, points: Points) -> None:
        self.text = text
        self._points = points

    def __getstate__(self) -> dict[str, Any]:
        self._points.reach("commit")
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if os.getpid() == self._points.client_pid:
            self._points.reach("fetch")


def items() -> list[str]:
    """The input: the same on each call."""
    draw = random.Random(1)
    return [draw.randbytes(ITEM_BYTES // 2).hex() for _ in range(ITEMS)]


class Input:
    """The same, of unknown length, that stops in the middle of being read."""

    def __init__(self, points: Points) -> None:
        self._points = points

    def __iter__(self) -> Iterator[str]:
        for number, item in enumerate(items()):
            if number == ITEMS // 3:
                self._points.reach("submit")
            yield item


def functions(points: Points) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The map and the reduce of the job."""

    def map_item(number: int, item: str) -> Iterator[tuple[str, str]]:
        if number % ITEMS_PER_TASK == 0 and number >= FREE_TASKS * ITEMS_PER_TASK:
            points.reach("map")
        for pair in range(PAIRS_PER_ITEM):
            yield f"key {(number * 7 + pair) % KEYS}", f"{number}:{pair}:{item}"
        if number == ITEMS - 1:
            points.reach("last map")

    def reduce_key(key: str, values: list[str]) -> Result:
        if int(key.split()[1]) % 2:
            points.reach("reduce")
        text = "".join(values)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return Result(digest + text[: RESULT_BYTES - len(digest)], points)

    return map_item, reduce_key


def texts(results: dict[str, Result]) -> dict[str, str]:
    """Results in a form that can be compared."""
    return {key: result.text for key, result in results.items()}
