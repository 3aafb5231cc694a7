"""Results as lines."""

from __future__ import annotations

import json
from typing import Any, TextIO


def write_results(results: dict[Any, Any], out: TextIO, *, as_json: bool) -> None:
    """A line for each key: ``key<TAB>value``, or ``[key, value]`` as JSON.

    What JSON has no form for is written as its ``repr``.
    """
    for key, value in results.items():
        if as_json:
            out.write(json.dumps([key, value], default=repr, ensure_ascii=False) + "\n")
        else:
            out.write(f"{key}\t{value}\n")
