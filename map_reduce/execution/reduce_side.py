"""Grouping what all map tasks made for some partitions, and the user's reduce over it.

One partition after another, and for each the segments in the order of splits. So a key's
values arrive in the order of the sequential run, its first spelling (1 rather than 1.0) is the
sequential run's, and the dict in hand is as small as it can be. Keys need no order. What does not
fit in memory is grouped on disk (``overflow.py``).

The position by which a key is found again in another attempt is its hash: in which order keys are
reduced depends on what had to go to disk.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from map_reduce.errors import BadKeyError, ConfigError, MapReduceError, ReduceError
from map_reduce.execution.failures import Spot, Stopped, shown
from map_reduce.execution.formatted import TextWriter, format_of, unformatted
from map_reduce.execution.functions import LoadedFunctions
from map_reduce.execution.gauge import Gauge, Pace
from map_reduce.execution.groups import Groups
from map_reduce.execution.key_faults import fault_of
from map_reduce.execution.keys import PLAIN, fingerprint_of, hashes_of
from map_reduce.execution.lines import UnfitError, write_lines
from map_reduce.execution.merging import SortedRuns, whole
from map_reduce.execution.overflow import Overflow, readable
from map_reduce.execution.results import ResultWriter
from map_reduce.execution.segments import HASHES, Header, Segment
from map_reduce.execution.sorting import Ranges, sorted_keys
from map_reduce.execution.tracker import Note, Stretch, Tracker

NOTHING: Mapping[Any, Any] = {}

KEYS_AT_FIRST, KEYS_AT_A_TIME_MAX = 1 << 10, 1 << 14
"""Keys that are reduced between two looks at how much memory the results take."""

_ENDS_A_LOOP = "StopIteration: raised in reduce, by next() where nothing is left"


class ReduceSide:
    """Reduces partitions, given as segments in the order of splits.

    Args:
        note: called before each key is reduced, where not None.
        folder: for what does not fit in memory.
    """

    def __init__(
        self,
        functions: LoadedFunctions,
        tracker: Tracker,
        note: Note | None,
        results: ResultWriter,
        gauge: Gauge,
        folder: Path,
    ) -> None:
        self.results = results
        self.keys = 0  # reduced, or left out
        self.spilled_bytes = 0
        self.values_in = 0
        self.bytes_in = 0
        self._functions = functions
        self._tracker = tracker
        self._note = note
        self._gauge = gauge
        self._folder = folder
        self._pace = Pace(gauge, KEYS_AT_FIRST, KEYS_AT_A_TIME_MAX)

    def add(self, segments: Iterable[tuple[Header, Segment, str]]) -> None:
        """Reduce one partition: its segments, each with where it comes from, for messages.

        Raises:
            Stopped: by user code, or by a key whose hash differs between processes.
            ConfigError: the hashes of all keys differ between processes.
        """
        before = self.bytes_in
        self._group(self._checked(segments), 1, before)

    def _checked(
        self, segments: Iterable[tuple[Header, Segment, str]]
    ) -> Iterator[tuple[int, Segment]]:
        for header, segment, source in segments:
            self.values_in += header.values
            self.bytes_in += header.body_bytes
            self._check_hashes(header, segment, source)
            yield header.body_bytes, segment

    def _group(
        self,
        segments: Iterator[tuple[int, Segment]],
        level: int,
        before: int,
        to: int | None = None,
        carried: Mapping[Any, Any] = NOTHING,
    ) -> None:
        """Group and reduce, in memory as far as it goes.

        Args:
            segments: each with its length in bytes.
            level: how often the keys were told apart by their hashes.
            before, to: bytes of input before these segments and after them, for progress.
            carried: further keys with all their values, to be reduced with these.
        """
        groups = Groups()
        with closing(self._overflow(level, merges=not carried)) as overflow:
            self._gather(segments, groups, overflow)
            self._reduce_gathered(groups, overflow, before, to, carried)

    def _overflow(self, level: int, merges: bool) -> Overflow:
        sorts = self._functions.sorts
        return Overflow(self._gauge, self._folder, level, sorts, sorts and merges)

    def _gather(
        self, segments: Iterator[tuple[int, Segment]], groups: Groups, overflow: Overflow
    ) -> None:
        """Group the segments, some on disk where not all fit."""
        for held_bytes, segment in segments:
            try:
                groups.take(*segment)
            except MapReduceError:
                raise
            except Exception as error:  # a user's __eq__ or __hash__, in C code perhaps
                fault = fault_of(error, ReduceError)
                raise (
                    fault or Stopped(ReduceError, "while grouping keys", original=error)
                ) from error
            if self._gauge.is_filled(held_bytes) and not self._is_eased_by_results():
                overflow.relieve(groups)

    def _reduce_gathered(
        self,
        groups: Groups,
        overflow: Overflow,
        before: int,
        to: int | None = None,
        carried: Mapping[Any, Any] = NOTHING,
    ) -> None:
        """Reduce these groups, and what is on disk; the arguments are those of ``_group``."""
        to = self.bytes_in if to is None else to
        runs = overflow.runs
        if overflow.has_runs:
            overflow.run(groups)
        readable(groups)
        if overflow.merging:
            self._reduce_merged(overflow.merging, groups, overflow, before, to)
            self.spilled_bytes += overflow.bytes
            return
        self.spilled_bytes += overflow.bytes
        groups.update(carried)
        shares = _shares(groups, overflow.ranges, runs.partitions)
        self._reduce(groups, before, before if runs.runs else to)
        done = 0
        for part in range(runs.partitions if runs.runs else 0):
            first = before + (to - before) * done // runs.bytes
            done += runs.bytes_of(part)
            last = before + (to - before) * done // runs.bytes
            parted = ((header.body_bytes, segment) for header, segment, _ in runs.decoded(part))
            self._group(parted, overflow.level + 1, first, last, shares[part])

    def _reduce_merged(
        self, runs: SortedRuns, groups: Groups, overflow: Overflow, before: int, to: int
    ) -> None:
        """Reduce what is in sorted runs, and these groups, whose keys are in no run."""
        others = sorted_keys(groups)
        total, done, first = max(1, runs.held_bytes), 0, before
        for keys, lists, read_bytes in whole(runs.merged(), self._gauge, overflow.values):
            if others and keys:
                for key in others[: (cut := bisect_left(others, keys[-1]))]:
                    keys.insert(at := bisect_left(keys, key), key)
                    lists.insert(at, groups[key])
                del others[:cut]
            done += read_bytes
            last = before + (to - before) * min(done, total) // total
            self._reduce_all(keys, lists, first, last)
            first = last
        self._reduce_all(others, list(map(groups.__getitem__, others)), first, to)

    def _is_eased_by_results(self) -> bool:
        """Write out the results that are held, if any; whether that made room enough."""
        if self.results.is_empty:
            return False
        self.results.flush()
        return self._gauge.is_eased()

    def _check_hashes(self, header: Header, segment: Segment, source: str) -> None:
        keys = segment.keys
        if fingerprint_of(keys) % HASHES == header.hashes:
            return
        kinds = {type(key): key for key in reversed(keys) if type(key) not in PLAIN}
        if not kinds:
            raise ConfigError(
                f"str or bytes keys have other hashes here than in the process that wrote "
                f"{source}: the worker processes differ in PYTHONHASHSEED or in their build of "
                "Python, so equal keys could not meet. Run the same Python on all nodes"
            )
        kind, key = next(reversed(kinds.items()))
        others = "" if len(kinds) == 1 else " (or of " + _names(list(kinds)[:-1]) + ")"
        raise Stopped(
            BadKeyError,
            f"in reduce, a key such as {shown(key)}",
            f"the hash of keys of type {kind.__qualname__}{others} differs between processes, so "
            "equal keys could not meet; let its __hash__ depend on strings, bytes, numbers and "
            "tuples of these only, not on None (before Python 3.12), id() or other objects",
        )

    def _reduce(self, groups: Groups, bytes_before: int, bytes_to: int) -> None:
        """Reduce all keys, in order where the job sorts."""
        keys, lists = list(groups), list(groups.values())
        if self._functions.sorts:
            keys = sorted_keys(groups)
            lists = list(map(groups.__getitem__, keys))
        groups.clear()
        self._reduce_all(keys, lists, bytes_before, bytes_to)

    def _reduce_all(
        self, keys: list[Any], lists: list[list[Any]], bytes_before: int, bytes_to: int
    ) -> None:
        """Reduce some keys at a time, and write out results as they become many."""
        total, read = len(keys), bytes_to - bytes_before
        done = 0
        while done < total:
            end = min(total, done + self._pace.now)
            taken = keys[done:end], lists[done:end]
            lists[done:end] = [[]] * (end - done)  # freed once they are reduced
            bounds = (bytes_before + read * at // total for at in (done, end))
            self._reduce_some(*taken, *bounds)
            del taken
            self.keys += (some := end - done)
            done = end
            if self._pace.look(some):
                self.results.flush()
                self._gauge.is_eased()
            else:
                self.results.settle()

    def _reduce_some(
        self, keys: list[Any], lists: list[list[Any]], bytes_before: int, bytes_to: int
    ) -> None:
        taken = iter(keys)
        stretch = self._enter(keys, taken, bytes_before, bytes_to)
        if self._note is None and format_of(self._functions.reduce) == "lines":
            self._write_lines(keys, taken, lists, stretch)
            return
        noted = taken if self._note is None else self._noting(taken, self._note)
        try:
            values = list(map(self._functions.reduce, noted, lists))
        except BaseException as error:
            raise self._stop(keys, stretch.position(), original=error) from error
        if len(values) != len(keys):  # list() took it for the end
            raise self._stop(keys, len(values), _ENDS_A_LOOP, StopIteration())
        self.results.keys.extend(keys)
        self.results.values.extend(values)

    def _write_lines(
        self, keys: list[Any], taken: Iterator[Any], lists: list[list[Any]], stretch: Stretch
    ) -> None:
        assert isinstance(self.results, TextWriter)
        try:
            write_lines(unformatted(self._functions.reduce), keys, taken, lists, self.results.add)
        except UnfitError as unfit:
            raise self._stop(keys, unfit.at, original=unfit.error) from unfit.error
        except StopIteration:
            raise self._stop(keys, stretch.position(), _ENDS_A_LOOP, StopIteration()) from None
        except BaseException as error:
            raise self._stop(keys, stretch.position(), original=error) from error

    def _enter(
        self, keys: list[Any], taken: Iterator[Any], bytes_before: int, bytes_to: int
    ) -> Stretch:
        """Go on to these keys, which ``taken`` gives."""
        name = lambda at: f"key {shown(keys[at])}"  # noqa: E731
        stretch = Stretch(self.keys, len(keys), taken, name, bytes_before, bytes_to)
        self._tracker.enter(stretch)
        return stretch

    def _noting(self, keys: Iterator[Any], note: Note) -> Iterator[Any]:
        for number, key in enumerate(keys, self.keys):
            note_key(note, number, key)
            yield key
        note("", -1, "", "")

    def _stop(
        self,
        keys: list[Any],
        at: int,
        headline: str = "",
        original: BaseException | None = None,
    ) -> Stopped:
        """At one of the keys at hand."""
        key = f"key {shown(keys[at])}"
        spot = Spot("reduce", position_of(keys[at]), key, "")
        return Stopped(ReduceError, f"in reduce, at {key}", headline, original, spot=spot)


def _shares(groups: Groups, ranges: Ranges | None, parts: int) -> Sequence[Mapping[Any, Any]]:
    """Where parts are ranges of keys: what of the groups belongs to each, which is taken out."""
    if ranges is None:
        return [NOTHING] * parts
    shares = [{key: groups[key] for key in some} for some in ranges.stretches(groups)]
    groups.clear()
    return [*shares, *[NOTHING] * (parts - len(shares))]


def position_of(key: Any) -> int:
    """By which a key is found again: the same in every attempt, and hardly ever another key's."""
    (hashed,) = hashes_of((key,), plain=False)
    return hashed & sys.maxsize


def note_key(note: Note, number: int, key: Any) -> None:
    """Note that a key is begun: first without its repr, where that is made by user code."""
    position = position_of(key)
    if type(key) not in PLAIN:
        note("reduce", position, f"key number {number}", "")
    note("reduce", position, f"key {shown(key)}", "")


def _names(kinds: list[type]) -> str:
    return ", ".join(kind.__qualname__ for kind in kinds)
