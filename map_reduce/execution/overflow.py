"""What of a partition goes to disk while it is grouped.

Grouping begins in memory. When that is short, there are two ways out, and both keep the values of
each key in their order:

- **Keys with a large share of all values** leave their lists: what they have, and what comes, goes
  to a file (``stored_values.py``), and reduce reads it from there. Only the first time, while all
  values so far are at hand.
- **All others** go to disk as a run, told apart by another hash of theirs into ``PARTS`` parts
  (``spill.py``), and grouping goes on with what comes. When all is read, each part is grouped as
  the whole was, and may overflow in turn, until nothing is left to tell keys apart by: then each
  key's values go to the file.

    partition ──▶ groups ──┬─ fit ──────────────────────────────────────────▶ reduce
                           ├─ few keys, many values ──▶ values on disk ─────▶ reduce
                           └─ many keys ──▶ 32 parts on disk ──▶ each again ─┘

In a job that sorts, the parts are ranges of keys, and are reduced in order; keys whose values are
on disk are reduced with the part whose range they are in. What it holds as sorted pairs
(``pair_sides.py``) goes to disk as a run like any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from map_reduce.execution.gauge import Gauge
from map_reduce.execution.groups import Groups
from map_reduce.execution.keys import PRIMES
from map_reduce.execution.pairs import Pairs
from map_reduce.execution.partitioned import written, written_in_order
from map_reduce.execution.sorting import Ranges
from map_reduce.execution.spill import Runs
from map_reduce.execution.stored_values import StoredValues, ValueFile

PARTS = 32
"""Parts that a partition is cut into which does not fit."""

LARGE_SHARE = 8
"""A key has a large share with more than one in so many of all values."""

RANGE_LEVELS_MAX = 64
"""Ranges of keys are cut by those that have come by then. Where keys come in order, what comes
later is all in the last range: so a range may be cut again and again."""

FEW_KEYS = 16
"""Where there are no more keys than this, each has a large share."""


class Overflow:
    """Of one partition, or a part of one.

    Args:
        folder: for its files.
        level: how often its keys have been told apart by their hashes, from 1.
        sorts: whether the parts are to be ranges of keys, in order.

    Attributes:
        ranges: the parts' ranges, once there is a run, where it sorts.
    """

    def __init__(self, gauge: Gauge, folder: Path, level: int, sorts: bool = False) -> None:
        self.level = level
        self.ranges: Ranges | None = None
        self._sorts = sorts
        self.runs = Runs(folder / f"grouped-{level}", PARTS)
        self._values = ValueFile(folder / f"values-{level}")
        self._gauge = gauge

    @property
    def bytes(self) -> int:
        """Put on disk."""
        return self.runs.bytes + self._values.bytes

    def relieve(self, groups: Groups) -> None:
        """Make room: ``groups`` has less in memory afterwards.

        Raises:
            Stopped: a key or value does not pickle, though it did before.
            OSError: a file cannot be written.
        """
        last = self.level == (RANGE_LEVELS_MAX if self._sorts else len(PRIMES))
        if last or not self.runs.runs:
            self._store(groups, all_keys=last or len(groups) <= FEW_KEYS)
            if last:
                self._gauge.relieved()
                return
            if self._gauge.is_eased():
                return
        self.run(groups)

    def run(self, groups: Groups) -> None:
        """Put on disk what is in memory, but for the keys whose values are on disk already."""
        stored = _stored_in(groups)
        irregular = _stored_in(groups.irregular)
        for key in stored:
            del groups[key]
        if groups:
            plain = not groups.irregular
            if self._sorts and self.ranges is None:
                self.ranges = Ranges.evenly(groups, PARTS)
            level = 0 if self._sorts else self.level
            made = written(groups, PARTS, plain=plain, level=level, ranges=self.ranges)
            self.runs.add((part, data) for part, data, _ in made)
        groups.clear()
        groups.update(stored)
        groups.irregular.update(irregular)
        self._gauge.relieved()

    def run_in_order(self, pairs: Pairs) -> None:
        """Put pairs on disk, which are sorted. Their keys may be those of runs before, too.

        Raises:
            Stopped: as of :meth:`relieve`; or two keys have no order.
            OSError: a file cannot be written.
        """
        if self.ranges is None:
            self.ranges = Ranges.cut(pairs.keys, PARTS)
        self.runs.add((part, data) for part, data, _ in written_in_order(pairs, self.ranges))
        pairs.clear()
        self._gauge.relieved()

    def _store(self, groups: Groups, *, all_keys: bool) -> None:
        bound = 0 if all_keys else sum(map(len, groups.values())) // LARGE_SHARE
        moved: dict[int, StoredValues] = {}  # by the identity of the list that they leave
        held: dict[Any, Any] = groups  # what goes to disk is as good as a list, for adding to it
        for key, values in held.items():
            if len(values) > bound and type(values) is list:
                moved[id(values)] = stored = StoredValues(self._values)
                stored.extend(values)
                held[key] = stored
        if moved and groups.irregular:
            of_forms: dict[Any, Any] = groups.irregular
            for form, values in of_forms.items():
                of_forms[form] = moved.get(id(values), values)

    def close(self) -> None:
        """Delete its files."""
        self.runs.close()
        self._values.close()


def readable(groups: Groups) -> None:
    """Put in the place of values that went to disk what reduce may read them by."""
    held: dict[Any, Any] = groups
    for key, values in held.items():
        if type(values) is StoredValues:
            held[key] = values.view()


def _stored_in(held: dict[Any, Any]) -> dict[Any, Any]:
    return {key: values for key, values in held.items() if type(values) is StoredValues}
