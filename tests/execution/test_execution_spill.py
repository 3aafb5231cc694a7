"""Map, grouping and reduce where memory is short: as if it were not."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from execution_runs import attempt, folder, items_split, reduce_work, results_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_execution_sequential import check, inputs, jobs, last, sequential

from map_reduce.core.messages import (
    BadRecord,
    Failed,
    MapOutput,
    MapWork,
    Skipping,
    Suspect,
    WholeWork,
)
from map_reduce.execution import map_side, merging, partitioned
from map_reduce.execution.attempt import LoadedFunctions
from map_reduce.execution.functions import prepared
from map_reduce.execution.gauge import (
    MemoryGauge,
    Pace,
    bound_of,
    machine_is_short,
    memory_of_machine,
)
from map_reduce.execution.pickles import dump_lists
from map_reduce.execution.reduce_side import position_of
from map_reduce.execution.spill import Runs
from map_reduce.execution.stored_values import Values


class Tight:
    """A gauge by which memory is short at every ``every``-th look."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.looks = 0
        self.reliefs = 0

    def is_over(self) -> bool:
        self.looks += 1
        return self.looks % self.every == 0

    def is_filled(self, pickled_bytes: int) -> bool:
        return self.is_over()

    def is_eased(self) -> bool:
        return self.looks // self.every % 2 == 0

    def relieved(self) -> None:
        self.reliefs += 1

    def grown(self) -> float:
        return 1 / 32  # keeps the pace as it is


@pytest.fixture(autouse=True, scope="module")
def often():
    """Looks after every other pair, and segments of a few values."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PAIRS_AT_FIRST", "RECORDS_AT_FIRST"):
            patch.setattr(map_side, name, 2)
        patch.setattr("map_reduce.execution.guarded.PAIRS_AT_FIRST", 2)
        patch.setattr("map_reduce.execution.reduce_side.KEYS_AT_FIRST", 2)
        patch.setattr(partitioned, "VALUES_MAX", 3)
        patch.setattr(merging, "FAN_IN", 3)
        yield


NAN = float("nan")
KEYS = st.one_of(
    st.integers(100, 120),
    st.sampled_from([0, 1, 1.0, True, 2, -1, -2, "a", "b", b"a", None, NAN, -NAN, 0.5]),
    st.sampled_from([(1, None), (1.0, NAN), ("a", "b"), frozenset([None]), range(3), 2**61 - 1]),
)
RECORDS = st.lists(st.lists(st.tuples(KEYS, st.integers(0, 99)), max_size=6), max_size=20)


def run(
    functions: LoadedFunctions,
    splits: list[list[Any]],
    partitions: int,
    gauge: Any,
    skipping: Skipping | None = None,
    bounds: bytes = b"",
) -> list[tuple[Any, Any]]:
    """A whole job with this gauge in each of its attempts; the results in order."""
    results = []
    with folder() as here:
        if len(splits) == 1:
            work = WholeWork(items_split(splits[0]))
            return results_of(*attempt(work, functions, here / "o", skipping=skipping, gauge=gauge))
        mapped = []
        for number, items in enumerate(splits):
            work = MapWork(items_split(items), partitions, bounds)
            outcome, path = attempt(
                work, functions, here / f"m{number}", skipping=skipping, gauge=gauge
            )
            assert isinstance(outcome, MapOutput), outcome
            assert path is not None
            assert path.stat().st_size == sum(outcome.sizes)
            mapped.append((path, outcome.sizes))
        for first in range(0, partitions, 2):
            work, local = reduce_work(mapped, first, min(partitions, first + 2))
            reduced = attempt(work, functions, here / "r", local, skipping=skipping, gauge=gauge)
            results += results_of(*reduced)
            (here / "r").unlink(missing_ok=True)
        assert len([*here.iterdir()]) == len(mapped), "something is left behind"
    return results


def as_set(results: list[tuple[Any, Any]]) -> list[str]:
    """Without their order, but with the spelling of each key."""
    return sorted(map(repr, results))


def lists(number: int, pairs: list[Any]) -> list[Any]:
    return pairs


def yields(number: int, pairs: list[Any]) -> Iterator[Any]:
    yield from pairs


def lazily(number: int, pairs: list[Any]) -> Any:
    return iter(pairs)


def as_lists(number: int, pairs: list[Any]) -> list[Any]:
    return [list(pair) for pair in pairs]


def in_order(key: Any, values: list[Any]) -> list[Any]:
    return list(values)


def total(key: Any, values: list[int]) -> int:
    return sum(values)


def joined(key: Any, values: list[Any]) -> str:
    return "".join(map(str, values))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(RECORDS, min_size=1, max_size=3),
    st.integers(1, 4),
    st.integers(1, 7),
    st.sampled_from([lists, yields, lazily, as_lists]),
    st.sampled_from(
        [(in_order, None), (total, None), (total, total), (joined, joined), (max, None)]
    ),
    st.booleans(),
)
def test_what_is_put_on_disk_changes_nothing(splits, partitions, every, map, rest, guarded):
    reduce, combine = rest
    if reduce is max:
        reduce = lambda key, values: max(values)  # noqa: E731
    functions = LoadedFunctions(map, reduce, combine)
    skipping = Skipping(-1, ()) if guarded else None
    plain = run(functions, splits, partitions, MemoryGauge(1 << 40))
    short = run(functions, splits, partitions, Tight(every), skipping)
    assert as_set(short) == as_set(plain)


@settings(max_examples=40, deadline=None)
@given(inputs(), jobs, st.lists(st.integers(0, 1000), max_size=3), st.integers(1, 5))
def test_any_job_gives_what_a_sequential_run_gives(records, functions, cuts, every):
    bounds = [0, *sorted({cut % (len(records) + 1) for cut in cuts} - {0}), len(records)]
    splits = [records[first:last] for first, last in itertools.pairwise(bounds)]
    if functions.reduce is last:  # which takes from the list
        functions = functions._replace(reduce=lambda key, values: values[-1])
    found = run(functions, splits, 3, Tight(every))
    check([found], sequential(records, functions), ordered=False)


@settings(max_examples=40, deadline=None)
@given(st.lists(RECORDS, min_size=1, max_size=3), st.integers(1, 4), st.integers(1, 5))
def test_bad_records_are_left_out_in_the_same_way(splits, partitions, every):
    def map(number, pairs):
        for key, value in pairs:
            if value == 13:
                raise ValueError("13")
            yield key, value

    def reduce(key, values):
        if sum(values) % 5 == 0:
            raise ValueError("a multiple of 5")
        return list(values)

    functions = LoadedFunctions(map, reduce, None)
    skipping = Skipping(-1, ())
    plain = run(functions, splits, partitions, MemoryGauge(1 << 40), skipping)
    short = run(functions, splits, partitions, Tight(every), skipping)
    assert as_set(short) == as_set(plain)


def test_a_map_output_is_several_runs_and_each_partition_one_range():
    functions = LoadedFunctions(yields, in_order, None)
    items = [[(n % 10, 100 * n + m) for m in range(5)] for n in range(40)]
    with folder() as here:
        gauge = Tight(3)
        outcome, path = attempt(MapWork(items_split(items), 4), functions, here / "m", gauge=gauge)
        assert isinstance(outcome, MapOutput)
        assert gauge.reliefs > 10
        assert outcome.counts.records_out == 200
        assert [file.name for file in here.iterdir()] == ["m"]
        work, local = reduce_work([(path, outcome.sizes)], 0, 4)
        reduced = dict(results_of(*attempt(work, functions, here / "r", local)))
    assert reduced == {
        key: [100 * n + m for n in range(40) if n % 10 == key for m in range(5)]
        for key in range(10)
    }


def test_one_record_that_gives_more_than_fits_is_put_on_disk_while_it_gives():
    held = []

    def map(number, item):
        for n in range(5000):
            held.append(len(side_groups()))
            yield n, n

    def side_groups():
        import gc

        return max((o for o in gc.get_objects() if type(o) is map_side.Groups), key=len, default=())

    functions = LoadedFunctions(map, total, None)
    with folder() as here:
        work = MapWork(items_split([None]), 1)
        outcome, _ = attempt(work, functions, here / "m", gauge=Tight(2))
    assert isinstance(outcome, MapOutput)
    assert max(held) < 50


def reduced_tightly(items: list[Any], reduce: Any, every: int = 2) -> list[tuple[Any, Any]]:
    """Of one partition, whose groups do not fit; the map output is made with room enough."""
    functions = LoadedFunctions(lists, reduce, None)
    with folder() as here:
        outcome, path = attempt(MapWork(items_split(items), 1), functions, here / "m")
        assert isinstance(outcome, MapOutput)
        work, local = reduce_work([(path, outcome.sizes)], 0, 1)
        reduced = attempt(work, functions, here / "r", local, gauge=Tight(every))
        results = results_of(*reduced)
        assert {file.name for file in here.iterdir()} <= {"m", "r"}
    return results


def test_a_key_with_nearly_all_values_reads_them_from_disk():
    kinds = []

    def reduce(key, values):
        kinds.append((key, type(values)))
        return sum(values), len(values), values[-1]

    items = [[("hot", n), (n % 7, n)] if n % 3 else [("hot", n)] for n in range(600)]
    found = dict(reduced_tightly(items, reduce, every=20))
    assert found["hot"] == (sum(range(600)), 600, 599)
    expected: dict[int, list[int]] = {}
    for n in range(600):
        if n % 3:
            expected.setdefault(n % 7, []).append(n)
    assert {k: v for k, v in found.items() if k != "hot"} == {
        k: (sum(v), len(v), v[-1]) for k, v in expected.items()
    }
    assert ("hot", Values) in kinds


class Alike:
    """Keys whose hashes are all the same: nothing tells them apart."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike) and other.n == self.n

    def __hash__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return f"Alike({self.n})"


def test_keys_that_no_hash_tells_apart_are_reduced_all_the_same():
    items = [[(Alike(n % 40), n)] for n in range(160)]
    found = {key.n: value for key, value in reduced_tightly(items, in_order)}
    assert found == {n: [n, n + 40, n + 80, n + 120] for n in range(40)}


def test_a_failure_in_a_part_on_disk_names_the_key_by_the_same_position():
    def reduce(key, values):
        if key == 33:
            raise ValueError("33")
        return 0

    functions = LoadedFunctions(lists, reduce, None)
    spots = []
    for gauge in (MemoryGauge(1 << 40), Tight(2), Tight(3)):
        with folder() as here:
            work = WholeWork(items_split([[(n, n)] for n in range(100)]))
            outcome, _ = attempt(work, functions, here / "o", gauge=gauge)
            assert isinstance(outcome, Failed)
            assert not [*here.iterdir()]
        assert "key 33" in outcome.failure.message
        spots.append(outcome.suspect)
    assert spots[0] is not None
    assert spots[0] == spots[1] == spots[2]


@pytest.mark.parametrize("gauge", [MemoryGauge(1 << 40), Tight(2)])
def test_a_key_known_to_be_bad_is_left_out_and_none_of_the_same_hash(gauge):
    assert hash(-1) == hash(-2)
    functions = LoadedFunctions(lists, in_order, None)
    bad = BadRecord("key -2", "", "it ended two processes")
    skipping = Skipping(5, (Suspect("reduce", position_of(-2), bad, ""),))
    with folder() as here:
        work = WholeWork(items_split([[(n, n)] for n in range(-9, 9)]))
        ended = attempt(work, functions, here / "o", skipping=skipping, careful=True, gauge=gauge)
        found = dict(results_of(*ended))
    assert found == {n: [n] for n in range(-9, 9) if n != -2}


# ---------------------------------------------------------------------- the gauge


class Process:
    def __init__(self) -> None:
        self.taken = 1000

    def __call__(self) -> int:
        return self.taken


def test_the_gauge_is_over_past_the_bound_only():
    process = Process()
    gauge = MemoryGauge(10_000, process)
    assert not gauge.is_over()
    process.taken = 10_000
    assert not gauge.is_over()
    process.taken = 10_001
    assert gauge.is_over()


def test_a_process_that_stays_past_its_bound_spills_no_oftener_than_it_grows():
    process = Process()
    gauge = MemoryGauge(8_000, process)
    spills = 0
    for _ in range(100):
        process.taken += 100  # and nothing of it is ever given back
        if gauge.is_over():
            gauge.relieved()
            spills += 1
    assert 1 <= spills <= 4


def test_a_process_that_begins_past_its_bound_gets_a_step():
    process = Process()
    process.taken = 50_000
    gauge = MemoryGauge(8_000, process)
    assert not gauge.is_over()
    process.taken += 1_001
    assert gauge.is_over()


@pytest.mark.parametrize(("combine", "sorts"), [(None, False), (total, False), (None, True)])
def test_what_is_held_stays_near_the_bound(monkeypatch, combine, sorts):
    """Measured by the interpreter's count of objects, which is the same in every run. What is put
    on disk is so about once by the map tasks, and once by the reduce task."""
    monkeypatch.setattr(partitioned, "VALUES_MAX", 256)
    monkeypatch.setattr(merging, "FAN_IN", 64)
    bound, peak, on_disk = 2_000_000, 0, 0
    add = Runs.add

    def counted(runs, segments) -> None:
        nonlocal on_disk
        on_disk -= runs.bytes
        add(runs, segments)
        on_disk += runs.bytes

    monkeypatch.setattr(Runs, "add", counted)
    before = sys.getallocatedblocks()

    def held() -> int:
        nonlocal peak
        taken = (sys.getallocatedblocks() - before) * 64
        peak = max(peak, taken)
        return taken

    def map(number, first):
        for key in range(first, first + 2000):
            yield f"key {key}", key

    def reduce(key, values):
        return [*values, key]

    functions = LoadedFunctions(map, reduce, combine, sorts)
    gauge = MemoryGauge(bound, held, lambda: False)
    splits = [[first * 1000 for first in range(15)], [first * 1000 for first in range(15, 30)]]
    found = dict(run(functions, splits, 1, gauge))
    assert len(found) == 31_000
    assert found["key 1500"] == ([3000, "key 1500"] if combine else [1500, 1500, "key 1500"])
    assert peak < 1.5 * bound
    keys = [key for first in range(30) for key in range(first * 1000, first * 1000 + 2000)]
    assert 0 < on_disk < 1.7 * len(dump_lists([f"key {key}" for key in keys], keys))


def test_the_gauge_looks_once_enough_is_held_to_matter():
    looks = []
    gauge = MemoryGauge(1 << 20, lambda: looks.append(1) or 1000)
    looks.clear()
    for _ in range(100):
        assert not gauge.is_filled(100)
    assert 5 <= len(looks) <= 15
    looks.clear()
    pace = Pace(gauge, 64, 64)
    for _ in range(100):
        assert not pace.look(10)
    assert len(looks) == 100 * 10 // 70


def test_where_the_machine_is_short_a_process_makes_room_that_has_grown():
    process, short = Process(), [False]
    gauge = MemoryGauge(80_000, process, lambda: short[0])
    assert not gauge.is_over()
    process.taken = 30_000
    assert not any(gauge.is_over() for _ in range(100))
    short[0] = True
    assert any(gauge.is_over() for _ in range(100))
    gauge.relieved()  # and nothing of it is given back
    assert not any(gauge.is_over() for _ in range(100))
    process.taken += 10_001
    assert any(gauge.is_over() for _ in range(100))


@pytest.mark.parametrize(("available", "short"), [(999, True), (1001, False)])
def test_what_is_left_on_the_machine_is_read(tmp_path, monkeypatch, available, short):
    file = tmp_path / "meminfo"
    file.write_text(f"MemTotal:    10000 kB\nMemFree:  1 kB\nMemAvailable: {available} kB\n")
    monkeypatch.setattr("map_reduce.execution.gauge.MEMINFO", str(file))
    assert machine_is_short() is short
    file.unlink()
    assert not machine_is_short()


def test_the_pace_follows_the_growth():
    process = Process()
    pace = Pace(MemoryGauge(64_000, process), 10, 100)
    for _ in range(5):
        assert not pace.look(pace.now)
    assert pace.now == 100
    process.taken += 20_000
    pace.look(pace.now)
    assert pace.now == 25
    process.taken += 2_000  # neither little nor much
    pace.look(pace.now)
    assert pace.now == 25
    for _ in range(9):
        process.taken += 20_000
        over = pace.look(pace.now)
    assert (pace.now, over) == (1, True)


def test_the_default_bound_is_a_share_of_the_machine():
    assert bound_of(256, slots=7) == 128 << 20
    assert 4 * bound_of(0, slots=4) == pytest.approx(bound_of(0, slots=1), rel=1e-6)
    assert bound_of(0, slots=1) <= memory_of_machine() / 2


def test_the_memory_of_this_process_is_measured():
    gauge = MemoryGauge(1)
    before = gauge._measure()
    data = bytearray(b"x") * (64 << 20)
    assert math.isclose(gauge._measure() - before, len(data), rel_tol=0.2)


def test_the_values_of_one_key_are_in_segments_as_large_as_any(monkeypatch):
    monkeypatch.setattr(partitioned, "VALUES_MAX", 1000)
    made = [values for _, _, values in partitioned.written({"key": [0] * 4500}, 2, plain=True)]
    assert made == [1000, 1000, 1000, 1000, 500]
    grouped = {number: [0] * 30 for number in range(100)}
    made = [values for _, _, values in partitioned.written(grouped, 1, plain=True)]
    assert made == [990, 990, 990, 30]
    long_keys = {"k" * 100_000 + str(number): [number] for number in range(200)}
    made = [values for _, _, values in partitioned.written(long_keys, 1, plain=True)]
    assert sum(made) == 200
    assert 30 <= max(made) <= 45


@given(
    splits=st.lists(
        st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 99)), max_size=6)),
        min_size=1,
        max_size=4,
    ),
    bounds=st.lists(st.integers(0, 40), max_size=2),
    every=st.integers(1, 7),
)
@settings(max_examples=max(1, (settings.default or settings()).max_examples // 2))
def test_what_is_sorted_stays_so_when_memory_is_short(
    splits: list[Any], bounds: list[int], every: int
) -> None:
    functions = prepared(lists, lambda key, values: list(values), None, sorts=True)
    pickled = dump_lists(sorted(bounds))
    got = run(functions, splits, len(bounds) + 1, Tight(every), bounds=pickled)
    groups: dict[int, list[int]] = {}
    for split in splits:
        for pairs in split:
            for key, value in pairs:
                groups.setdefault(key, []).append(value)
    assert got == sorted(groups.items())


def test_keys_in_order_with_values_on_disk_among_them() -> None:
    """The largest share is in the middle, and goes to disk first; the others follow as ranges."""
    pairs = [(key, n) for n in range(40) for key in (5, 5, 5, n % 10)]
    functions = prepared(lists, lambda key, values: list(values), None, sorts=True)
    gauge = Tight(2)
    got = run(functions, [[pairs[:80]], [pairs[80:]]], 1, gauge)
    assert gauge.reliefs > 10
    assert [key for key, _ in got] == list(range(10))
    assert dict(got) == {k: [n for key, n in pairs if key == k] for k in range(10)}
