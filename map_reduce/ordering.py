"""The one order of keys and values: Python's own, made total.

Two processes, or two orders of the same values, must never sort the same things differently.
Python's ``<`` gives that for texts, and for numbers; what it lacks is settled here:

    None          comes before everything else, also inside tuples and lists
    NaN           comes after all other numbers, also inside tuples and lists; all NaNs are equal
    sets          cannot be sorted: ``<`` means "is part of", which leaves most sets unordered
    mixed types   cannot be sorted, except for those that Python compares, such as int and float

What cannot be compared is an :class:`IncomparableError` that has both. Objects of classes that
define ``<`` are compared by it, and taken at their word that it is a total order; those that it
makes neither smaller nor larger than one another stay in the order in which they came.

Values of plain types are sorted as they are, by C code. Only where something else is among them
is each wrapped, which costs some twenty times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import chain
from numbers import Real
from operator import ne
from typing import Any

from map_reduce.errors import shortened

Key = Callable[[Any], Any]

PLAIN = frozenset((str, bytes, int, bool))
"""Types whose values have an order of their own, without exceptions."""

_ALIKE: tuple[set[type], ...] = ({str}, {bytes}, {int}, {bool}, {int, bool})
_NUMBERS = frozenset((int, bool, float))
_SEQUENCES = (tuple.__lt__, list.__lt__)


class IncomparableError(TypeError):
    """Two values that have no order. ``values`` are the two."""

    def __init__(self, one: Any, other: Any) -> None:
        super().__init__(one, other)
        self.values = (one, other)

    def __str__(self) -> str:
        one, other = self.values
        return (
            f"{shortened(repr(one))} and {shortened(repr(other))} cannot be compared "
            f"({type(one).__name__} and {type(other).__name__})"
        )


class Ranked:
    """A value that compares by the one order."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: Ranked) -> bool:
        return less(self.value, other.value)


def less(one: Any, other: Any) -> bool:
    """Whether ``one`` comes before ``other``.

    Raises:
        IncomparableError: they have no order.
    """
    if one is None or other is None:
        return one is None and other is not None
    if _is_sequence(one) and type(one) is type(other):
        for left, right in zip(one, other, strict=False):
            if less(left, right):
                return True
            if less(right, left):
                return False
        return len(one) < len(other)
    if isinstance(one, frozenset | set) or isinstance(other, frozenset | set):
        raise IncomparableError(one, other)
    if _is_number(one) and _is_number(other) and (is_nan(one) or is_nan(other)):
        return not is_nan(one) and is_nan(other)
    try:
        return bool(one < other)
    except TypeError as error:
        raise IncomparableError(one, other) from error


def is_nan(value: Any) -> bool:
    """Whether it is a NaN of any kind of number."""
    return _is_number(value) and bool(value != value)


def ranks_of(values: list[Any]) -> Key | None:
    """The key function by which to sort ``values``: None where they are sorted as they are."""
    kinds = set(map(type, values))
    if kinds in _ALIKE:
        return None
    if kinds <= _NUMBERS:
        return Ranked if any(map(ne, values, values)) else None
    if kinds == {tuple}:
        inside = set(map(type, chain.from_iterable(values)))
        if inside in _ALIKE:
            return None
    return Ranked


def in_order(
    values: Iterable[Any], key: Key | None = None, *, descending: bool = False
) -> list[Any]:
    """``values`` sorted by the one order, of themselves or of what ``key`` gives for them.

    Equal ones stay in the order in which they came, also where ``descending``.

    Raises:
        IncomparableError: two of them have no order.
        Exception: whatever ``key``, or a class's own ``<``, raises.
    """
    values = list(values)
    ranks = values if key is None else list(map(key, values))
    ranked = ranks_of(ranks)
    if key is None:
        values.sort(key=ranked, reverse=descending)
        return values
    if ranked is not None:
        ranks = list(map(ranked, ranks))
    order = sorted(range(len(ranks)), key=ranks.__getitem__, reverse=descending)
    return [values[at] for at in order]


def _is_sequence(value: Any) -> bool:
    return isinstance(value, tuple | list) and type(value).__lt__ in _SEQUENCES


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | Decimal)
