"""How functions and items travel to nodes that do not have the user's modules.

Everything is pickled with cloudpickle. What belongs to the user's own modules (see
``map_reduce/pickling.py``) goes **by value**: the bytecode of the functions, the definitions of the
classes, and with them the globals that they use, and theirs in turn. What is installed goes by
name. A name that is imported inside a function's body is looked up where the function runs, so
such a module must be there: import the user's own modules at the top of the file.

cloudpickle keeps one list of modules to pickle by value for the whole process. It is extended
while something is pickled, under a lock, and then restored.

A class that travelled is known by an identifier at both ends. So the instances that come back
are of the very class the client has (:func:`unpickle`), and ``isinstance`` and ``is`` hold.
"""

from __future__ import annotations

import functools
import io
import pickle
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import cloudpickle
from cloudpickle import cloudpickle as machinery

from map_reduce.client.unpicklable import advice_for_function, find_unpicklable
from map_reduce.errors import FunctionError, InputTypeError, shortened
from map_reduce.job import Job
from map_reduce.pickling import dumps, own_modules

_registry_lock = threading.RLock()  # of cloudpickle's process-wide list of modules


def pickle_functions(job: Job) -> bytes:
    """The cloudpickled tuple (map, reduce, combine or None, sort, sort_values, save_as).

    Raises:
        FunctionError: one of them does not pickle; names the object at fault and how it is
            reached.
    """
    functions = (job.map, job.reduce, job.combine, job.sort, job.sort_values, job.save_as)
    with _own_modules_by_value():
        try:
            return dumps(functions)
        except MemoryError:
            raise
        except Exception as error:  # a user's __reduce__ may raise anything
            for role in ("map", "reduce", "combine", "sort_values"):
                found = find_unpicklable(getattr(job, role), dumps)
                if found is not None:
                    advice = advice_for_function(found)
                    raise FunctionError(f"{role} does not travel: {found} {advice}") from error
            raise FunctionError(f"the functions cannot be pickled: {error}") from error


def pickle_items(items: Sequence[Any], first_index: int = 0, keyed: bool = False) -> bytes:
    """The cloudpickled list of items, or, where ``keyed``, of (key, value) pairs.

    ``first_index`` is the number of the first item, for messages.

    Raises:
        InputTypeError: an item does not pickle; names its number or key, and the object.
    """
    with _own_modules_by_value():
        try:
            return dumps(list(items))
        except MemoryError:
            raise
        except Exception as error:  # a user's __reduce__ may raise anything
            for where, part in _parts(items, first_index, keyed):
                found = find_unpicklable(part, dumps)
                if found is not None:
                    raise InputTypeError(
                        f"{where} does not travel: {found} Pass what map needs to make it."
                    ) from error
            raise InputTypeError(f"the items cannot be pickled: {error}") from error


def unpickle(data: bytes) -> Any:
    """Unpickle results, giving instances of the classes this process already has.

    Definitions of classes that came from here are recognised, and left as they are: plain
    ``pickle.loads`` would overwrite their attributes with those of the copy that came back.

    Raises:
        Exception: whatever the user's own unpickling code raises.
    """
    return unpickle_next(io.BytesIO(data))


def unpickle_next(file: BinaryIO) -> Any:
    """What the next pickle of a file holds, as :func:`unpickle`. Raises EOFError at its end."""
    return _Unpickler(file).load()


def _parts(items: Sequence[Any], first_index: int, keyed: bool) -> Iterator[tuple[str, Any]]:
    for index, item in enumerate(items, first_index):
        if keyed:
            key, value = item
            yield f"the key {shortened(repr(key))}", key
            yield f"the value of key {shortened(repr(key))}", value
        else:
            yield f"item {index}", item


@contextmanager
def _own_modules_by_value() -> Iterator[None]:
    with _registry_lock:
        before = machinery.list_registry_pickle_by_value()
        added = [module for module in own_modules() if module.__name__ not in before]
        for module in added:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            now = machinery.list_registry_pickle_by_value()
            for name, module in {module.__name__: module for module in added}.items():
                if name in now:
                    cloudpickle.unregister_pickle_by_value(module)


class _Unpickler(pickle.Unpickler):
    """Leaves the definitions of classes that this process already has alone."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._known: set[type] = set()

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if found in (machinery._make_skeleton_class, machinery._make_skeleton_enum):
            return functools.partial(self._find_or_make, found)
        if found is machinery._class_setstate:
            return self._fill
        return found

    def _find_or_make(self, make: Any, *arguments: Any) -> type:
        identifier = arguments[-2]
        known = machinery._DYNAMIC_CLASS_TRACKER_BY_ID.get(identifier)
        made: type = make(*arguments)
        if made is known:
            self._known.add(made)
        return made

    def _fill(self, made: type, state: Any) -> type:
        if made not in self._known:
            machinery._class_setstate(made, state)
        return made
