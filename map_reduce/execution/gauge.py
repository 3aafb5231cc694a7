"""How much memory an attempt takes, and when it is to put what it holds on disk.

What Python objects take up cannot be told from outside at a bearable cost: a list of a million
numbers may be 8 MB or 40. What the process takes up can, by one look: the kernel keeps
the count (``/proc/self/statm``). So every so often whoever fills memory looks at that. Where there
is no such file, the number of objects that the interpreter has allocated stands in for it.

Freeing does not give all memory back: what is left between objects that stay is there for the next
ones, and user code may hold much that is none of ours. A process that is past its bound whatever
is put on disk must not do so after every other record. So after each relief the bound is at least
a good step (``STEP_SHARE``) above what the process takes up then.

The bound is a share of the machine, but others may want more than theirs: several nodes, a browser.
So where little memory is left on the machine, a process makes room that has grown by a step.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

STEP_SHARE = 8
"""The least growth between two reliefs, as a part of the bound, up to ``STEP_BYTES_MAX``."""

STEP_BYTES_MAX = 256 << 20

SHARE_OF_BOUND = 0.5
"""Of the memory that a worker process may have, what may be taken up when spilling begins. The
rest is for what it takes to write it out, for a dict that grows, and for user code."""

SHARE_OF_MACHINE = 0.5
"""Of the machine's memory, what all slots together may take up before they spill."""

GROWTH_IN_MEMORY = 32
"""So many times as much as when pickled small keys and values take up in memory."""

SPARE_SHARE = 0.1
"""Of the machine's memory, what is to be left for whoever needs some next."""

LOOKS_PER_LOOK_AT_MACHINE = 16

STATM = "/proc/self/statm"
MEMINFO = "/proc/meminfo"

BYTES_PER_OBJECT = 96
"""A guess at the size of an object, where the process cannot be measured."""


class Gauge(Protocol):
    """What tells when to put on disk what is held in memory."""

    def is_over(self) -> bool:
        """Whether it is time: looks at the process, which takes up to a tenth of a millisecond."""

    def is_filled(self, pickled_bytes: int) -> bool:
        """The same where so much more is held than at the last call: looks only if it matters."""

    def is_eased(self) -> bool:
        """Whether there is room again, now that some of what was held is freed."""

    def relieved(self) -> None:
        """All that could be put on disk was, and is freed: what is left is to be borne with."""

    def grown(self) -> float:
        """By what part of the bound the process has grown between two looks, the last of which was
        the last at all, and the first the one when this was asked before."""


class MemoryGauge:
    """Of this process.

    Args:
        bound_bytes: what it may take up before it spills.
        measure: what it takes up now, in bytes.
        is_short: whether little memory is left on the machine.
    """

    def __init__(
        self,
        bound_bytes: int,
        measure: Callable[[], int] | None = None,
        is_short: Callable[[], bool] | None = None,
    ) -> None:
        self._measure = measure or measure_of_process()
        self._is_short = is_short or machine_is_short
        self._looks = 0
        self._held_bytes = 0
        self._step = min(STEP_BYTES_MAX, max(1, bound_bytes // STEP_SHARE))
        self._asked = bound_bytes
        self._taken = self._seen = self._least = self._bound = -1  # until it is first looked at
        self._share = 1.0 / max(1, bound_bytes)

    def is_over(self) -> bool:
        self._seen = taken = self._measure()
        self._held_bytes = 0
        if self._taken < 0:
            self._begin_at(taken)
        if taken > self._bound:
            return True
        self._looks += 1
        if self._looks % LOOKS_PER_LOOK_AT_MACHINE:
            return False
        return taken > self._least and self._is_short()

    def is_filled(self, pickled_bytes: int) -> bool:
        self._held_bytes += pickled_bytes
        return self._held_bytes * GROWTH_IN_MEMORY > self._step // 4 and self.is_over()

    def is_eased(self) -> bool:
        give_back()
        self._taken = self._seen = self._measure()
        return self._taken <= self._bound - self._step

    def relieved(self) -> None:
        give_back()
        self._begin_at(self._measure())

    def _begin_at(self, taken: int) -> None:
        self._taken = self._seen = taken
        self._least = taken + self._step
        self._bound = max(self._asked, self._least)

    def grown(self) -> float:
        before, self._taken = self._taken, self._seen
        return (self._taken - before) * self._share


class Unbounded:
    """A gauge that never says so."""

    def is_over(self) -> bool:
        return False

    def is_filled(self, pickled_bytes: int) -> bool:
        return False

    def is_eased(self) -> bool:
        return True

    def relieved(self) -> None:
        pass

    def grown(self) -> float:
        return 0.0


class Pace:
    """How much to do until the next look at memory: more while it hardly grows.

    Args:
        first, most: to do until the first look, and at most between two.
    """

    def __init__(self, gauge: Gauge, first: int, most: int) -> None:
        self.now = min(first, most)
        self._gauge = gauge
        self._most = most
        self._done = 0

    def look(self, done: int) -> bool:
        """Whether memory is past its bound, now that so much more is done; looks only where it is
        time to. Sets ``now`` by how it has grown."""
        self._done += done
        if self._done < self.now:
            return False
        self._done = 0
        over = self._gauge.is_over()
        grown = self._gauge.grown()
        if grown < 1 / 64:
            self.now = min(2 * self.now, self._most)
        elif grown > 1 / 16:
            self.now = max(1, self.now // 4)
        return over


def bound_of(memory_mb_max: int, slots: int) -> int:
    """In bytes, what an attempt may take up before it spills.

    Args:
        memory_mb_max: MiB that the worker process may use; 0: as much as there is.
        slots: worker processes that share the machine, or what the node may use of it.
    """
    share = int(memory_of_machine() * SHARE_OF_MACHINE / max(1, slots))
    return min(share, int((memory_mb_max << 20) * SHARE_OF_BOUND)) if memory_mb_max else share


@functools.cache
def memory_of_machine() -> int:
    """Bytes of memory that the machine has, or that the process's control group may use of it."""
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return min(pages * page, *_group_bounds(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")))


def _group_bounds(groups: Path, of_process: Path) -> list[int]:
    """What the process's control groups are bounded to; at least one number."""
    bounds = [sys.maxsize]
    try:
        lines = of_process.read_text().splitlines()
    except OSError:
        return bounds  # not Linux
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2: each group has its bound, and its parents' hold as well
            here = groups / path.lstrip("/")
            files = [folder / "memory.max" for folder in (here, *here.parents)]
        elif "memory" in controllers.split(","):
            name = "memory.limit_in_bytes"
            files = [groups / "memory" / path.lstrip("/") / name, groups / "memory" / name]
        else:
            continue
        for file in files:
            bounds += _number_in(file)
    return bounds


def _number_in(file: Path) -> list[int]:
    try:
        text = file.read_text().strip()
    except OSError:
        return []
    return [int(text)] if text.isdigit() else []  # "max"


def machine_is_short() -> bool:
    """Whether little memory is left on the machine; False where that is not to be known."""
    try:
        with open(MEMINFO, encoding="ascii") as file:
            numbers = dict(line.split()[:2] for line in file)
        return int(numbers["MemAvailable:"]) < SPARE_SHARE * int(numbers["MemTotal:"])
    except (OSError, KeyError):
        return False


@functools.cache
def measure_of_process() -> Callable[[], int]:
    """A function that tells how many bytes of memory this process takes up."""
    if not os.path.exists(STATM):
        return lambda: sys.getallocatedblocks() * BYTES_PER_OBJECT
    page = os.sysconf("SC_PAGE_SIZE")
    return lambda: _number_of_pages() * page


def _number_of_pages() -> int:
    file = os.open(STATM, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(file, 128).split(b" ", 2)[1])
    finally:
        os.close(file)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """glibc's ``malloc_trim``, where there is one."""
    import ctypes  # late: few attempts need it

    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None


def give_back() -> None:
    """Return freed memory to the system: what is free in the middle of the heap, too."""
    trim = _trim()
    if trim is not None:
        trim(0)
