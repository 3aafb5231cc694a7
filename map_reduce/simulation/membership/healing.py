"""How long a ring takes to be ideal again; and what becomes of one whose first member dies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

from map_reduce.simulation.draws import Draws
from map_reduce.simulation.figures.still import address_of
from map_reduce.simulation.figures.table import Table
from map_reduce.simulation.judge import Violation
from map_reduce.simulation.plan import SECOND_US, Act, Kind, Settings
from map_reduce.simulation.run import perform_act
from map_reduce.simulation.world import World

WARM_UP_S = 5
STEP_US = SECOND_US // 10
WAIT_S_MAX = 600


def wrongly_suspected(members: int, share: float, stopped_s: int, runs: int, seed: int) -> Table:
    """Some stand still for so long that they are dropped, all at once, and go on.

    ``rounds`` are those of the median member. The whole lists follow the neighbours one member at a
    time, so lists of sixteen take up to sixteen rounds.
    """
    table = Table(
        (
            "stopped",
            "called dead",
            "neighbours right after s",
            "rounds",
            "ideal after s",
            "all rounds",
        )
    )
    for run in range(seed, seed + runs):
        world = _settled(members, run)
        stopped = _some(members, share, run)
        world.run_until(WARM_UP_S * SECOND_US)
        for number in stopped:
            perform_act(world, Act(world.now_us, Kind.PAUSE, (number,), stopped_s * SECOND_US))
        world.run_until((WARM_UP_S + stopped_s) * SECOND_US)
        before = {process.ring.me: process.rounds for process in world.processes()}
        called = len({verdict.member for verdict in world.judge.false_deaths})
        took_s, rounds = [], []
        for holds in (world.judge.has_right_neighbours, world.judge.is_content):
            _until(world, holds)
            took_s.append(world.now_us / SECOND_US - WARM_UP_S - stopped_s)
            rounds.append(median(p.rounds - before[p.ring.me] for p in world.processes()))
        table.add(len(stopped), called, took_s[0], rounds[0], took_s[1], rounds[1])
    return table


def closing(members: Sequence[int], runs: int, seed: int) -> Table:
    """One member is killed; another one's host vanishes, so that nothing there refuses."""
    table = Table(("members", "killed: closed after s", "at most", "vanished: after s", "at most"))
    for size in members:
        row: list[float] = []
        for kind in (Kind.CRASH, Kind.PAUSE):
            took_s = []
            for run in range(seed, seed + runs):
                world = _settled(size, run)
                world.run_until(WARM_UP_S * SECOND_US + run * STEP_US)
                gone = world.process(_some(size, 1.0, run)[0])
                assert gone is not None
                perform_act(world, Act(world.now_us, kind, (gone.number,), 3600 * SECOND_US))
                took_s.append(_until(world, partial(world.judge.has_closed_over, gone.ring.me)))
            row += [median(took_s), max(took_s)]
        table.add(size, *row)
    return table


def partition(members: int, minutes: float, runs: int, seed: int) -> Table:
    """Two halves, drawn at random, do not reach each other for so long."""
    table = Table(("members", "minutes", "rings meanwhile", "one ring after s", "ideal after s"))
    for run in range(seed, seed + runs):
        world = _settled(members, run)
        lasting_us = int(minutes * 60 * SECOND_US)
        half = tuple(sorted(_some(members, 0.5, run)))
        world.run_until(WARM_UP_S * SECOND_US)
        perform_act(world, Act(world.now_us, Kind.SPLIT, half, lasting_us))
        world.run_until(WARM_UP_S * SECOND_US + lasting_us - 1)
        rings = world.judge.number_of_rings()
        world.run_until(WARM_UP_S * SECOND_US + lasting_us)
        one_s = _until(world, lambda world=world: world.judge.number_of_rings() == 1)  # type: ignore[misc]
        table.add(members, minutes, rings, one_s, one_s + _until_ideal(world))
    return table


def bootstrap(members: int, killed_at_ms: Sequence[int], seed: int) -> Table:
    """All but the first join at the same time, by the first, which is killed meanwhile.

    Whoever has joined by then and knows of others becomes a ring; who knows of the first alone is
    cut off; the rest are refused by an address that does not answer, and have no ring of their own.
    Where the first dies before anybody has asked it twice, there may be rings that know nothing of
    each other: until a node is started at its address again, which all of them remember.
    """
    table = Table(
        ("members", "killed after ms", "joined by then", "serve", "cut off", "refused", "outcome")
    )
    for killed_ms in killed_at_ms:
        world = World(
            Settings(seed, members=members, successors_max=16),
            [address_of(number) for number in range(members)],
        )
        world.start(0).create()
        for number in range(1, members):
            world.start(number).join([world.addresses[0]])
        world.run_until(killed_ms * 1000)
        joined = sum(process.ring.joined for process in world.processes()) - 1
        perform_act(world, Act(world.now_us, Kind.CRASH, (0,)))
        world.run_until(world.now_us + 120 * SECOND_US)
        inside = [process for process in world.processes() if process.ring.joined]
        serving = [process for process in inside if process.ring.serves]
        rings = world.judge.number_of_rings()
        outcome = "ideal" if world.judge.ideal_among_serving() else f"{rings} rings"
        if not serving:
            outcome = "nobody serves"
        refused = sum(not process.ring.joined for process in world.processes())
        cut_off = len(inside) - len(serving)
        table.add(members, killed_ms, joined, len(serving), cut_off, refused, outcome)
    return table


def _settled(members: int, seed: int) -> World:
    world = World(
        Settings(seed, members=members, successors_max=16),
        [address_of(number) for number in range(members)],
    )
    world.settle(members)
    return world


def _some(members: int, share: float, seed: int) -> list[int]:
    draws = Draws(seed, "some")
    left = list(range(members))
    return [left.pop(draws.below(len(left))) for _ in range(int(members * share))]


def _until_ideal(world: World) -> float:
    return _until(world, world.judge.is_content)


def _until(world: World, holds: Callable[[], bool]) -> float:
    """Seconds until it holds.

    Raises:
        Violation: it never does.
    """
    began_us = world.now_us
    while not holds():
        if world.now_us - began_us > WAIT_S_MAX * SECOND_US:
            raise Violation(f"not within {WAIT_S_MAX} s; seed {world.settings.seed}")
        world.run_until(world.now_us + STEP_US)
    return (world.now_us - began_us) / SECOND_US
