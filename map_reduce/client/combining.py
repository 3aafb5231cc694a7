"""Which small files share a split.

A split costs a task: half a millisecond, a line in the job's ledger, and a map output in which
every key stands once more. So where there are more files than a job needs splits, neighbours
share one, in order:

- **Not too few.** A job has as many splits as it would have of one large file of that size, and
  never fewer than its slots can use, whatever the size: sixteen lines in sixteen files may each
  stand for an hour of work. Where there are not so many files, each is a split.
- **Not too large.** Together they are no longer than one file may be that is not cut.
- **Even.** Of all ways to have so few splits one is taken whose longest split is shortest.

Given a bound for their bytes, the fewest splits are had by filling one after another (``_fill``),
and the larger the bound, the fewer they are. So both bounds are found by bisection.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

FILES_PER_SPLIT_MAX = 500
"""An order names them all: with the longest paths there are, these have half of a message. To read
so many takes 5 to 10 ms, beside which a task's half of one no longer matters."""


def shared(
    sizes: Sequence[int], run_ends: Sequence[int], bytes_max: int, splits_min: int
) -> list[range]:
    """Stretches of neighbours that share a split: all of ``sizes``, in order.

    Args:
        sizes: bytes of each file, or part of a file.
        run_ends: for each the end of the stretch around it that may share one at all.
        bytes_max: of a split of several.
        splits_min: how many splits there are to be at least, as far as there are so many sizes.
    """
    if len(sizes) <= splits_min:
        return [range(at, at + 1) for at in range(len(sizes))]
    ends = list(accumulate(sizes, initial=0))

    def ordered(bound: int) -> int:
        return -len(_fill(ends, run_ends, bound))

    bounds = range(bytes_max + 1)
    largest = bisect_right(bounds, -splits_min, key=ordered) - 1
    even = bisect_left(bounds, ordered(largest), hi=largest, key=ordered)
    return _fill(ends, run_ends, even)


def _fill(ends: Sequence[int], run_ends: Sequence[int], bytes_max: int) -> list[range]:
    """The fewest stretches of no more than ``bytes_max``, unless it is one alone that is longer."""
    found = []
    at = 0
    while at < len(run_ends):
        end = bisect_right(ends, ends[at] + bytes_max, at + 1) - 1
        end = max(at + 1, min(end, run_ends[at], at + FILES_PER_SPLIT_MAX))
        found.append(range(at, end))
        at = end
    return found
