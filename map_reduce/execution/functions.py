"""The user's functions in a worker process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from map_reduce.errors import FunctionError
from map_reduce.execution.pickles import load


class LoadedFunctions(NamedTuple):
    map: Callable[[Any, Any], Any]
    reduce: Callable[[Any, list[Any]], Any]
    combine: Callable[[Any, list[Any]], Any] | None


def load_functions(pickled: bytes) -> LoadedFunctions:
    """The pickled (map, reduce, combine or None) as functions.

    Raises:
        FunctionError: they do not unpickle here; says which module is missing.
    """
    loaded = load(pickled, "the functions of the job")
    if not isinstance(loaded, tuple) or len(loaded) != 3:
        raise FunctionError("the functions of the job are not a tuple (map, reduce, combine)")
    return LoadedFunctions(*loaded)
