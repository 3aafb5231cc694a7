"""What a job must give, whatever happens to the cluster: the run that one loop would make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from map_reduce.ordering import in_order


def sequential(
    data: Iterable[Any],
    map: Callable[..., Any],
    reduce: Callable[..., Any],
    combine: Callable[..., Any] | None = None,
    *,
    sort: bool = False,
    sort_values: bool | Callable[[Any], Any] = False,
) -> dict[Any, Any]:
    """Run a job here and now, in one loop.

    Args:
        data: items, mapped with their index; or a mapping, mapped by key and value.
        combine: called once for each key, if given; for what it promises, that changes nothing.

        sort: whether results are in the order of keys.
        sort_values: whether reduce gets values in order, or what they are sorted by.

    >>> sequential(["a b", "b"], lambda n, line: [(w, 1) for w in line.split()],
    ...            lambda word, counts: sum(counts))
    {'a': 1, 'b': 2}
    """
    groups: dict[Any, list[Any]] = {}
    for key, value in data.items() if isinstance(data, Mapping) else enumerate(data):
        for k, v in map(key, value):
            groups.setdefault(k, []).append(v)
    if combine is not None:
        groups = {k: [combine(k, values)] for k, values in groups.items()}
    if sort_values is not False:
        by = None if sort_values is True else sort_values
        groups = {k: in_order(values, by) for k, values in groups.items()}
    return {k: reduce(k, groups[k]) for k in (in_order(groups) if sort else groups)}
