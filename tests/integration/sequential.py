"""The plain sequential run that every job must equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any


def run_sequentially(
    records: Iterable[tuple[Any, Any]], map: Callable[..., Any], reduce: Callable[..., Any]
) -> dict[Any, Any]:
    groups: dict[Any, list[Any]] = {}
    for key, value in records:
        for k, v in map(key, value):
            groups.setdefault(one_nan(k), []).append(v)
    return {k: reduce(k, values) for k, values in groups.items()}


def one_nan(key: Any) -> Any:
    """All NaNs are one key, also inside tuples: the one rule that a dict does not have."""
    if isinstance(key, float) and key != key:
        return math.nan
    if type(key) is tuple:
        return tuple(map(one_nan, key))
    return key


def comparable(results: dict[Any, Any]) -> list[tuple[str, str]]:
    """Results in a form that is equal for equal results, NaN and the types of keys included."""
    return sorted((_text(k), _text(v)) for k, v in results.items())


def _text(value: Any) -> str:
    """Like ``repr``, but the same for equal frozensets in different processes."""
    if type(value) in (tuple, list, frozenset):
        parts = [_text(part) for part in value]
        if type(value) is frozenset:
            parts.sort()
        return f"{type(value).__name__}({', '.join(parts)})"
    return repr(value)
