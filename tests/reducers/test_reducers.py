"""Ready-made reducers by themselves; what they do in jobs is in ``tests/execution``."""

from __future__ import annotations

import pickle

import pytest

import map_reduce
from map_reduce import Job, reducers
from map_reduce.client.load import load_function
from map_reduce.errors import FunctionError
from map_reduce.pickling import dumps

SINGLE = [
    name for name in reducers.__all__ if isinstance(getattr(reducers, name), reducers.Reducer)
]


def emit(key, value):
    return [(key, value)]


def test_there_are_those_that_the_documentation_names():
    assert map_reduce.reducers is reducers
    assert {"sum", "count", "mean", "min", "max", "first", "last", "distinct", "collect"} <= set(
        SINGLE
    )
    for name in reducers.__all__:
        if name != "Reducer":
            assert name in reducers.__doc__
            assert getattr(reducers, name).__doc__


@pytest.mark.parametrize("name", SINGLE)
def test_they_travel_by_name(name):
    reducer = getattr(reducers, name)
    assert repr(reducer) == f"reducers.{name}"
    assert pickle.loads(dumps((reducer,)))[0] is reducer


def test_a_top_travels_with_its_key_function():
    top = pickle.loads(dumps(reducers.top(2, key=lambda text: -len(text))))
    assert top("k", ["aaa", "b", "cc", "d"]) == ["b", "d"]
    assert repr(top) == "reducers.top(2, key=…)"


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("sum", [1, 2, True], 4),
        ("sum", [0.1] * 10, 1.0),
        ("count", [None, "x", 3], 3),
        ("mean", [1, 2], 1.5),
        ("min", ["b", "a"], "a"),
        ("max", [1, 2.0, 2], 2.0),
        ("first", [None, 1], None),
        ("last", [None, 1], 1),
        ("distinct", [2, 1, 2.0, 1], [2, 1]),
        ("count_distinct", [2, 1, 2.0, 1], 2),
        ("collect", [2, 1, 2], [2, 1, 2]),
    ],
)
def test_by_hand(name, values, expected):
    got = getattr(reducers, name)("key", values)
    assert got == expected
    assert type(got) is type(expected)


def test_top_and_bottom_keep_the_order_of_equals():
    words = ["bb", "a", "cc", "d", "eee"]
    assert reducers.top(3, key=len)("k", words) == ["eee", "bb", "cc"]
    assert reducers.bottom(3, key=len)("k", words) == ["a", "d", "bb"]


@pytest.mark.parametrize("make", [lambda: reducers.top(0), lambda: reducers.bottom("3")])
def test_top_of_nothing_is_refused(make):
    with pytest.raises(FunctionError, match="k is a whole number, at least 1"):
        make()
    with pytest.raises(FunctionError, match="key is a function, not int"):
        reducers.top(1, key=3)


def test_which_of_them_may_be_a_combiner_beside_another_reduce():
    def reduce(key, values):
        return sum(values)

    for name in ("sum", "min", "max", "first", "last"):
        assert Job(emit, reduce, getattr(reducers, name)).combine is getattr(reducers, name)
    for name in ("count", "mean", "distinct", "collect"):
        with pytest.raises(FunctionError, match=rf"reducers\.{name} is no combiner"):
            Job(emit, reduce, getattr(reducers, name))
    assert Job(emit, reducers.mean, reducers.mean)


def test_the_command_line_knows_them_by_name():
    assert load_function("mean", "reduce") is reducers.mean
    assert load_function("top(3)", "reduce")("k", [1, 5, 3, 4]) == [5, 4, 3]
    for text in ("top", "Reducer", "nosuch", "top(x)"):
        with pytest.raises(FunctionError, match=r"write FILE\.py:NAME or MODULE:NAME"):
            load_function(text, "reduce")
    with pytest.raises(FunctionError, match="write FILE"):
        load_function("sum", "map")
