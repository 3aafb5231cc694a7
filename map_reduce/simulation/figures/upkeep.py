"""Messages and bytes that maintenance costs each member, against N and churn.

A member's lists, probes and candidates cost the same in every ring; only the fingers beyond its
list grow, with log2(N / L). Counted is what a member sends, as requests and as replies, in the
encoding that goes over the wire (msgpack; ``transport/wire.py``), without Pyro4's own header of 40
bytes or so and without TCP's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from map_reduce.core.identifiers import Member
from map_reduce.core.messages import Message, Request
from map_reduce.simulation.draws import Draws
from map_reduce.simulation.figures.still import address_of
from map_reduce.simulation.figures.table import Table
from map_reduce.simulation.figures.traffic import Lookups, Traffic
from map_reduce.simulation.plan import SECOND_US, Settings
from map_reduce.simulation.world import World

CLUSTER_ID = "0" * 32

FIRST_INCARNATION = 1_700_000_000_000_000_000
"""As in production nanoseconds since 1970: messages are as long as the numbers in them."""

WARM_UP_S = 10
"""Until detectors have seen the first of the dead."""

COLUMNS = (
    *("members", "list", "session s", "seconds", "messages each s", "bytes each s", "fingers"),
    *("Neighbours", "Route", "other"),
)
"""The last three: the bytes each second that go into these replies, and into all else."""


class Meter:
    """Counts what is sent."""

    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self._encode = msgspec.msgpack.Encoder().encode

    def request(self, sender: Member | None, message: Message) -> None:
        """A request goes out."""
        self._count(message, Request(CLUSTER_ID, sender, message))

    def reply(self, message: Message) -> None:
        """A reply goes out."""
        self._count(message, message)

    def _count(self, message: Message, sent: Request | Message) -> None:
        name = type(message).__name__
        self.messages[name] += 1
        self.bytes[name] += len(self._encode(sent))


def upkeep(
    sizes: Iterable[int],
    sessions_s: Iterable[float],
    successors_max: int,
    seconds: int,
    seed: int,
    view_max: int | None = None,
) -> Table:
    """What one member sends each second, on average.

    ``sessions_s``: how long a member stays before it crashes, on average; as many join as crash.
    0: nobody comes or goes.
    """
    table = Table(COLUMNS)
    for session_s in sessions_s:
        for members in sizes:
            table.add(*_row(members, session_s, successors_max, seconds, seed, view_max))
    return table


def _row(
    members: int,
    session_s: float,
    successors_max: int,
    seconds: int,
    seed: int,
    view_max: int | None,
) -> tuple[float, ...]:
    rate = members / session_s if session_s else 0.0
    end_us = (WARM_UP_S + seconds) * SECOND_US
    newcomers = 100 + int(2 * rate * (WARM_UP_S + seconds))
    world = World(
        Settings(
            seed,
            members=members,
            successors_max=successors_max,
            view_max=view_max or successors_max,
        ),
        [address_of(number) for number in range(members + newcomers)],
        first_incarnation=FIRST_INCARNATION,
    )
    world.settle(members)
    traffic = Traffic(world, Draws(seed, "upkeep"), Lookups())
    traffic.at_rate(rate, traffic.join, end_us)
    traffic.at_rate(rate, traffic.crash, end_us)
    world.run_until(WARM_UP_S * SECOND_US)
    world.meter = meter = Meter()
    world.run_until(end_us)
    share = 1 / seconds / members
    fingers = sum(len(process.ring.fingers.members()) for process in world.processes())
    lists, routes = meter.bytes["Neighbours"], meter.bytes["Route"]
    return (
        members,
        successors_max,
        session_s,
        seconds,
        meter.messages.total() * share,
        meter.bytes.total() * share,
        fingers / members,
        lists * share,
        routes * share,
        (meter.bytes.total() - lists - routes) * share,
    )
