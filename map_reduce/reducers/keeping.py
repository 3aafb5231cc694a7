"""Values as they are: the first, the last, all of them, or each of them once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from map_reduce.ordering import PLAIN, is_nan
from map_reduce.reducers.base import Part, Reducer, unpacked


class _First(Reducer):
    """A key's first value, in the order of the sequential run."""

    plain = True

    def __call__(self, key: Any, values: Iterable[Any]) -> Any:
        return next(iter(values))

    def _combined(self, key: Any, values: Sequence[Any]) -> Any:
        return values[0]


class _Last(Reducer):
    """A key's last value, in the order of the sequential run."""

    plain = True

    def __call__(self, key: Any, values: Iterable[Any]) -> Any:
        *_, value = values
        return value

    def _combined(self, key: Any, values: Sequence[Any]) -> Any:
        return values[-1]


class _Collect(Reducer):
    """All of a key's values, as a list, in the order of the sequential run."""

    combines = False

    def __call__(self, key: Any, values: Iterable[Any]) -> list[Any]:
        return list(values)


class _Distinct(Reducer):
    """A key's values without repetitions, as a list, in the order in which they first come.

    What is equal is one value (``1`` and ``1.0`` are; the first is kept), and all NaNs are.

    Raises:
        TypeError: a value cannot be hashed, or is of a class whose instances equal only themselves.
    """

    def __call__(self, key: Any, values: Iterable[Any]) -> Any:
        return list(self._known(key, values).values())

    def _known(self, key: Any, values: Iterable[Any]) -> dict[Any, Any]:
        known: dict[Any, Any] = {}
        for value in unpacked(values):
            for one in value.held if type(value) is _DistinctPart else (value,):
                try:
                    known.setdefault(_identity(one), one)
                except TypeError as error:
                    raise self.wrong(key, one, f"cannot be told from others: {error}") from error
        return known

    def _combined(self, key: Any, values: Sequence[Any]) -> Any:
        return _DistinctPart(list(self._known(key, values).values()))


class _CountDistinct(_Distinct):
    """How many different values a key has. See :data:`distinct`.

    All of them are kept until they are counted, so this takes memory for each.
    """

    def __call__(self, key: Any, values: Iterable[Any]) -> int:
        return len(self._known(key, values))


class _DistinctPart(Part):
    """Different values."""


def _identity(value: Any) -> Any:
    """What is equal for values that are one: NaNs are, also inside tuples."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is tuple:
        return tuple(map(_identity, value))
    made_by: Any = kind.__hash__
    if made_by is object.__hash__ and value is not None:
        raise TypeError(f"instances of {kind.__qualname__} equal only themselves")
    return _NAN if is_nan(value) else value


class _Nan:
    """Stands for every NaN."""


_NAN = _Nan()
FIRST = _First("first")
LAST = _Last("last")
DISTINCT = _Distinct("distinct")
COUNT_DISTINCT = _CountDistinct("count_distinct")
COLLECT = _Collect("collect")
