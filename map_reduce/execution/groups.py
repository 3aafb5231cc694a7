"""Grouping: the dict from key to its values that map and reduce fill pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate, chain, pairwise
from typing import Any

from map_reduce.execution.keys import PLAIN, are_plain, form_of
from map_reduce.kernel import compiled


class Groups(dict[Any, list[Any]]):
    """Keys with their values, both in the order in which they came.

    Filled by ``groups[key].append(value)``, which costs what it costs with a defaultdict: only
    a key that is not there yet passes through :meth:`__missing__`, where it is judged. The key
    kept is the first of its equals.
    """

    __slots__ = ("irregular",)

    def __init__(self) -> None:
        super().__init__()
        self.irregular: dict[Any, list[Any]] = {}
        """Form -> values, of the keys that are not their own form. The dict itself has these
        under their first key as well; another NaN finds the first one's values here."""

    def __missing__(self, key: Any) -> list[Any]:
        kind = type(key)
        if kind not in PLAIN and not (kind is tuple and PLAIN.issuperset(map(type, key))):
            form = form_of(key)
            if form is not key:
                if form not in self.irregular:
                    self.irregular[form] = self[key] = []
                return self.irregular[form]
        values = self[key] = []
        return values

    def clear(self) -> None:
        super().clear()
        self.irregular.clear()

    def take(self, keys: list[Any], counts: list[int] | None, values: list[Any]) -> None:
        """Add what another group by the same keys holds: ``counts`` values for each key, one
        where that is None, standing one after another in ``values``."""
        if compiled is not None:
            done = compiled.extend_lists(self, keys, counts, values)
            if done is None:
                return
            values = values[done if counts is None else sum(counts[:done]) :]
            keys, counts = keys[done:], counts and counts[done:]
        if are_plain(keys) and self.keys().isdisjoint(keys):  # so nothing is to be looked up
            self.update(zip(keys, _each(counts, values), strict=True))
            return
        if counts is None:
            for key, value in zip(keys, values, strict=True):
                self[key].append(value)
            return
        for key, some in zip(keys, _each(counts, values), strict=True):
            self[key].extend(some)

    def fold(self, combine: Callable[[Any, list[Any]], Any], length_max: int) -> Iterable[Any]:
        """Put ``combine(key, values)`` in the place of values where they are more than
        ``length_max``. Gives each such key before its call, so that a failure has a name."""
        for key, values in self.items():
            if len(values) > length_max:
                yield key
                values[:] = [combine(key, values[:])]


def _each(counts: list[int] | None, values: list[Any]) -> list[list[Any]]:
    """A new list of values for each key."""
    if counts is None:
        return [[value] for value in values]
    return [values[first:last] for first, last in pairwise(chain((0,), accumulate(counts)))]
