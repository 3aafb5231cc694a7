"""Functions named on a command line."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from map_reduce import reducers
from map_reduce.errors import FunctionError


def load_function(text: str, role: str) -> Callable[..., Any]:
    """The function that ``jobs.py:count`` or ``package.module:count`` names; for reduce also a
    ready-made one, as in ``sum`` or ``top(3)``.

    Raises:
        FunctionError: there is no such file, module or name, or loading it failed.
    """
    if role == "reduce" and (ready := _ready_made(text)) is not None:
        return ready
    where, colon, name = text.rpartition(":")
    if not colon or not where or not name:
        raise FunctionError(f"--{role} {text!r}: write FILE.py:NAME or MODULE:NAME")
    try:
        module = _load_file(Path(where)) if where.endswith(".py") else _import(where)
    except FunctionError:
        raise
    except Exception as error:  # the user's module may raise anything while it is loaded
        problem = f"{type(error).__name__}: {error}"
        raise FunctionError(f"--{role} {text!r}: loading {where} failed: {problem}") from error
    try:
        function = getattr(module, name)
    except AttributeError:
        raise FunctionError(f"--{role} {text!r}: {where} has no {name!r}") from None
    if not callable(function):
        raise FunctionError(f"--{role} {text!r}: {name} is not a function")
    return function  # type: ignore[no-any-return]


def _ready_made(text: str) -> Callable[..., Any] | None:
    if found := re.fullmatch(r"(top|bottom)\((\d+)\)", text):
        make: Callable[[int], Callable[..., Any]] = getattr(reducers, found[1])
        return make(int(found[2]))
    named = getattr(reducers, text, None) if text in reducers.__all__ else None
    return named if isinstance(named, reducers.Reducer) else None


def _import(where: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # modules of the current folder, as with python -m
    return importlib.import_module(where)


def _load_file(path: Path) -> ModuleType:
    """One module for each file, however many functions are taken from it."""
    name = f"_map_reduce_run_{path.resolve().stem}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise FunctionError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FunctionError(f"{path} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))  # for modules beside it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
