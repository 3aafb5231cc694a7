"""Results as lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TextIO

from map_reduce.client.handle import JobHandle


def write_results(results: Iterable[tuple[Any, Any]], out: TextIO, *, as_json: bool) -> None:
    """A line for each key: ``key<TAB>value``, or ``[key, value]`` as JSON.

    What JSON has no form for is written as its ``repr``.
    """
    for key, value in results:
        if as_json:
            out.write(json.dumps([key, value], default=repr, ensure_ascii=False) + "\n")
        else:
            out.write(f"{key}\t{value}\n")


def write_account(job: JobHandle, out: TextIO) -> None:
    """What an ended job has counted, and what it has left out."""
    for name, count in sorted(job.counters.items()):
        out.write(f"map-reduce: {name}: {count:,}\n")
    if total := job.skipped_total:
        out.write(f"map-reduce: {total:,} bad records and keys were left out:\n")
        skipped = job.skipped
        for where, record, error in skipped:
            out.write(f"  {where}{': ' if record else ''}{record}: {error}\n")
        if total > len(skipped):
            out.write(f"  and {total - len(skipped):,} more\n")
