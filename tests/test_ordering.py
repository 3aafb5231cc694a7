"""The one order of keys and values: total, the same whatever stands beside, and stable."""

from __future__ import annotations

import datetime
import functools
import math
import random
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from map_reduce.ordering import IncomparableError, Ranked, in_order, less, ranks_of

NAN = float("nan")

few = settings(max_examples=max(1, (settings.default or settings()).max_examples // 3))
"""As many as these take time for."""


class Pair(NamedTuple):
    left: object
    right: object


class Level:
    """Ordered by one of its two fields."""

    def __init__(self, level, name):
        self.level, self.name = level, name

    def __lt__(self, other):
        return self.level < other.level


scalars = {
    "numbers": st.one_of(st.none(), st.integers(), st.booleans(), st.floats(), st.fractions()),
    "decimals": st.one_of(st.none(), st.integers(), st.floats(), st.decimals()),
    "ints": st.one_of(st.integers(), st.booleans()),
    "texts": st.one_of(st.none(), st.text()),
    "bytes": st.binary(),
    "dates": st.dates(),
}  # fmt: skip
kinds = {
    **scalars,
    "pairs": st.tuples(scalars["texts"], st.one_of(st.none(), st.floats(), st.integers())),
    "named": st.builds(Pair, st.text(max_size=1), st.integers(0, 1)),
    "of unequal length": st.lists(scalars["numbers"], max_size=3).map(tuple),
    "nested": st.tuples(st.tuples(st.none() | st.floats()), st.none() | st.binary(max_size=1)),
}
values_of_a_kind = st.sampled_from(sorted(kinds)).flatmap(lambda kind: st.lists(kinds[kind]))


def by_comparing(one, other):
    return -1 if less(one, other) else int(less(other, one))


@few
@given(values_of_a_kind)
def test_it_is_total_and_what_sorting_goes_by(values):
    for one in values:
        assert not less(one, one)
        for other in values:
            assert not (less(one, other) and less(other, one))
            for third in values[:5]:
                if not less(other, one) and not less(third, other):
                    assert not less(third, one)
    expected = sorted(values, key=functools.cmp_to_key(by_comparing))
    assert list(map(id, in_order(values))) == list(map(id, expected))


@few
@given(values_of_a_kind, st.integers())
def test_the_order_of_two_does_not_depend_on_the_others(values, seed):
    ordered = in_order(values)
    some = random.Random(seed).sample(range(len(ordered)), len(ordered) // 2)
    part = [ordered[at] for at in sorted(some)]
    assert list(map(id, in_order(part))) == list(map(id, part))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, None, 1.5], [None, 1.5, 3]),
        ([NAN, 1, -math.inf, math.inf], [-math.inf, 1, math.inf, NAN]),
        ([("b", 1), ("a", None), ("a", -5)], [("a", None), ("a", -5), ("b", 1)]),
        ([(1, NAN), (1, 2.0), (0, NAN)], [(0, NAN), (1, 2.0), (1, NAN)]),
        ([(1, 2), (1,), ()], [(), (1,), (1, 2)]),
        ([Decimal("nan"), Fraction(1, 2), 0.25], [0.25, Fraction(1, 2), Decimal("nan")]),
    ],
)
def test_where_none_and_nan_stand(values, expected):
    assert repr(in_order(values)) == repr(expected)


@pytest.mark.parametrize(
    ("values", "two"),
    [
        ([1, "a", 2], {1, "a"}),
        ([("x", 1), ("x", "y")], {("x", 1), ("x", "y")}),
        ([b"a", "a"], {b"a", "a"}),
        ([frozenset([1]), frozenset([2])], {frozenset([1]), frozenset([2])}),
        ([1j, 2j], {1j, 2j}),
        ([NAN, "a"], {NAN, "a"}),
    ],
)
def test_what_has_no_order_is_named(values, two):
    with pytest.raises(IncomparableError) as caught:
        in_order(values)
    assert set(map(repr, caught.value.values)) == set(map(repr, two))
    assert "cannot be compared" in str(caught.value)


def test_equals_stay_in_the_order_in_which_they_came():
    levels = [Level(n % 3, n) for n in range(30)]
    assert [level.name for level in in_order(levels)] == [
        *range(0, 30, 3), *range(1, 30, 3), *range(2, 30, 3)
    ]  # fmt: skip
    words = ["bb", "a", "cc", "d"]
    assert in_order(words, len) == ["a", "d", "bb", "cc"]
    assert in_order(words, len, descending=True) == ["bb", "cc", "a", "d"]
    assert in_order([3, 1, 2], lambda n: None if n == 2 else n) == [2, 1, 3]


@pytest.mark.parametrize(
    ("values", "wrapped"),
    [
        ([1, True], False),
        (["a", "b"], False),
        ([0.5, 1], False),
        ([0.5, NAN], True),
        ([("a", 1), ("b", 0.5)], False),
        ([("a", NAN)], True),
        ([("a", None)], True),
        ([datetime.date(2020, 1, 1)], False),
        ([None], True),
        ([1, Decimal(1)], True),
    ],
)
def test_what_is_sorted_as_it_is(values, wrapped):
    assert (ranks_of(values) is Ranked) is wrapped
