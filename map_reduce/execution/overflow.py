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

In a job that sorts, runs are in the order of their keys, and are merged (``merging.py``), which
takes one pass in whatever order keys come. That is for keys whose order and equality are one. Where
others are among them the parts are ranges of keys instead, cut by those that have come by then, and
reduced in order; keys whose values are on disk are reduced with the part whose range they are in.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from map_reduce.execution.gauge import Gauge
from map_reduce.execution.groups import Groups
from map_reduce.execution.keys import PRIMES
from map_reduce.execution.merging import SortedRuns, chunks_of
from map_reduce.execution.pairs import Pairs, are_in_one_order
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
        merges: whether runs are to be sorted and merged, as far as keys are of the kind.

    Attributes:
        ranges: the parts' ranges, once there is a run of them, where it sorts.
        merging: sorted runs; None where there are, or will be, parts.
        values: a file for the values of keys that have too many.
    """

    def __init__(
        self, gauge: Gauge, folder: Path, level: int, sorts: bool = False, merges: bool = False
    ) -> None:
        self.level = level
        self.merging = SortedRuns(folder / f"sorted-{level}") if merges else None
        self.ranges: Ranges | None = None
        self._sorts = sorts
        self.runs = Runs(folder / f"grouped-{level}", PARTS)
        self.values = ValueFile(folder / f"values-{level}")
        self._gauge = gauge
        self._merged_bytes = 0

    @property
    def has_runs(self) -> bool:
        return bool(self.runs.runs or self.merging)

    @property
    def bytes(self) -> int:
        """Put on disk."""
        merging = self._merged_bytes if self.merging is None else self.merging.bytes
        return self.runs.bytes + self.values.bytes + merging

    def relieve(self, groups: Groups) -> None:
        """Make room: ``groups`` has less in memory afterwards.

        Raises:
            Stopped: a key or value does not pickle, though it did before.
            OSError: a file cannot be written.
        """
        last = self.level == (RANGE_LEVELS_MAX if self._sorts else len(PRIMES))
        if last or not self.has_runs:
            self._store(groups, all_keys=last or len(groups) <= FEW_KEYS)
            if last:
                self._gauge.relieved()
                return
            if self._gauge.is_eased():
                return
        self.run(groups)

    def run(self, groups: Groups) -> None:
        """Put on disk what is in memory, but for the keys whose values are on disk already."""
        ordered = self._ordered(groups)
        stored = _stored_in(groups)
        irregular = _stored_in(groups.irregular)
        for key in stored:
            del groups[key]
        if groups and ordered and self.merging is not None:
            keys = [key for key in ordered if key not in stored] if stored else ordered
            self.merging.add(chunks_of(groups, keys), sum(map(len, groups.values())))
        elif groups:
            self._cut(groups)
        groups.clear()
        groups.update(stored)
        groups.irregular.update(irregular)
        if self.merging is not None:
            self.merging.settle()
        self._gauge.relieved()

    def _ordered(self, groups: Groups) -> list[Any]:
        """The keys in order, where they can be a run; else there is no more merging."""
        if self.merging is None or not groups:
            return []
        keys = list(groups)
        if not groups.irregular and are_in_one_order(keys):
            with suppress(TypeError):
                keys.sort()
                if self.merging.take(keys):
                    return keys
        self._leave_merging()
        return []

    def _leave_merging(self) -> None:
        """Go on with parts."""
        merging, self.merging = self.merging, None
        if not merging:
            return
        groups = Groups()
        for held_bytes, segment in merging.segments():
            groups.take(*segment)
            if self._gauge.is_filled(held_bytes):
                self._cut(groups)
                groups.clear()
                self._gauge.relieved()
        self._cut(groups)
        self._merged_bytes = merging.bytes
        merging.close()

    def _cut(self, groups: Groups) -> None:
        """Write a run, told apart into parts."""
        if self._sorts and self.ranges is None:
            self.ranges = Ranges.evenly(groups, PARTS)
        plain, level = not groups.irregular, 0 if self._sorts else self.level
        made = written(groups, PARTS, plain=plain, level=level, ranges=self.ranges)
        self.runs.add((part, data) for part, data, _ in made)

    def run_in_order(self, pairs: Pairs) -> None:
        """Put pairs on disk, which are sorted. Their keys may be those of runs before, too.

        Raises:
            Stopped: as of :meth:`relieve`; or two keys have no order.
            OSError: a file cannot be written.
        """
        if pairs.keys and self.merging is not None and not self.merging.take(pairs.keys):
            self._leave_merging()
        if pairs.keys and self.merging is not None:
            self.merging.add(iter([(pairs.keys, pairs.values)]), len(pairs))
        elif pairs.keys:
            if self.ranges is None:
                self.ranges = Ranges.cut(pairs.keys, PARTS)
            self.runs.add((part, data) for part, data, _ in written_in_order(pairs, self.ranges))
        pairs.clear()
        if self.merging is not None:
            self.merging.settle()
        self._gauge.relieved()

    def _store(self, groups: Groups, *, all_keys: bool) -> None:
        bound = 0 if all_keys else sum(map(len, groups.values())) // LARGE_SHARE
        moved: dict[int, StoredValues] = {}  # by the identity of the list that they leave
        held: dict[Any, Any] = groups  # what goes to disk is as good as a list, for adding to it
        for key, values in held.items():
            if len(values) > bound and type(values) is list:
                moved[id(values)] = stored = StoredValues(self.values)
                stored.extend(values)
                held[key] = stored
        if moved and groups.irregular:
            of_forms: dict[Any, Any] = groups.irregular
            for form, values in of_forms.items():
                of_forms[form] = moved.get(id(values), values)

    def close(self) -> None:
        """Delete its files."""
        self.runs.close()
        self.values.close()
        if self.merging is not None:
            self.merging.close()


def readable(groups: Groups) -> None:
    """Put in the place of values that went to disk what reduce may read them by."""
    held: dict[Any, Any] = groups
    for key, values in held.items():
        if type(values) is StoredValues:
            held[key] = values.view()


def _stored_in(held: dict[Any, Any]) -> dict[Any, Any]:
    return {key: values for key, values in held.items() if type(values) is StoredValues}
