"""What all ready-made reducers are made of. The theory is at the head of the package."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import Any

from map_reduce.errors import shortened


class Part:
    """What stands for some of a key's values, and is not one of them."""

    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held

    def __reduce__(self) -> tuple[type, tuple[Any]]:
        return type(self), (self.held,)


class Left(Part):
    """Values that could not be combined, for the reducer to say why."""


class Reducer:
    """A ready-made ``reduce`` function.

    Attributes:
        name: as in ``reducers.name``.
        combines: whether it makes less of its values while mapping.
        plain: whether a part is a value like any other, so that it may be given as ``combine``
            beside a reduce function of one's own.
    """

    combines = True
    plain = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.__doc__ = type(self).__doc__

    def __repr__(self) -> str:
        return f"reducers.{self.name}"

    def __reduce__(self) -> Any:
        return named, (self.name,)

    def __call__(self, key: Any, values: Iterable[Any]) -> Any:
        """The result for a key.

        Raises:
            TypeError, ValueError: a value is not of the kind that is needed; names key and value.
        """
        raise NotImplementedError

    def combine(self, key: Any, values: Sequence[Any]) -> Any:
        """One value that stands for these, of which there is at least one."""
        try:
            return self._combined(key, values)
        except (MemoryError, OSError):
            raise
        except Exception:  # noqa: BLE001  a class's own < or == may raise anything
            return Left(list(values))

    def _combined(self, key: Any, values: Sequence[Any]) -> Any:
        raise NotImplementedError

    def wrong(self, key: Any, value: Any, what: str) -> TypeError:
        return TypeError(
            f"{self!r}: the value {shortened(repr(value))} of key {shortened(repr(key))}, of type "
            f"{type(value).__name__}, {what}"
        )


def unpacked(values: Iterable[Any]) -> list[Any]:
    """With the values that could not be combined in their places."""
    flat: list[Any] = []
    for value in values:
        if type(value) is Left:
            flat.extend(unpacked(value.held))
        else:
            flat.append(value)
    return flat


def named(name: str) -> Any:
    """The reducer of that name: it travels as its name."""
    return getattr(importlib.import_module("map_reduce.reducers"), name)
