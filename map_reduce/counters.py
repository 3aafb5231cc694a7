"""Counters: what map and reduce count besides their results.

>>> from map_reduce import counter
>>> def parse(number, line):
...     word, _, count = line.partition(" ")
...     if not count:
...         counter("lines without a count").add()
...         return []
...     counter("words").add(int(count))
...     return [(word, int(count))]

A job's counters are exact: those of the attempts whose outputs count, each once, whatever was
tried again (see ``docs/tasks.md``). Outside a task there is nothing that they could belong to,
and counting does nothing. To see what a function counts, as in a test of it:

>>> with counting() as counted:
...     parse(0, "apple 3") + parse(1, "pear")
[('apple', 3)]
>>> counted
{'words': 3, 'lines without a count': 1}
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from map_reduce.core.messages import COUNT_MAX, COUNTERS_MAX
from map_reduce.errors import CounterError, shortened

NAME_CHARACTERS_MAX = 100

_lock = threading.Lock()  # for what is counted: user code may have threads
_counted: dict[int, dict[str, int]] = {}
"""By the thread that counts. A worker process has one, and its user code's own threads count for
it; where attempts run in several threads of one process, a thread beside them is told so."""


class Counter:
    """One counter, by its name. Two of the same name are the same."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"counter({self.name!r})"

    def add(self, amount: int = 1) -> None:
        """Count ``amount``, which may be negative.

        Raises:
            CounterError: it is no whole number, the job has too many names of counters, or
                the count leaves the range of 62 bits.
        """
        try:
            amount = operator.index(amount)
        except TypeError:
            raise CounterError(
                f"{self!r} was given {shortened(repr(amount))}; counters count in whole numbers"
            ) from None
        with _lock:
            counted = _here()
            if counted is None:
                return
            count = counted.get(self.name, 0) + amount
            if not -COUNT_MAX <= count <= COUNT_MAX:
                raise CounterError(f"{self!r} has left the range of 62 bits")
            if self.name not in counted and len(counted) >= COUNTERS_MAX:
                raise too_many_counters(self.name)
            counted[self.name] = count


def counter(name: str) -> Counter:
    """The counter of that name, for use in map, reduce and combine: ``counter("x").add(2)``.

    Args:
        name: of at most 100 characters; a job has at most 100 counters.

    Raises:
        CounterError: the name is empty, too long, or no str.
    """
    if type(name) is not str or not 0 < len(name) <= NAME_CHARACTERS_MAX:
        raise CounterError(
            f"a counter's name is a str of 1 to {NAME_CHARACTERS_MAX} characters, not "
            f"{shortened(repr(name))}"
        )
    if not name.isprintable():
        raise CounterError(f"a counter's name is shown to people, so it can't be {name!r}")
    return Counter(name)


def too_many_counters(name: str) -> CounterError:
    """What is said where ``name`` would be one too many."""
    return CounterError(
        f"{counter(name)!r} is one too many: a job has at most {COUNTERS_MAX} counters. What has "
        "a count for each of many things is a result: give pairs, and sum them in reduce"
    )


@contextmanager
def counting() -> Iterator[dict[str, int]]:
    """Collect what is counted inside, by this thread and those that it has started."""
    counted: dict[str, int] = {}
    me = threading.get_ident()
    with _lock:
        outer = _counted.get(me)
        _counted[me] = counted
    try:
        yield counted
    finally:
        with _lock:
            if outer is None:
                del _counted[me]
            else:
                _counted[me] = outer


def _here() -> dict[str, int] | None:
    counted = _counted.get(threading.get_ident())
    if counted is None and _counted:
        if len(_counted) > 1:
            raise CounterError(
                "a thread that user code has started counts, and several attempts run in this "
                "process, so it cannot be known for which: count in the thread that called map"
            )
        (counted,) = _counted.values()
    return counted
