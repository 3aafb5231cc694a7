"""MapReduce on a ring of equal nodes, from a laptop to many machines.

>>> from map_reduce import ServerInterface
>>> with ServerInterface() as server:                             # doctest: +SKIP
...     job = server.startup(["a b", "b"], lambda n, line: [(w, 1) for w in line.split()],
...                          lambda word, counts: sum(counts))
...     job.result()
{'a': 1, 'b': 2}

The layers, from what users see inwards; each imports only from those after it:

    cli, testing             the command line; faults to test one's own jobs with
    client, engines          submit jobs, follow them, fetch results
    server                   configuration, discovery, the node that wires the rest together
    runtime | simulation     drive the core: over real ports, or over a seeded faulty world
    transport, storage, workers, execution     the world: network, blocks, processes, user code
    ports                    what the runtime needs of the world
    core                     the ring, the records and the scheduling, as pure code
    job, counters, reducers, ordering, formats, errors     what users write, and what can go wrong
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from map_reduce._version import VERSION as __version__

if TYPE_CHECKING:
    from map_reduce import reducers
    from map_reduce.client.handle import JobHandle
    from map_reduce.client.server_interface import ServerInterface
    from map_reduce.counters import counter
    from map_reduce.job import Files, Job, Options, Skip

__all__ = [
    "Files",
    "Job",
    "JobHandle",
    "Options",
    "ServerInterface",
    "Skip",
    "__version__",
    "counter",
    "reducers",
]

_HOMES = {
    "counter": "map_reduce.counters",
    "Files": "map_reduce.job",
    "Job": "map_reduce.job",
    "JobHandle": "map_reduce.client.handle",
    "Options": "map_reduce.job",
    "Skip": "map_reduce.job",
    "ServerInterface": "map_reduce.client.server_interface",
}


def __getattr__(name: str) -> Any:
    # Late, because worker processes import this package and need none of it.
    if name not in __all__:
        raise AttributeError(f"module 'map_reduce' has no attribute {name!r}")
    import importlib

    if name == "reducers":
        return importlib.import_module("map_reduce.reducers")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
