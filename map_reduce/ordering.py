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

Where Python's own order is that already, values are sorted as they are, by C code. Only where
something else is among them is each wrapped, which costs some twenty times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from itertools import chain
from numbers import Real
from operator import ne
from typing import Any, TypeVar

from map_reduce.errors import shortened

Key = Callable[[Any], Any]
Result = TypeVar("Result")

PLAIN = frozenset((str, bytes, int, bool))
"""Types whose values have an order of their own, without exceptions."""

_NUMBERS = frozenset((int, bool, float))
_PECULIAR = (type(None), Real, Decimal, tuple, list, set, frozenset)
"""Types whose ``<`` is not the one order, at least not for all their values."""


class IncomparableError(TypeError):
    """Two values that have no order.

    Attributes:
        values: the two.
        parts: what it is in them that has none: the two themselves, or elements of tuples.
    """

    def __init__(self, values: tuple[Any, Any], parts: tuple[Any, Any]) -> None:
        super().__init__(values, parts)
        self.values = values
        self.parts = parts

    def __str__(self) -> str:
        one, other = (shortened(repr(value)) for value in self.values)
        return f"{one} and {other} cannot be compared: {self.reason}"

    @property
    def reason(self) -> str:
        """Why, as a clause."""
        one, other = (type(part).__name__ for part in self.parts)
        if one == other:
            return f"values of type {one} have no order"
        return f"{'they are' if self.parts is self.values else 'in them stand'} {one} and {other}"


class Ranked:
    """A value that compares by the one order."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: Ranked) -> bool:
        try:
            return less(self.value, other.value)
        except IncomparableError as error:
            if error.values == (self.value, other.value):
                raise
            raise IncomparableError((self.value, other.value), error.parts) from error


def less(one: Any, other: Any) -> bool:
    """Whether ``one`` comes before ``other``.

    Raises:
        IncomparableError: they have no order.
    """
    if one is None or other is None:
        return one is None and other is not None
    if (_is_a(tuple, one) and _is_a(tuple, other)) or (_is_a(list, one) and _is_a(list, other)):
        for left, right in zip(one, other, strict=False):
            if less(left, right):
                return True
            if less(right, left):
                return False
        return len(one) < len(other)
    if isinstance(one, frozenset | set) or isinstance(other, frozenset | set):
        raise _incomparable(one, other)
    if _is_number(one) and _is_number(other) and (is_nan(one) or is_nan(other)):
        return not is_nan(one) and is_nan(other)
    try:
        return bool(one < other)
    except TypeError as error:
        raise _incomparable(one, other) from error


def is_nan(value: Any) -> bool:
    """Whether it is a NaN of any kind of number."""
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, Real) and bool(value != value)


def ranks_of(values: Sequence[Any]) -> Key | None:
    """The key function by which to sort ``values``; None where Python's ``<`` between them is the
    one order, or raises TypeError."""
    kinds = set(map(type, values))
    if kinds <= _NUMBERS:
        return Ranked if float in kinds and any(map(ne, values, values)) else None
    if len(kinds) > 1:
        return Ranked
    [kind] = kinds
    if kind is tuple:
        inside = list(chain.from_iterable(values))
        kinds_inside = set(map(type, inside))
        if kinds_inside <= PLAIN:
            return None
        if kinds_inside <= PLAIN | _NUMBERS:
            return Ranked if any(map(ne, inside, inside)) else None
    return Ranked if issubclass(kind, _PECULIAR) else None


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
    if key is None:
        return by_rank(lambda ranked: sorted(values, key=ranked, reverse=descending), values)
    ranks = list(map(key, values))

    def order(ranked: Key | None) -> list[int]:
        by = ranks if ranked is None else list(map(ranked, ranks))
        return sorted(range(len(by)), key=by.__getitem__, reverse=descending)

    return [values[at] for at in by_rank(order, ranks)]


def by_rank(compare: Callable[[Key | None], Result], values: Sequence[Any]) -> Result:
    """What ``compare`` gives, which compares ``values`` by a key function that it is handed.

    Raises:
        IncomparableError: it comes upon two that have no order.
        Exception: whatever a class's own ``<`` raises.
    """
    ranked = ranks_of(values)
    try:
        return compare(ranked)
    except TypeError:
        if ranked is not None:
            raise
    return compare(Ranked)  # which knows what could not be compared


def _incomparable(one: Any, other: Any) -> IncomparableError:
    both = (one, other)
    return IncomparableError(both, both)


def _is_a(kind: type, value: Any) -> bool:
    return isinstance(value, kind) and type(value).__lt__ is kind.__lt__  # type: ignore[operator]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | Decimal)
