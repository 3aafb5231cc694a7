"""How the user's objects become bytes that another process can open.

cloudpickle, taught three things: modules that refer to each other, functions with a cache
(``functools.lru_cache``), and ``functools.cached_property`` of every Python version. The client
pickles functions and items with it, and the workers their outputs, since what came from the
client must also be able to go back. ``pickle.loads`` opens all of it.

It also says which modules every node has, and which are the user's own. A module is taken to be
on every node where it belongs to Python itself, to an installed package (a ``site-packages`` or
``dist-packages`` folder), to this library, or where it is compiled code, which cannot travel.
Everything else is the user's own: the script, modules beside it, packages installed in editable
form, modules made at run time, notebooks, consoles.
"""

from __future__ import annotations

import functools
import importlib.machinery
import io
import os
import sys
import sysconfig
import types
from typing import Any

import cloudpickle

PROTOCOL = 5

_NOT_SHIPPED = ("__builtins__", "__spec__", "__loader__", "__cached__")
_INSTALLED_FOLDERS = frozenset({"site-packages", "dist-packages"})
_COMPILED = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_THIS_LIBRARY = __name__.partition(".")[0]


def dumps(value: Any) -> bytes:
    """``value`` as pickled bytes.

    Raises:
        Exception: what does not pickle says so in many ways, and a user's own ``__reduce__``
            or ``__getstate__`` may raise anything.
    """
    with io.BytesIO() as file:
        Pickler(file, protocol=PROTOCOL).dump(value)
        return file.getvalue()


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle's, extended as the head of this module says."""

    def reducer_override(self, value: Any) -> Any:
        """As in :mod:`pickle`: how to make ``value`` again, or NotImplemented."""
        if isinstance(value, types.ModuleType) and not _is_everywhere(value.__name__, value):
            contents = {k: v for k, v in vars(value).items() if k not in _NOT_SHIPPED}
            return types.ModuleType, (value.__name__,), contents
        if isinstance(value, functools._lru_cache_wrapper) and not _is_findable(value):
            settings = value.cache_parameters()
            function = value.__wrapped__
            arguments = (function, settings["maxsize"], settings["typed"], functools._CacheInfo)
            return functools._lru_cache_wrapper, arguments, dict(vars(value))
        if type(value) is functools.cached_property:
            contents = {k: v for k, v in vars(value).items() if k != "lock"}  # until 3.11
            return functools.cached_property, (value.func,), contents
        return super().reducer_override(value)


def _is_everywhere(name: str, module: types.ModuleType) -> bool:
    return sys.modules.get(name) is module and not is_own(module)


def _is_findable(value: Any) -> bool:
    """Whether another process finds it by module and name."""
    module = sys.modules.get(value.__module__)
    if module is None or not _is_everywhere(value.__module__, module):
        return False
    found: Any = module
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def is_own(module: object) -> bool:
    """Whether the module is the user's own, so that its contents must travel by value.

    False also for what stands in ``sys.modules`` without being a module.
    """
    if not isinstance(module, types.ModuleType):
        return False
    name = str(module.__name__)
    if name in ("__main__", "__mp_main__"):
        return True
    root = name.partition(".")[0]
    if root == _THIS_LIBRARY or name in sys.builtin_module_names:
        return False
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return _is_own_file(file)
    folders = _folders(module)
    if folders:  # a namespace package
        return all(_is_own_file(os.path.join(folder, "")) for folder in folders)
    if root != name:  # made at run time by a package, as six.moves is
        return is_own(sys.modules.get(root))
    return getattr(module, "__spec__", None) is None  # frozen modules have one


def own_modules() -> list[types.ModuleType]:
    """The user's own modules in ``sys.modules``, without ``__main__`` and namespace packages.

    A namespace package has no code of its own, and its parts may be of both kinds.
    """
    return [
        module
        for module in list(sys.modules.values())  # other threads import meanwhile
        if is_own(module)
        and module.__name__ != "__main__"
        and module.__name__ in sys.modules
        and (getattr(module, "__file__", None) or not _folders(module))
    ]


def _folders(module: types.ModuleType) -> list[str]:
    return [str(folder) for folder in getattr(module, "__path__", None) or ()]


@functools.lru_cache(maxsize=1 << 14)
def _is_own_file(file: str) -> bool:
    if file.endswith(_COMPILED) or file.startswith("<frozen"):
        return False
    path = os.path.abspath(file)
    if not _INSTALLED_FOLDERS.isdisjoint(path.split(os.sep)):
        return False
    return not path.startswith(_standard_library())


@functools.cache
def _standard_library() -> tuple[str, ...]:
    folders = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    folders.add(os.path.dirname(os.__file__))
    zipped = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    folders |= {entry for entry in sys.path if os.path.basename(entry) == zipped}
    both = folders | {os.path.realpath(folder) for folder in folders}
    return tuple(os.path.join(folder, "") for folder in both)
