"""A value for each type that occurs in messages."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec


def sample(kind: Any) -> Any:
    """Some value of a type that occurs in messages, with every optional part there."""
    plain = {int: 3, str: "ä 1", bytes: b"\x00\xff" * 10, bool: True, float: 0.5, type(None): None}
    if kind in plain:
        return plain[kind]
    if get_origin(kind) is Literal:
        return get_args(kind)[-1]
    if get_origin(kind) in (Union, types.UnionType):
        return sample(get_args(kind)[0])
    if get_origin(kind) is tuple and get_args(kind)[-1] is not Ellipsis:
        return tuple(map(sample, get_args(kind)))
    if get_origin(kind) is tuple:
        return (sample(get_args(kind)[0]),) * 2
    if get_origin(kind) is dict:
        return {sample(get_args(kind)[0]): sample(get_args(kind)[1])}
    assert issubclass(kind, msgspec.Struct), kind
    hints = get_type_hints(kind)
    return kind(**{name: sample(hints[name]) for name in kind.__struct_fields__})
