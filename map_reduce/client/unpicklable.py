"""Why something does not pickle: the smallest part of it that does not, and the way there.

Called only after pickling has failed. From the whole, step to the first part that does not
pickle by itself, and so on, until all parts of something pickle while it does not: that is the
one to name.
"""

from __future__ import annotations

import builtins
import dis
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from map_reduce.errors import shortened

STEPS_MAX = 20
"""How deep the search goes."""

TRIALS_MAX = 2000
"""How many parts it tries to pickle."""

_Part = tuple[str, Any]  # how the whole refers to it ("uses the global 'x'"), and itself


def find_unpicklable(value: Any, dumps: Callable[[Any], bytes]) -> str | None:
    """A sentence that names the part of ``value`` that does not pickle; None where all does.

    For example: it uses the global 'connection' (sqlite3.Connection), which cannot be pickled.
    """
    error = _failure(value, dumps)
    if error is None:
        return None
    way: list[str] = []
    culprit, seen, trials = value, {id(value)}, 0
    while len(way) < STEPS_MAX and not (_is_too_deep(error) and _is_data(culprit)):
        for how, part in _parts(culprit):
            trials += 1
            if id(part) in seen or trials > TRIALS_MAX:
                continue
            seen.add(id(part))
            failure = _failure(part, dumps)
            if failure is not None:
                culprit, error = part, failure
                way.append(f"{how} ({_type_name(part)})")
                break
        else:
            break
    reached = ", which ".join(way) if way else f"is {_with_article(culprit)}"
    if _is_too_deep(error):
        return f"it {reached}, which is nested too deeply to be pickled."
    return f"it {reached}, which cannot be pickled{_reason(error)}."


def advice_for_function(sentence: str) -> str:
    """What to do about a ``sentence`` of :func:`find_unpicklable` about a function."""
    if "too deeply" in sentence:
        return "Make it flatter."
    if "(generator)" in sentence:
        return "Make it a list first."
    if "(a module), which has the global" in sentence:
        return "Import the names that are used, not the whole module: from … import …"
    names = sentence.rpartition("(")[2].lower()
    opened = ("connection", "socket", "file", "io", "client", "session", "cursor", "reader")
    verb = "Open" if any(word in names for word in opened) else "Make"
    return f"{verb} it inside the function instead."


def _failure(value: Any, dumps: Callable[[Any], bytes]) -> Exception | None:
    try:
        dumps(value)
    except Exception as error:  # noqa: BLE001  # a user's __reduce__ may raise anything
        return error
    return None


def _is_too_deep(error: BaseException) -> bool:
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)


def _is_data(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple | set | frozenset)


def _reason(error: Exception) -> str:
    text = str(error).strip().rstrip(".")
    if not text or (isinstance(error, TypeError) and text.startswith("cannot pickle ")):
        return ""  # it names the type, as we do
    return f" ({shortened(text, 200)})"


def _parts(value: Any) -> Iterator[_Part]:
    """What ``value`` refers to and pickling it would pickle too, nearest first."""
    if isinstance(value, types.FunctionType):
        yield from _function_parts(value)
    elif isinstance(value, types.MethodType):
        yield "is a method of an object", value.__self__
        yield "is the function", value.__func__
    elif isinstance(value, functools.partial):
        yield "calls the function", value.func
        for index, argument in enumerate(value.args):
            yield f"has the argument {index}", argument
        for name, argument in value.keywords.items():
            yield f"has the argument {name!r}", argument
    elif isinstance(value, types.ModuleType):
        for name, part in list(vars(value).items()):
            if not name.startswith("__"):
                yield f"has the global {name!r}", part
    elif isinstance(value, type):
        for base in value.__bases__:
            yield "has the base class", base
        yield from (_attribute(name, part) for name, part in list(vars(value).items()))
    elif isinstance(value, Mapping):
        for key, part in list(value.items()):
            yield "has the key", key
            yield f"has under {shortened(repr(key), 40)} an entry", part
    elif isinstance(value, list | tuple | set | frozenset):
        for index, part in enumerate(list(value)):
            yield f"has the element {index}", part
    elif isinstance(value, staticmethod | classmethod):
        yield "is the function", value.__func__
    elif isinstance(value, property):
        for part in (value.fget, value.fset, value.fdel):
            if part is not None:
                yield "calls the function", part
    else:
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is not None:
            yield "wraps the function", wrapped
        if not inspect.isbuiltin(value):
            yield "is of the class", type(value)
        yield from _attributes(value)


def _function_parts(function: types.FunctionType) -> Iterator[_Part]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"uses the variable {name!r} of the function around it", cell.cell_contents
        except ValueError:  # a cell that is not filled yet
            continue
    for name in _global_names(function.__code__):
        if name in function.__globals__ and not hasattr(builtins, name):
            yield f"uses the global {name!r}", function.__globals__[name]
    defaults = function.__defaults__ or ()
    positional = function.__code__.co_varnames[: function.__code__.co_argcount]
    for name, part in zip(positional[len(positional) - len(defaults) :], defaults, strict=True):
        yield f"has the default {name}=", part
    for name, part in (function.__kwdefaults__ or {}).items():
        yield f"has the default {name}=", part
    for name, part in vars(function).items():
        yield _attribute(name, part)
    for name, part in function.__annotations__.items():
        yield f"has the annotation of {name!r}", part


def _global_names(code: types.CodeType) -> list[str]:
    names = [
        str(step.argval)
        for step in dis.get_instructions(code)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    ]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _global_names(constant)
    return list(dict.fromkeys(names))


def _attribute(name: str, part: Any) -> _Part:
    return f"has the attribute {name!r}", part


def _attributes(value: Any) -> Iterator[_Part]:
    for name, part in list(getattr(value, "__dict__", {}).items()):
        yield _attribute(name, part)
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield _attribute(name, getattr(value, name))


def _type_name(value: Any) -> str:
    kind = type(value)
    if isinstance(value, types.ModuleType):
        return "a module"
    if isinstance(value, types.FunctionType):
        return "a function"
    if isinstance(value, type):
        return "a class"
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _with_article(value: Any) -> str:
    name = _type_name(value)
    return name if name.startswith("a ") else f"a {name}"
