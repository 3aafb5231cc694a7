"""The user's functions in a worker process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from map_reduce import reducers
from map_reduce.errors import FunctionError
from map_reduce.execution.pickles import load


class LoadedFunctions(NamedTuple):
    """``sorts``: whether results are to be in the order of keys."""

    map: Callable[[Any, Any], Any]
    reduce: Callable[[Any, list[Any]], Any]
    combine: Callable[[Any, list[Any]], Any] | None
    sorts: bool = False


def load_functions(pickled: bytes) -> LoadedFunctions:
    """The pickled (map, reduce, combine or None, sorts) as functions.

    Raises:
        FunctionError: they do not unpickle here; says which module is missing.
    """
    loaded = load(pickled, "the functions of the job")
    if not isinstance(loaded, tuple) or len(loaded) not in (3, 4):
        raise FunctionError("the functions of the job are not (map, reduce, combine, sorts)")
    return prepared(*loaded)


def prepared(map: Any, reduce: Any, combine: Any, sorts: bool = False) -> LoadedFunctions:
    """The functions as the engine calls them: a ready-made reducer brings its combiner."""
    if not isinstance(reduce, reducers.Reducer) or combine not in (None, reduce):
        return LoadedFunctions(map, reduce, combine, sorts)
    if reduce is reducers.count:
        return LoadedFunctions(Ones(map), reducers.sum, reducers.sum.combine, sorts)
    return LoadedFunctions(map, reduce, reduce.combine if reduce.combines else None, sorts)


class Ones:
    """A map function whose values are all replaced by 1: to count them is to add these up."""

    def __init__(self, map: Callable[[Any, Any], Any]) -> None:
        self.map = map

    def __call__(self, key: Any, value: Any) -> Any:
        pairs = self.map(key, value)
        try:
            return map(_with_one, pairs)
        except TypeError:
            return pairs  # which are none: for the caller to say so


def _with_one(pair: Any) -> Any:
    is_pair = isinstance(pair, tuple | list) and len(pair) == 2
    return (pair[0], 1) if is_pair else pair
