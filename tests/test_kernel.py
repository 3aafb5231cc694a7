"""The compiled loops do what their twins in Python do, or leave it to them."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import sysconfig
from collections import defaultdict
from enum import IntEnum
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from map_reduce import kernel

compiled = pytest.mark.skipif(not kernel.COMPILED, reason="installed without the compiled part")


def test_it_is_compiled_where_there_is_a_compiler():
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    headers = Path(sysconfig.get_paths()["include"], "Python.h")
    if not shutil.which(compiler) or not headers.exists():
        pytest.skip(f"there is no {compiler}, or no {headers}")
    assert kernel.COMPILED or os.environ.get("MAP_REDUCE_COMPILED") == "0"


def test_it_can_be_done_without():
    program = "from map_reduce import kernel; print(kernel.COMPILED, kernel.lines_of(b'a\\r\\nb'))"
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "MAP_REDUCE_COMPILED": "0"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stdout == "False ['a', 'b']\n"


# ---------------------------------------------------------------------- text


def outcome_of(function, *given):
    """What it returns, or the error that it raises, in a form to compare."""
    try:
        return function(*given)
    except (UnicodeDecodeError, ValueError, TypeError) as error:
        return type(error), error.args


text_bytes = st.lists(
    st.one_of(
        st.sampled_from([b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x85"]),
        st.text(max_size=5).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.binary(max_size=3),
    ),
    max_size=12,
).map(b"".join)


@compiled
@given(text_bytes)
@example(b"")
@example(b"\n")
@example(b"\r\n\r\n")
@example("\u2028\x0b\x0c\x1c\n".encode())
def test_lines(data):
    assert outcome_of(kernel.lines_of, data) == outcome_of(kernel.python_lines_of, data)


@compiled
@given(text_bytes)
def test_lines_are_texts_like_any_other(data):
    for line in outcome_of(kernel.lines_of, data):
        if isinstance(line, str):
            same = "".join(list(line))
            assert (line, hash(line), line.isascii()) == (same, hash(same), same.isascii())
            assert line.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass") == line


@compiled
@given(text_bytes, st.integers(0, 40), st.integers(0, 40), st.integers(0, 3))
def test_line_ends(data, start, length, pad):
    data = b"\n\xff" * (pad * 1000) + data
    start = min(start, len(data))
    end = min(start + length + pad * 1500, len(data))
    for given_ in (data, bytearray(data)):
        found = kernel.count_line_ends(given_, start, end)
        assert found == kernel.python_count_line_ends(given_, start, end)


@compiled
@pytest.mark.parametrize("bounds", [(-1, 2), (2, 1), (0, 4), (4, 4)])
def test_line_ends_are_counted_within_the_data_alone(bounds):
    with pytest.raises(ValueError, match="within the data"):
        kernel.count_line_ends(b"a\nb", *bounds)


# ---------------------------------------------------------------------- pairs


class Level(IntEnum):
    ONE = 1


class Pair(tuple):
    __slots__ = ()


plain_keys = st.one_of(
    st.text(max_size=2), st.integers(-2, 2), st.binary(max_size=1), st.integers(1 << 62, 1 << 65)
)
keys = st.one_of(
    plain_keys,
    st.tuples(plain_keys),
    st.tuples(plain_keys, plain_keys),
    st.sampled_from([None, 1.0, True, Level.ONE, (1, None), frozenset(), [1], {}]),
)
values = st.one_of(st.integers(), st.sampled_from([True, 1.5, "a", None, Level.ONE]))
pairs = st.one_of(
    st.tuples(keys, values),
    st.tuples(plain_keys, st.integers()),
    st.sampled_from([("a",), ("a", 1, 2), ["a", 1], Pair(("a", 1)), "ab", None, 7]),
)
lists_of_pairs = st.lists(st.lists(pairs, max_size=5), max_size=8)


def is_plain(key) -> bool:
    return type(key) in (str, int, bytes)


def leading(given_, fits) -> int | None:
    for number, pair in enumerate(given_):
        if not (type(pair) is tuple and len(pair) == 2 and fits(*pair)):
            return number
    return None


def fits_any(key, value) -> bool:
    return is_plain(key) or (type(key) is tuple and all(map(is_plain, key)))


def fits_int(key, value) -> bool:
    return fits_any(key, value) and type(value) is int


@compiled
@given(lists_of_pairs)
def test_pairs_are_appended_up_to_the_first_that_is_not_plain(lists):
    got: dict = {}
    expected: defaultdict = defaultdict(list)
    for some in lists:
        stop = leading(some, fits_any)
        assert kernel.append_pairs(got, some) == stop
        for key, value in some[:stop]:
            expected[key].append(value)
        assert list(map(repr, got.items())) == list(map(repr, expected.items()))


@compiled
@given(lists_of_pairs, st.sampled_from([None, 1, 10]))
def test_pairs_are_added_up_to_the_first_that_is_not_plain(lists, each):
    got: dict = {}
    expected: defaultdict = defaultdict(int)
    for some in lists:
        stop = leading(some, fits_int if each is None else fits_any)
        assert kernel.add_pairs(got, some, each) == stop
        for key, value in some[:stop]:
            expected[key] += value if each is None else each
        assert list(map(repr, got.items())) == list(map(repr, expected.items()))


def from_all(function, of_dict, given_, *each):
    """Take in what an iterator gives, and leave out what is not plain; that is given back."""
    odd = []
    rest = iter(given_)
    while type(done := function(of_dict, rest, *each)) is tuple:
        odd += done
    assert done <= len(given_)
    return odd


@compiled
@given(lists_of_pairs, st.sampled_from([None, 1, 10]))
def test_from_an_iterator_it_is_the_same_up_to_each_pair_that_is_not_plain(lists, each):
    all_pairs = [pair for some in lists for pair in some]
    for fits, function, given_each in (
        (fits_any, kernel.append_from, ()),
        (fits_int if each is None else fits_any, kernel.add_from, (each,)),
    ):
        got: dict = {}
        expected: dict = {}
        odd = [pair for pair in all_pairs if leading([pair], fits) is not None]
        assert list(map(id, from_all(function, got, all_pairs, *given_each))) == list(map(id, odd))
        for pair in all_pairs:
            if leading([pair], fits) is None and not given_each:
                expected.setdefault(pair[0], []).append(pair[1])
            elif leading([pair], fits) is None:
                expected[pair[0]] = expected.get(pair[0], 0) + (pair[1] if each is None else each)
        assert list(map(repr, got.items())) == list(map(repr, expected.items()))


@compiled
def test_an_error_of_the_iterator_is_passed_on():
    def failing():
        yield "a", 1
        raise KeyError("here")

    for function in (kernel.append_from, kernel.add_from):
        of_dict: dict = {}
        with pytest.raises(KeyError, match="here"):
            function(of_dict, failing())
        assert of_dict in ({"a": 1}, {"a": [1]})
        with pytest.raises(TypeError, match="iterator"):
            function({}, [("a", 1)])


@compiled
@pytest.mark.parametrize("given_", [(("a", 1),), iter([("a", 1)]), None, "ab", {("a", 1): 1}])
def test_what_is_no_list_is_left_alone(given_):
    assert kernel.append_pairs({}, given_) == 0
    assert kernel.add_pairs({}, given_) == 0


@compiled
def test_a_sum_that_is_no_int_is_left_alone():
    sums = {"a": 1.5, "b": True}
    assert kernel.add_pairs(sums, [("c", 1), ("a", 1)]) == 1
    assert kernel.add_pairs(sums, [("b", 1)]) == 0
    assert sums == {"a": 1.5, "b": True, "c": 1}
    assert kernel.append_pairs({"a": ()}, [("a", 1)]) == 0


@compiled
@pytest.mark.parametrize("function", [kernel.append_pairs, kernel.add_pairs])
def test_pairs_are_taken_into_a_dict(function):
    with pytest.raises(TypeError, match="dict"):
        function([], [])
    with pytest.raises(TypeError):
        function({})


class Meddler:
    """A key that is in the dict already, and does something when it is compared."""

    def __init__(self, like, act):
        self.hash = hash(like)
        self.act = act

    def __hash__(self):
        return self.hash

    def __eq__(self, other):
        self.act()
        return False


@compiled
@pytest.mark.parametrize("function", [kernel.append_pairs, kernel.add_pairs])
def test_comparing_keys_may_do_anything(function):
    given_ = [(f"key {number}", 10**6 + number) for number in range(50)]
    of_dict: dict = {}

    def act():
        given_.clear()
        of_dict.clear()
        gc.collect()

    of_dict[Meddler("key 7", act)] = None
    assert function(of_dict, given_) is None
    assert of_dict in ({"key 7": 10**6 + 7}, {"key 7": [10**6 + 7]})


@compiled
@pytest.mark.parametrize("function", ["append_pairs", "add_pairs", "append_from", "add_from"])
def test_an_error_in_comparing_keys_is_passed_on(function):
    def act():
        raise KeyboardInterrupt

    given_ = [("a", 1), ("b", 2)]
    of_dict = {Meddler("b", act): None}
    with pytest.raises(KeyboardInterrupt):
        getattr(kernel, function)(of_dict, iter(given_) if "from" in function else given_)


@compiled
def test_no_reference_is_lost_or_kept():
    key, value, big = "a key of its own", object(), 1 << 70
    lists = [[(key, value)], [(key, big), (key, big)], [("other", big), None, (key, big)]]
    held = [sys.getrefcount(thing) for thing in (key, value, big)]
    for _ in range(1000):
        groups: dict = {}
        sums: dict = {}
        for some in lists:
            kernel.append_pairs(groups, some)
            kernel.add_pairs(sums, some)
            kernel.add_pairs(sums, some, big)
            from_all(kernel.append_from, groups, some)
            from_all(kernel.add_from, sums, some)
        kernel.lines_of(b"a\n\xc3\xa4\nb")
        outcome_of(kernel.lines_of, b"a\n\xff\n")
        outcome_of(kernel.count_line_ends, b"a", 0, 2)
    del groups, sums
    assert [sys.getrefcount(thing) for thing in (key, value, big)] == held


@compiled
def test_no_memory_is_kept():
    import tracemalloc

    def work():
        for _ in range(200):
            kernel.lines_of(b"line of text\r\n\xc3\xa4\n" * 10)
            outcome_of(kernel.lines_of, b"line of text\n\xff" * 10)
            kernel.append_pairs({}, [(str(n), n) for n in range(100)])
            kernel.add_pairs({}, [(str(n), 1 << 80) for n in range(100)] * 2)

    work()
    tracemalloc.start()
    try:
        work()
        before, _ = tracemalloc.get_traced_memory()
        work()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 10_000
