"""Sums, means and counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from map_reduce.reducers.base import Part, Reducer, unpacked

if TYPE_CHECKING:
    from fractions import Fraction

WHOLE_FLOATS = 1 << 53
"""Ints up to this size are floats exactly."""

_INTS = frozenset((int, bool))
_FLOATS = frozenset((float,))
_NOT_ADDED = (str, bytes, bytearray, tuple, list, dict, set, frozenset, Part)
_ADVICE = "cannot be added up; let map leave it out, or give a number in its place"


class _Total(NamedTuple):
    """The exact sum of some values, and how many these are.

    ``exact`` is that of the ints (a Fraction where floats had to be added that overflow),
    ``floats`` are several that together are the sum of the floats (None where there was none), and
    ``others`` are neither, in order.
    """

    values: int
    exact: int | Fraction
    floats: tuple[float, ...] | None
    others: tuple[Any, ...]


class _TotalPart(Part):
    """A part that holds the fields of a :class:`_Total`."""


def _total(values: Sequence[Any]) -> _Total:
    kinds = set(map(type, values))
    if kinds <= _INTS:
        return _Total(len(values), sum(values), None, ())
    if kinds == _FLOATS:
        return _Total(len(values), *_expansion(values), ())
    many = 0
    exact: int | Fraction = 0
    floats: list[float] = []
    others: list[Any] = []
    has_floats = False
    for value in values:
        if type(value) is _TotalPart:
            part = _Total(*value.held)
            many += part.values
            exact += part.exact
            if part.floats is not None:
                has_floats = True
                floats.extend(part.floats)
            others.extend(part.others)
            continue
        many += 1
        if isinstance(value, int):
            exact += int(value)
        elif isinstance(value, float):
            has_floats = True
            floats.append(float(value))
        else:
            others.append(value)
    if not has_floats:
        return _Total(many, exact, None, tuple(others))
    overflown, expansion = _expansion(floats)
    return _Total(many, exact + overflown, expansion, tuple(others))


def _expansion(floats: Sequence[float]) -> tuple[int | Fraction, tuple[float, ...]]:
    """An exact number and some floats that together are the sum of these, to the last bit.

    ``math.fsum`` gives the sum rounded to the nearest float; with that taken away, the next call
    gives what the rounding has left out, and so on.
    """
    if not all(map(math.isfinite, floats)):
        specials = [value for value in floats if not math.isfinite(value)]
        return 0, (sum(specials),)  # an infinity, or NaN
    rest = list(floats)
    parts: list[float] = []
    try:
        while part := math.fsum(rest):
            parts.append(part)
            rest.append(-part)
    except OverflowError:
        return _exactly(floats), ()
    return 0, tuple(parts)


def _rounded(exact: int | Fraction, floats: tuple[float, ...]) -> float:
    """The float that is nearest to the sum; an infinity where it is out of range."""
    if floats and not math.isfinite(floats[0]):
        return floats[0]
    if isinstance(exact, int) and -WHOLE_FLOATS <= exact <= WHOLE_FLOATS:
        try:
            return math.fsum([float(exact), *floats]) + 0.0
        except OverflowError:
            pass  # on the way, if not in the end
    return _nearest(exact + _exactly(floats))


def _exactly(floats: Sequence[float]) -> Fraction:
    from fractions import Fraction  # late: it takes sums out of the range of floats to need them

    return sum(map(Fraction, floats), Fraction(0))


def _nearest(number: int | Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


class _Adding(Reducer):
    """What sums and means have in common."""

    def __call__(self, key: Any, values: Iterable[Any]) -> Any:
        total = _total(unpacked(values))
        for value in total.others:
            if value is None or isinstance(value, _NOT_ADDED):
                raise self.wrong(key, value, _ADVICE)
        added = None
        if total.values > len(total.others):  # there are numbers
            added = total.exact if total.floats is None else _rounded(total.exact, total.floats)
        for value in total.others:
            try:
                added = value if added is None else added + value
            except TypeError:
                what = f"cannot be added to {type(added).__name__}"
                raise self.wrong(key, value, what) from None
        return self._finished(added, total)

    def _finished(self, added: Any, total: _Total) -> Any:
        raise NotImplementedError

    def _combined(self, key: Any, values: Sequence[Any]) -> Any:
        return _TotalPart(tuple(_total(unpacked(values))))


class _Sum(_Adding):
    """The sum of a key's values.

    Ints are added exactly. Where there are floats, the sum is the float nearest to the exact sum of
    all of them (``math.fsum``), NaN where one is NaN, and infinite where it is out of range. What
    can be added and is neither (decimals, fractions, timedeltas, arrays) is added to that with
    ``+``, in the order of the sequential run, and not combined.

    Raises:
        TypeError: a value is None, a text or a collection, or cannot be added to the others.
    """

    plain = True

    def _finished(self, added: Any, total: _Total) -> Any:
        return added

    def _combined(self, key: Any, values: Sequence[Any]) -> Any:
        total = _total(unpacked(values))
        if total.floats is None and not total.others:
            return total.exact
        return _TotalPart(tuple(total))


class _Mean(_Adding):
    """The arithmetic mean of a key's values: their :data:`sum`, divided by how many they are.

    Raises:
        TypeError: as :data:`sum`; or the sum cannot be divided by a number.
    """

    def _finished(self, added: Any, total: _Total) -> Any:
        if total.floats is not None and not total.others and math.isinf(added):
            floats = total.floats
            if not floats or math.isfinite(floats[0]):  # only the sum is out of range
                return _nearest((total.exact + _exactly(floats)) / total.values)
        return added / total.values


class _Count(Reducer):
    """How many values a key has, whatever they are: each is replaced by 1 before it is grouped."""

    def __call__(self, key: Any, values: Iterable[Any]) -> int:
        return len(list(values))


SUM = _Sum("sum")
MEAN = _Mean("mean")
COUNT = _Count("count")
