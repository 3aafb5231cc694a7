"""How large and how fast the simulator itself is."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable

from map_reduce.simulation.figures.still import address_of
from map_reduce.simulation.figures.table import Table
from map_reduce.simulation.plan import SECOND_US, Settings
from map_reduce.simulation.world import World

RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in a unit of ``ru_maxrss``."""


def size(
    sizes: Iterable[int], successors_max: int, seconds: int, seed: int, view_max: int | None = None
) -> Table:
    """A settled ring that goes on for so many virtual seconds. One event is a message that
    arrived or a timeout; seconds are those that the process computed. The memory is the peak of
    the process so far: give the sizes in rising order."""
    table = Table(("members", "view", "seconds", "events", "events each s", "GB", "KB each"))
    for members in sizes:
        settings = Settings(
            seed,
            members=members,
            successors_max=successors_max,
            view_max=view_max or successors_max,
        )
        world = World(settings, [address_of(number) for number in range(members)])
        world.settle(members)
        began_s = time.process_time()
        world.run_until(seconds * SECOND_US)
        took_s = time.process_time() - began_s
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
        events = world.trace.events
        table.add(
            *(members, settings.view_max, seconds, events, events / took_s),
            *(peak / 1e9, peak / 1e3 / members),
        )
    return table
