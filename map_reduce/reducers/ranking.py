"""The smallest, the largest, and some of these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from map_reduce.errors import FunctionError, shortened
from map_reduce.ordering import PLAIN, IncomparableError, by_rank, in_order, is_nan
from map_reduce.reducers.base import Part, Reducer, unpacked


class _Extreme(Reducer):
    """What :data:`min` and :data:`max` have in common."""

    plain = True

    def __call__(self, key: Any, values: Iterable[Any]) -> Any:
        values = unpacked(values)
        kinds = set(map(type, values))
        if len(kinds) > 1 or not kinds <= PLAIN:
            for value in values:
                if value is None:
                    raise self.wrong(key, value, "has no order; let map leave it out")
            for value in values:
                if is_nan(value):
                    return value
        try:
            return self._chosen(values)
        except IncomparableError as error:
            raise TypeError(f"{self!r}: of key {shortened(repr(key))}, {error}") from error

    def _chosen(self, values: list[Any]) -> Any:
        raise NotImplementedError

    def _combined(self, key: Any, values: Sequence[Any]) -> Any:
        return self(key, values)


class _Min(_Extreme):
    """The smallest of a key's values; of equal ones the first. NaN where one is NaN.

    Raises:
        TypeError: a value is None, or two cannot be compared.
    """

    def _chosen(self, values: list[Any]) -> Any:
        return by_rank(lambda ranked: min(values, key=ranked), values)


class _Max(_Extreme):
    """The largest of a key's values; of equal ones the first. NaN where one is NaN.

    Raises:
        TypeError: a value is None, or two cannot be compared.
    """

    def _chosen(self, values: list[Any]) -> Any:
        return by_rank(lambda ranked: max(values, key=ranked), values)


class _Top(Reducer):
    """The ``k`` largest or smallest of a key's values, as a list, best first.

    See :func:`top` and :func:`bottom`.
    """

    def __init__(self, name: str, k: int, key: Callable[[Any], Any] | None) -> None:
        super().__init__(name)
        if type(k) is not int or k < 1:
            raise FunctionError(f"reducers.{name}({k!r}): k is a whole number, at least 1")
        if key is not None and not callable(key):
            raise FunctionError(f"reducers.{name}: key is a function, not {type(key).__name__}")
        self.k = k
        self.key = key

    def __repr__(self) -> str:
        return f"reducers.{self.name}({self.k}{', key=…' if self.key else ''})"

    def __reduce__(self) -> Any:
        return _Top, (self.name, self.k, self.key)

    def __call__(self, key: Any, values: Iterable[Any]) -> list[Any]:
        flat: list[Any] = []
        for value in unpacked(values):
            flat.extend(value.held) if type(value) is _TopPart else flat.append(value)
        ranks = flat if self.key is None else list(map(self.key, flat))
        for value, rank in zip(flat, ranks, strict=True):
            if rank is None or is_nan(rank):
                raise self.wrong(key, value, f"is ranked by {rank!r}, which has no rank")
        try:
            return in_order(flat, self.key, descending=self.name == "top")[: self.k]
        except IncomparableError as error:
            raise TypeError(f"{self!r}: of key {shortened(repr(key))}, {error}") from error

    def _combined(self, key: Any, values: Sequence[Any]) -> Any:
        return _TopPart(self(key, values))


class _TopPart(Part):
    """The best values of some, best first."""


def top(k: int, key: Callable[[Any], Any] | None = None) -> Reducer:
    """A reducer to the ``k`` largest values, the largest first.

    Of equal ones those come first that come first in the sequential run.

    Args:
        k: how many, at least 1; fewer where a key has fewer.
        key: gives for a value what it is compared by; None compares the values themselves.

    Raises:
        FunctionError: ``k`` or ``key`` cannot be used.
    """
    return _Top("top", k, key)


def bottom(k: int, key: Callable[[Any], Any] | None = None) -> Reducer:
    """A reducer to the ``k`` smallest values, the smallest first; otherwise as :func:`top`."""
    return _Top("bottom", k, key)


MIN = _Min("min")
MAX = _Max("max")
