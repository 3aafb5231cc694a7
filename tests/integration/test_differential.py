"""Same answer as the sequential run: whatever the input, keys, functions and ring."""

from __future__ import annotations

import enum
import itertools
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sequential import comparable, run_sequentially

from map_reduce.client.handle import JobHandle
from map_reduce.client.inputs import read_inputs
from map_reduce.client.submission import submit
from map_reduce.job import Job
from map_reduce.ordering import in_order

WAIT_S = 60


@dataclass(frozen=True)
class Point:
    x: int
    name: str | None


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


def map_to_itself(number, pair):
    return [pair]


def map_by_yield(number, pair):
    key, value = pair
    yield key, (number, value)
    if number % 2:
        yield key, (number, "again")


def map_to_many(number, pair):
    return [(pair[0], number), (number % 3, pair[1]), ((number % 2, None), 1)]


def map_some(number, pair):
    return [pair] if number % 3 else ()


def reduce_to_list(key, values):
    return list(values)


def reduce_to_first(key, values):
    return values[0]


def reduce_to_last(key, values):
    return values[-1]


def reduce_to_count(key, values):
    return len(values)


def map_to_lists(number, pair):
    return [(pair[0], [(number, pair[1])])]


def join_lists(key, values):
    return list(itertools.chain.from_iterable(values))


scalars = st.one_of(
    st.text(max_size=3),
    st.binary(max_size=3),
    st.integers(-3, 3),
    st.integers(),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0, float("nan")]),
    st.booleans(),
    st.none(),
)
keys = st.one_of(
    scalars,
    st.tuples(scalars),
    st.tuples(scalars, st.tuples(scalars, scalars)),
    st.builds(Point, st.integers(0, 2), st.sampled_from(["a", None])),
    st.sampled_from([*Colour, *Level]),
    st.frozensets(st.sampled_from([None, 1, "a", b"b"])),
)
pairs = st.lists(st.tuples(keys, st.one_of(scalars, keys)), max_size=40)
maps = st.sampled_from([map_to_itself, map_by_yield, map_to_many, map_some])
reduces = st.sampled_from([reduce_to_list, reduce_to_first, reduce_to_last, reduce_to_count])
ring_sizes = st.sampled_from([1, 2, 3, 4, 5])
slots = st.sampled_from([1, 2, 7])
"""Only what the size of chunks is computed from: more slots, more splits."""

quick = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def run(access, job, data, slots):
    submitted = submit(access, job, read_inputs(data), slots)
    return JobHandle(access, submitted, job.name, show_progress=False).result(WAIT_S)


@given(items=pairs, map=maps, reduce=reduces, size=ring_sizes, slots=slots)
@quick
def test_items(ring_of, items, map, reduce, size, slots):
    got = run(ring_of(size), Job(map, reduce), items, slots)
    assert comparable(got) == comparable(run_sequentially(enumerate(items), map, reduce))


@given(items=pairs, size=ring_sizes, slots=slots)
@quick
def test_with_a_combiner(ring_of, items, size, slots):
    got = run(ring_of(size), Job(map_to_lists, join_lists, join_lists), items, slots)
    expected = run_sequentially(enumerate(items), map_to_lists, join_lists)
    assert comparable(got) == comparable(expected)


keys_in_order = st.sampled_from(
    [
        st.text(max_size=2),
        st.one_of(st.integers(), st.floats(), st.none(), st.booleans()),
        st.tuples(st.one_of(st.none(), st.integers(0, 3)), st.text(max_size=1)),
    ]
)


@given(
    items=keys_in_order.flatmap(lambda keys: st.lists(st.tuples(keys, st.integers()), max_size=60)),
    size=ring_sizes,
    slots=slots,
)
@quick
def test_sorted(ring_of, items, size, slots):
    got = run(ring_of(size), Job(map_to_itself, reduce_to_list, sort=True), items, slots)
    expected = run_sequentially(enumerate(items), map_to_itself, reduce_to_list)
    assert repr(list(got.items())) == repr([(key, expected[key]) for key in in_order(expected)])


@given(
    data=st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), st.integers()),
    size=ring_sizes,
)
@quick
def test_mappings(ring_of, data, size):
    def map(key, value):
        return [(value % 3, key)]

    got = run(ring_of(size), Job(map, reduce_to_list), data, 2)
    assert got == run_sequentially(data.items(), map, reduce_to_list)


lines = st.lists(
    st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=12),
    max_size=30,
)


@given(
    files=st.lists(st.tuples(lines, st.booleans()), min_size=1, max_size=12),
    ending=st.sampled_from(["\n", "\r\n"]),
    size=ring_sizes,
    slots=slots,
)
@quick
def test_files_equal_the_lists_of_their_lines(
    ring_of, tmp_path_factory, files, ending, size, slots
):
    folder = tmp_path_factory.mktemp("files")
    paths, records = [], []
    for number, (file_lines, last_ends) in enumerate(files):
        path = folder / f"{number}.txt"
        if file_lines and file_lines[-1] == "":
            last_ends = True  # an empty last line shows by its newline alone
        text = ending.join(file_lines) + (ending if last_ends and file_lines else "")
        path.write_bytes(text.encode())
        paths.append(path)
        records += enumerate(file_lines)

    def map(number, line):
        return [(word, (number, line)) for word in line.split()] + [("lines", number)]

    got = run(ring_of(size), Job(map, reduce_to_list), paths, slots)
    assert got == run_sequentially(records, map, reduce_to_list)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000])
def test_chunks_of_every_size(ring_of, count):
    def map(number, item):
        return [(item % 7, number)]

    items = range(count)
    expected = run_sequentially(enumerate(items), map, reduce_to_list)
    assert run(ring_of(3), Job(map, reduce_to_list), items, 3) == expected
    assert run(ring_of(3), Job(map, reduce_to_list), iter(items), 3) == expected
