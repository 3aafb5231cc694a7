"""The compiled loops do what their twins in Python do, or leave it to them."""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections import defaultdict
from enum import IntEnum
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from map_reduce import kernel
from map_reduce.execution.keys import PRIMES

loops: Any = kernel.compiled
only_compiled = pytest.mark.skipif(
    kernel.compiled is None, reason="installed without the compiled part"
)


def test_it_is_compiled_where_there_is_a_compiler():
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    headers = Path(sysconfig.get_paths()["include"], "Python.h")
    if not shutil.which(compiler) or not headers.exists():
        pytest.skip(f"there is no {compiler}, or no {headers}")
    assert kernel.compiled or os.environ.get("MAP_REDUCE_COMPILED") == "0"


def test_it_can_be_done_without():
    program = "from map_reduce import kernel; print(kernel.compiled, kernel.lines_of(b'a\\r\\nb'))"
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "MAP_REDUCE_COMPILED": "0"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stdout == "None ['a', 'b']\n"


@only_compiled
def test_one_of_another_version_is_left_aside():
    program = "import map_reduce._kernel as k; k.VERSION += 1; from map_reduce import kernel; "
    told = subprocess.run(
        [sys.executable, "-c", program + "print(kernel.compiled, kernel.lines_of(b'a'))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stdout == "None ['a']\n"


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


@only_compiled
@given(text_bytes)
@example(b"")
@example(b"\n")
@example(b"\r\n\r\n")
@example("\u2028\x0b\x0c\x1c\n".encode())
def test_lines(data):
    assert outcome_of(kernel.lines_of, data) == outcome_of(kernel.python_lines_of, data)


@only_compiled
@given(text_bytes)
def test_lines_are_texts_like_any_other(data):
    for line in outcome_of(kernel.lines_of, data):
        if isinstance(line, str):
            same = "".join(list(line))
            assert (line, hash(line), line.isascii()) == (same, hash(same), same.isascii())
            assert line.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass") == line


@only_compiled
@given(text_bytes, st.integers(0, 40), st.integers(0, 40), st.integers(0, 3))
def test_line_ends(data, start, length, pad):
    data = b"\n\xff" * (pad * 1000) + data
    start = min(start, len(data))
    end = min(start + length + pad * 1500, len(data))
    for given_ in (data, bytearray(data)):
        found = kernel.count_line_ends(given_, start, end)
        assert found == kernel.python_count_line_ends(given_, start, end)


@only_compiled
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


@only_compiled
@given(lists_of_pairs)
def test_pairs_are_appended_up_to_the_first_that_is_not_plain(lists):
    got: dict = {}
    expected: defaultdict = defaultdict(list)
    for some in lists:
        stop = leading(some, fits_any)
        assert loops.append_pairs(got, some) == stop
        for key, value in some[:stop]:
            expected[key].append(value)
        assert list(map(repr, got.items())) == list(map(repr, expected.items()))


@only_compiled
@given(lists_of_pairs, st.sampled_from([None, 1, 10]))
def test_pairs_are_added_up_to_the_first_that_is_not_plain(lists, each):
    got: dict = {}
    expected: defaultdict = defaultdict(int)
    for some in lists:
        stop = leading(some, fits_int if each is None else fits_any)
        assert loops.add_pairs(got, some, each) == stop
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


@only_compiled
@given(lists_of_pairs, st.sampled_from([None, 1, 10]))
def test_from_an_iterator_it_is_the_same_up_to_each_pair_that_is_not_plain(lists, each):
    all_pairs = [pair for some in lists for pair in some]
    for fits, function, given_each in (
        (fits_any, loops.append_from, ()),
        (fits_int if each is None else fits_any, loops.add_from, (each,)),
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


@only_compiled
def test_an_error_of_the_iterator_is_passed_on():
    def failing():
        yield "a", 1
        raise KeyError("here")

    for function in (loops.append_from, loops.add_from):
        of_dict: dict = {}
        with pytest.raises(KeyError, match="here"):
            function(of_dict, failing())
        assert of_dict in ({"a": 1}, {"a": [1]})
        with pytest.raises(TypeError, match="iterator"):
            function({}, [("a", 1)])


@only_compiled
@pytest.mark.parametrize("given_", [(("a", 1),), iter([("a", 1)]), None, "ab", {("a", 1): 1}])
def test_what_is_no_list_is_left_alone(given_):
    assert loops.append_pairs({}, given_) == 0
    assert loops.add_pairs({}, given_) == 0


@only_compiled
def test_a_sum_that_is_no_int_is_left_alone():
    sums = {"a": 1.5, "b": True}
    assert loops.add_pairs(sums, [("c", 1), ("a", 1)]) == 1
    assert loops.add_pairs(sums, [("b", 1)]) == 0
    assert sums == {"a": 1.5, "b": True, "c": 1}
    assert loops.append_pairs({"a": ()}, [("a", 1)]) == 0


@only_compiled
@pytest.mark.parametrize("function", ["append_pairs", "add_pairs"])
def test_pairs_are_taken_into_a_dict(function):
    with pytest.raises(TypeError, match="dict"):
        getattr(loops, function)([], [])
    with pytest.raises(TypeError, match="arguments"):
        getattr(loops, function)({})


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


@only_compiled
@pytest.mark.parametrize("function", ["append_pairs", "add_pairs"])
def test_comparing_keys_may_do_anything(function):
    given_ = [(f"key {number}", 10**6 + number) for number in range(50)]
    of_dict: dict = {}

    def act():
        given_.clear()
        of_dict.clear()
        gc.collect()

    of_dict[Meddler("key 7", act)] = None
    assert getattr(loops, function)(of_dict, given_) is None
    assert of_dict in ({"key 7": 10**6 + 7}, {"key 7": [10**6 + 7]})


@only_compiled
@pytest.mark.parametrize("function", ["append_pairs", "add_pairs", "append_from", "add_from"])
def test_an_error_in_comparing_keys_is_passed_on(function):
    def act():
        raise KeyboardInterrupt

    given_ = [("a", 1), ("b", 2)]
    of_dict = {Meddler("b", act): None}
    with pytest.raises(KeyboardInterrupt):
        getattr(loops, function)(of_dict, iter(given_) if "from" in function else given_)


class Interrupted(Exception):
    pass


@pytest.fixture
def interrupt():
    """A function of C's that raises a signal, of which Python's own loop does not hear at once."""

    def handle(*_):
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, handle)
    yield partial(getattr(ctypes.CDLL(None), "raise"), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


class Interrupting:
    """A key that is in the dict already, and interrupts when it is compared."""

    def __init__(self, like):
        self.hash = hash(like)

    def __hash__(self):
        return self.hash


@only_compiled
def test_signals_are_handled_however_many_pairs_an_iterator_gives(interrupt):
    interrupting = filter(None, map(interrupt, [1]))
    sums: dict = {}
    with pytest.raises(Interrupted):
        loops.add_from(sums, chain([("a", 1)], interrupting, repeat(("a", 1), 10**8)), None)
    assert 1 < sums["a"] < 10**6


@only_compiled
def test_signals_are_handled_however_many_pairs_a_list_has(interrupt, monkeypatch):
    monkeypatch.setattr(Interrupting, "__eq__", interrupt, raising=False)
    pairs = [("b", 1), *[("a", 1)] * 10**6]
    sums = {Interrupting("b"): 1}
    with pytest.raises(Interrupted):
        loops.add_pairs(sums, pairs)
    assert 1 < sums["a"] < 10**6


@only_compiled
def test_other_threads_have_their_turn_however_many_pairs_there_are():
    ran: list = []
    going_on = threading.Event()
    thread = threading.Thread(target=lambda: (going_on.wait(), ran.append(None)))
    thread.start()
    without_end = map([("a", 1)].__getitem__, iter(ran.__len__, 1))  # while it is empty
    going_on.set()
    assert loops.add_from({}, islice(without_end, 10**8), None) < 10**8
    thread.join()


# ---------------------------------------------------------------------- lists


@only_compiled
@given(lists_of_pairs)
def test_pairs_are_taken_apart_whatever_their_keys(lists):
    keys_in, values_in, keys_from, values_from = [], [], [], []
    expected = []
    for some in lists:
        stop = leading(some, lambda key, value: True)
        assert loops.part_pairs(keys_in, values_in, some) == stop
        done = loops.part_from(keys_from, values_from, iter(some))
        assert done == (len(some) if stop is None else (some[stop],))
        expected += some[:stop]
    assert list(map(repr, zip(keys_in, values_in, strict=True))) == list(map(repr, expected))
    assert list(map(repr, zip(keys_from, values_from, strict=True))) == list(map(repr, expected))


@only_compiled
@given(
    st.lists(st.one_of(plain_keys, keys), max_size=8),
    st.integers(1, 5),
    st.sampled_from([2, 3, 7, PRIMES[0], PRIMES[-1]]),
)
def test_keys_are_dealt_out_to_their_partitions(some, partitions, prime):
    hands = [[] for _ in range(partitions)], [[] for _ in range(partitions)]
    held = list(map(object.__repr__, some))
    done = loops.deal_out(some, held, prime, *hands)
    assert done == next((at for at, key in enumerate(some) if not fits_any(key, 0)), None)
    expected = [[] for _ in range(partitions)], [[] for _ in range(partitions)]
    for key, things in zip(some[:done], held, strict=False):
        home = hash((key,)) % prime % partitions
        expected[0][home].append(key)
        expected[1][home].append(things)
    assert repr(hands) == repr(expected)


@only_compiled
@given(
    st.lists(st.tuples(st.one_of(plain_keys, keys), st.lists(st.integers(), max_size=3))),
    st.booleans(),
)
def test_lists_are_extended(some, counted):
    some = [(key, values if counted else [1]) for key, values in some]
    keys_given, lists = [key for key, _ in some], [values for _, values in some]
    stop = next((at for at, key in enumerate(keys_given) if not fits_any(key, 0)), None)
    groups = {"a": [7], 1: [8]}
    expected = {"a": [7], 1: [8]}
    counts = list(map(len, lists)) if counted else None
    assert loops.extend_lists(groups, keys_given, counts, list(chain(*lists))) == stop
    for key, values in some[:stop]:
        expected.setdefault(key, []).extend(values)
    assert list(map(repr, groups.items())) == list(map(repr, expected.items()))


@only_compiled
@pytest.mark.parametrize(
    ("some", "counts", "values"),
    [
        (["a"], None, []),
        (["a"], None, [1, 2]),
        (["a"], [2], [1]),
        (["a"], [-1], [1]),
        (["a"], [], [1]),
        (["a"], [1, 1], [1]),
        (["a", "b"], [1, 1], [1, 2, 3]),
    ],
)
def test_lists_that_do_not_belong_together_are_refused(some, counts, values):
    with pytest.raises(ValueError, match="belong together"):
        loops.extend_lists({}, some, counts, values)


@only_compiled
@pytest.mark.parametrize(
    ("some", "held", "prime", "hands"),
    [
        (["a"], [], 7, [[]]),
        (["a"], [1], 7, []),
        (["a"], [1], 0, [[]]),
        (["a"], [1], -7, [[]]),
    ],
)
def test_hands_that_do_not_belong_together_are_refused(some, held, prime, hands):
    with pytest.raises(ValueError, match="belong together"):
        loops.deal_out(some, held, prime, hands, [[] for _ in hands])
    with pytest.raises(ValueError, match="belong together"):
        loops.deal_out(["a"], [1], 7, [[]], [[], []])


@only_compiled
def test_what_is_no_list_is_refused():
    for call in (
        lambda: loops.deal_out(("a",), [1], 7, [[]], [[]]),
        lambda: loops.deal_out(["a"], [1], 7, [()], [()]),
        lambda: loops.extend_lists({}, ("a",), None, [1]),
        lambda: loops.extend_lists({}, ["a"], (1,), [1]),
        lambda: loops.extend_lists([], ["a"], None, [1]),
        lambda: loops.part_pairs((), [], []),
    ):
        with pytest.raises(TypeError):
            call()


@only_compiled
def test_no_reference_is_lost_or_kept():
    key, value, big = "a key of its own", object(), 1 << 70
    lists = [[(key, value)], [(key, big), (key, big)], [("other", big), None, (key, big)]]
    held = [sys.getrefcount(thing) for thing in (key, value, big)]
    for _ in range(1000):
        groups: dict = {}
        sums: dict = {}
        for some in lists:
            loops.append_pairs(groups, some)
            loops.add_pairs(sums, some)
            loops.add_pairs(sums, some, big)
            from_all(loops.append_from, groups, some)
            from_all(loops.add_from, sums, some)
            loops.part_pairs([], [], some)
            from_all(lambda *given_: loops.part_from([], [], given_[1]), {}, some)
        loops.deal_out([key, 1.5], [value, big], 7, [[], []], [[], []])
        loops.extend_lists({"a": []}, ["a", key, 1.5], [1, 2, 1], [value, big, value, big])
        loops.extend_lists({}, [key, "b"], None, [value, big])
        outcome_of(loops.extend_lists, {}, [key, "b"], [1, 5], [value, big])
        kernel.lines_of(b"a\n\xc3\xa4\nb")
        outcome_of(kernel.lines_of, b"a\n\xff\n")
        outcome_of(kernel.count_line_ends, b"a", 0, 2)
    del groups, sums
    assert [sys.getrefcount(thing) for thing in (key, value, big)] == held


@only_compiled
def test_no_memory_is_kept():
    import tracemalloc

    def work():
        for _ in range(200):
            kernel.lines_of(b"line of text\r\n\xc3\xa4\n" * 10)
            outcome_of(kernel.lines_of, b"line of text\n\xff" * 10)
            loops.append_pairs({}, [(str(n), n) for n in range(100)])
            loops.add_pairs({}, [(str(n), 1 << 80) for n in range(100)] * 2)

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
