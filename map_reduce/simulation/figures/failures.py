"""Much of the ring gone at once (SIGCOMM 2001, section 6.4; ToN 2003, section VI-D).

Three questions. What do lookups cost while nobody has noticed (:func:`lookups_after`)? Which keys
are lost, by the number of replicas (:func:`lost_keys`)? How long until the ring is ideal again,
with nothing but the protocol at work, and what do lookups find then (:func:`healing`)?
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt

from map_reduce.core.chord.replication import replica_group
from map_reduce.core.identifiers import Member
from map_reduce.simulation.draws import Draws
from map_reduce.simulation.figures.still import StillRing, address_of, key_of
from map_reduce.simulation.figures.table import Table
from map_reduce.simulation.figures.traffic import Lookups, Traffic
from map_reduce.simulation.plan import SECOND_US, Settings
from map_reduce.simulation.settled import Circle
from map_reduce.simulation.world import World

SURE = 1.96
"""Standard deviations on either side, for 95 % of all cases."""


LOOKUPS_S_MAX = 5
"""Until all lookups in a healed ring have ended."""


def lookups_after(
    members: int,
    successors_max: int,
    shares: Iterable[float],
    lookups: int,
    seed: int,
    rings: int = 1,
) -> Table:
    """Hops, timeouts and failed lookups right after a failure that nobody has noticed.

    As ToN's table II counts: the hops are the members asked that answer, the owner among them,
    the timeouts those that are dead. A lookup is to find the first live member behind the key.
    Who died makes a difference of a tenth between one ring and the next; hence several ``rings``.
    """
    table = Table(("members", "list", "died", "lookups", "hops", "timeouts", "p99", "failed"))
    for share in shares:
        draws = Draws(seed, f"failures {share}")
        answers, failed = 0, 0
        timeouts = []
        for number in range(rings):
            ring = StillRing(members, successors_max, number)
            ring.kill(share, draws)
            for key in range(lookups // rings):
                cost, right = ring.look_up(draws.one_of(ring.circle.members), key_of(key))
                answers += cost.answers
                failed += not right
                timeouts.append(cost.timeouts)
        timeouts.sort()
        done = len(timeouts)
        table.add(
            *(members, successors_max, share, done),
            *(answers / done, sum(timeouts) / done, timeouts[int(0.99 * done)], failed),
        )
    return table


def lost_keys(
    members: int, keys: int, replicas: Iterable[int], shares: Iterable[float], seed: int
) -> Table:
    """The share of keys all of whose replicas died at once, beside the expected p ** replicas.

    The interval is that of 95 % of all rings of this size: groups overlap, so neighbouring keys
    are lost together, and the deviation is that of as many independent groups as there are
    members.
    """
    table = Table(("members", "replicas", "died", "lost", "expected", "low", "high"))
    for number in replicas:
        for share in shares:
            draws = Draws(seed, f"lost {share}")
            ring = StillRing(members, max(16, number))
            before = ring.circle
            dead = ring.kill(share, draws)
            lost = 0
            for key in range(keys):
                group = replica_group(_owner_and_successors(before, key, number), number)
                lost += dead.issuperset(group)
            expected = share**number
            spread = SURE * deviation(members, share, number)
            table.add(
                *(members, number, share, lost / keys),
                *(expected, max(0.0, expected - spread), expected + spread),
            )
    return table


def deviation(members: int, share: float, replicas: int) -> float:
    """The standard deviation of the share of keys lost, over rings drawn anew.

    A key of the arc before member i is lost if i … i + replicas - 1 all died. Arcs are
    exponential with mean 1/N, so the sum over arcs of arc * lost has the variance
    (1/N) * (2 q - q² + 2 Σ (p^(replicas + d) - q²)), q = p ** replicas, d = 1 … replicas - 1;
    less q²/N, since the arcs add up to one.
    """
    q = share**replicas
    together = sum(share ** (replicas + shift) - q * q for shift in range(1, replicas))
    return sqrt(max(0.0, 2 * q - 2 * q * q + 2 * together) / members)


def _owner_and_successors(circle: Circle, key: int, number: int) -> tuple[Member, ...]:
    return circle.from_place(circle.place_of(key_of(key)), number)


def healing(
    members: int,
    successors_max: int,
    shares: Iterable[float],
    lookups: int,
    seed: int,
    view_max: int | None = None,
) -> Table:
    """Virtual seconds until every list and predecessor is right again, and lookups after that."""
    table = Table(
        (
            "members",
            "list",
            "died",
            "ideal after s",
            "cut off",
            "lookups",
            "failed",
            "hops",
            "timeouts",
        )
    )
    for share in shares:
        settings = Settings(
            seed,
            members=members,
            successors_max=successors_max,
            view_max=view_max or successors_max,
        )
        world = World(settings, [address_of(number) for number in range(members)])
        world.settle(members)
        world.run_until(3 * SECOND_US)
        draws = Draws(seed, f"healing {share}")
        for process in list(world.processes()):
            process.up = not draws.chance(share)
        seconds = 0
        while world.judge.after_quiet() and seconds < settings.quiet_s_max:
            seconds += 1
            world.run_until(world.now_us + SECOND_US)
        found = Lookups()
        traffic = Traffic(world, draws, found)
        for key in range(lookups):
            traffic.look_up(key_of(key))
        world.run_until(world.now_us + LOOKUPS_S_MAX * SECOND_US)
        cut_off = sum(process.ring.cut_off for process in world.processes())
        table.add(
            *(members, successors_max, share, seconds, cut_off),
            *(lookups, lookups - found.right, found.answers / lookups, found.timeouts / lookups),
        )
    return table
