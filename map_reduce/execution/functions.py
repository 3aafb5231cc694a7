"""The user's functions in a worker process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from map_reduce import reducers
from map_reduce.errors import FunctionError
from map_reduce.execution.formatted import Formatted
from map_reduce.execution.pickles import load
from map_reduce.ordering import IncomparableError, in_order


class LoadedFunctions(NamedTuple):
    """``sorts``: whether results are to be in the order of keys."""

    map: Callable[[Any, Any], Any]
    reduce: Callable[[Any, list[Any]], Any]
    combine: Callable[[Any, list[Any]], Any] | None
    sorts: bool = False


def load_functions(pickled: bytes) -> LoadedFunctions:
    """The pickled (map, reduce, combine or None, sorts, sort_values, save_as) as functions.

    Raises:
        FunctionError: they do not unpickle here; says which module is missing.
    """
    loaded = load(pickled, "the functions of the job")
    if not isinstance(loaded, tuple) or len(loaded) not in (3, 4, 5, 6):
        raise FunctionError("the functions of the job are not (map, reduce, combine, …)")
    return prepared(*loaded)


def prepared(
    map: Any,
    reduce: Any,
    combine: Any,
    sorts: bool = False,
    sort_values: Any = False,
    save_as: Any = "",
) -> LoadedFunctions:
    """The functions as the engine calls them: a ready-made reducer brings its combiner, and values
    are sorted for reduce, and its results made text, if they are to be."""
    functions = _combining(map, reduce, combine, sorts, sort_values)
    if save_as:
        return functions._replace(reduce=Formatted(functions.reduce, save_as))
    return functions


def _combining(
    map: Any, reduce: Any, combine: Any, sorts: bool, sort_values: Any
) -> LoadedFunctions:
    ready = isinstance(reduce, reducers.Reducer) and combine in (None, reduce)
    if ready and reduce is reducers.count:
        return LoadedFunctions(Ones(map), reducers.sum, reducers.sum.combine, sorts)
    if sort_values is not False:
        by = None if sort_values is True else sort_values
        return LoadedFunctions(map, InOrder(reduce, by), None if ready else combine, sorts)
    if ready:
        combine = reduce.combine if reduce.combines else None
    return LoadedFunctions(map, reduce, combine, sorts)


class InOrder:
    """A reduce function that gets the values of each key in order, of what ``key`` gives for them
    or, where that is None, of themselves; equal ones in the order of the sequential run."""

    def __init__(
        self, reduce: Callable[[Any, list[Any]], Any], key: Callable[[Any], Any] | None
    ) -> None:
        self.reduce = reduce
        self.key = key

    def __call__(self, key: Any, values: Sequence[Any]) -> Any:
        if len(values) > 1:
            try:
                values = in_order(values, self.key)
            except IncomparableError as error:
                raise TypeError(
                    f"the values cannot be sorted, as sort_values asks: {error}"
                ) from None
        return self.reduce(key, values)  # type: ignore[arg-type]


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
