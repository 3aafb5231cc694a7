"""In what two answers differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from map_reduce.errors import shortened

SHOWN_MAX = 5


def difference(result: Mapping[Any, Any], expected: Mapping[Any, Any]) -> str:
    """For people: keys that are absent, too many, or have another value, some of them by name."""
    absent = [key for key in expected if key not in result]
    surplus = [key for key in result if key not in expected]
    wrong = [key for key in expected if key in result and result[key] != expected[key]]
    parts = []
    for what, keys in (("absent", absent), ("not to be there", surplus), ("wrong", wrong)):
        if keys:
            shown = ", ".join(shortened(repr(key)) for key in keys[:SHOWN_MAX])
            parts.append(f"{len(keys)} keys {what}: {shown}")
    return "; ".join(parts)
