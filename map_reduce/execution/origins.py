"""Where keys come from that cannot be compared: looked up once something has gone wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from map_reduce.core.messages import MapWork, ReduceWork, WholeWork, Work
from map_reduce.execution.failures import shown
from map_reduce.execution.functions import LoadedFunctions
from map_reduce.execution.read import batches_of, name_of
from map_reduce.execution.sources import Sources
from map_reduce.pickling import dumps
from map_reduce.ports import LocalInput


def origins(work: Work, local: LocalInput, functions: LoadedFunctions, keys: Sequence[Any]) -> str:
    """Which record, or which map output, gave each key, in words; "" where that is not to be found.

    Maps the split once more, up to there.
    """
    found: dict[int, str] = {}
    try:
        for key, name in _named(work, local, functions):
            for number, wanted in enumerate(keys):
                if number not in found and _is(key, wanted):
                    found[number] = f"{shown(wanted)} is from {name}"
            if len(found) == len(keys):
                break
    except Exception:  # noqa: BLE001  the error that is being explained is the one to be told
        return ""
    return " and ".join(found[number] for number in sorted(found))


def _is(key: Any, wanted: Any) -> bool:
    """Whether it is this key, perhaps made anew; told by how it pickles where ``==`` raises."""
    if type(key) is not type(wanted):
        return False
    try:
        return bool(key == wanted)
    except Exception:  # noqa: BLE001  that is what is being explained
        return dumps(key) == dumps(wanted)


def _named(work: Work, local: LocalInput, functions: LoadedFunctions) -> Iterator[tuple[Any, str]]:
    if isinstance(work, MapWork | WholeWork):
        for batch in batches_of(work.split, local.split):
            for at, value in enumerate(batch.values):
                for key, _ in functions.map(batch.keys[at], value):
                    yield key, f"{name_of(work.split, batch, at)} ({shown(value)})"
    elif isinstance(work, ReduceWork):
        names = source_names(work)
        partitions = range(work.first_partition, work.last_partition)
        sources = Sources(local.sources, names, partitions)
        for partition in partitions:
            for _, segment, name in sources.segments(partition):
                for key in segment.keys:
                    yield key, name


def source_names(work: ReduceWork) -> list[str]:
    """Its sources, for messages."""
    return [f"map output {source.name} of node {source.node}" for source in work.sources]
