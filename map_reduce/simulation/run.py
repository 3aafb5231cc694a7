"""A plan, carried out and judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from map_reduce.core.chord.lookup import lookup
from map_reduce.core.chord.member import RingMember
from map_reduce.core.identifiers import Address, Member, identifier_of
from map_reduce.errors import ClusterError
from map_reduce.simulation.judge import Violation
from map_reduce.simulation.plan import SECOND_US, Act, Kind, Plan, Settings
from map_reduce.simulation.process import Asker
from map_reduce.simulation.trace import state_in_words
from map_reduce.simulation.world import ACTED, World

QUIET_STEP_S = 1
FINAL_LOOKUPS = 20
FINAL_LOOKUPS_S_MAX = 60


@dataclass
class Outcome:
    """What came of a run."""

    violation: str | None
    digest: str
    events: int
    checks: int
    refuses: bool = False
    healed_after_s: int = 0
    lookups: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)


def carry_out(
    settings: Settings,
    plan: Plan,
    *,
    readable: bool = False,
    kind: type[RingMember] = RingMember,
) -> Outcome:
    """Run the plan and let the judge say what is wrong, if anything is."""
    addresses = [Address(f"n{number}", 1) for number in range(settings.members)]
    world = World(settings, addresses, readable=readable, kind=kind)
    outcome = Outcome(None, "", 0, 0)
    for act in plan.acts:
        world.at(act.at_us, None, lambda act=act: perform_act(world, act, outcome.lookups))  # type: ignore[misc]
    try:
        world.run_until(plan.quiet_from_us)
        _await_ideal(world, outcome)
        if not outcome.refuses:
            _look_up(world, outcome)
    except Violation as violation:
        outcome.violation = str(violation)
    for process in world.processes():
        world.trace.seal(state_in_words(process.ring))
    outcome.digest = world.trace.digest()
    outcome.events = world.trace.events
    outcome.checks = world.judge.checks
    outcome.lines = world.trace.lines or []
    return outcome


def perform_act(world: World, act: Act, lookups: Counter[str] | None = None) -> None:
    """Let an act happen, where it can. How its lookup ended is counted in ``lookups``."""
    if act.kind is not Kind.LOOKUP:
        world.trace.note(world.now_us, ACTED, *(*act.nodes, 0, 0)[:2])
        nodes = act.nodes if act.kind is not Kind.SETTLE else ()
        names = " ".join(world.addresses[node].host for node in nodes)
        lasting = f" for {act.duration_us / SECOND_US:g} s" if act.duration_us else ""
        world.trace.tell(world.now_us, f"*** {act.kind.value} {names}{lasting}")
    network = world.network
    match act.kind:
        case Kind.CREATE:
            world.start(act.nodes[0]).create()
        case Kind.SETTLE:
            world.settle(act.nodes[0])
        case Kind.JOIN:
            if world.process(act.nodes[0]) is None:
                world.start(act.nodes[0]).join([world.addresses[n] for n in act.nodes[1:]])
        case Kind.LOOKUP:
            _start_lookup(
                world, act.nodes[0], act.nodes[1], Counter() if lookups is None else lookups
            )
        case Kind.DEAFEN:
            network.deafen(*act.nodes)
            world.at(act.duration_us, None, lambda: network.undeafen(*act.nodes))
        case Kind.SPLIT:
            part = frozenset(act.nodes)
            network.split(part)
            world.at(act.duration_us, None, lambda: network.unsplit(part))
        case Kind.STORM:
            network.storm()
            world.at(act.duration_us, None, network.calm)
        case Kind.CRASH | Kind.LEAVE | Kind.PAUSE:
            _strike(world, act)


def _strike(world: World, act: Act) -> None:
    process = world.process(act.nodes[0])
    if process is None:
        return
    if act.kind is Kind.PAUSE:
        process.pause(act.duration_us)
        return
    if world.settings.accurate and not world.judge.may_lose(process):
        return
    world.judge.lost(process)
    if act.kind is Kind.LEAVE and process.ring.joined:
        process.leave()
    else:
        process.up = False


def _start_lookup(world: World, first: int, key: int, ended_how: Counter[str]) -> None:
    target = identifier_of(f"key {key}")

    def ended(members: tuple[Member, ...] | None, error: ClusterError | None) -> None:
        if members is None:
            ended_how["failed"] += 1
            world.trace.tell(world.now_us, f"lookup of key {key}: {error}")
            return
        circle = world.judge.circle()
        right = bool(circle.members) and members[0] == circle.owner(target)
        ended_how["right" if right else "stale"] += 1

    client = Asker(world, -1, None)
    client.run(lookup(target, [world.addresses[first]]), ended)


def _await_ideal(world: World, outcome: Outcome) -> None:
    """Nothing happens any more: within bounded time the ring is ideal, or refuses to serve."""
    for process in world.processes():
        process.seeds = tuple(world.addresses)  # the operator sees to it that one of them is up
    for waited_s in range(0, world.settings.quiet_s_max, QUIET_STEP_S):
        outcome.healed_after_s = waited_s
        if not (wrong := world.judge.after_quiet() or world.judge.wrong_fingers()):
            return
        world.run_until(world.now_us + QUIET_STEP_S * SECOND_US)
    if sum(process.ring.joined for process in world.processes()) <= 1 and not any(
        process.ring.serves for process in world.processes()
    ):
        outcome.refuses = True
        return
    raise Violation(f"not ideal after {world.settings.quiet_s_max} s of quiet: " + "; ".join(wrong))


def _look_up(world: World, outcome: Outcome) -> None:
    """In the ideal ring every lookup finds the true owner."""
    ended_how: Counter[str] = Counter()
    numbers = [process.number for process in world.processes()]
    for key in range(FINAL_LOOKUPS if numbers else 0):
        _start_lookup(world, numbers[key % len(numbers)], key, ended_how)
    for _ in range(FINAL_LOOKUPS_S_MAX):
        if ended_how.total() == FINAL_LOOKUPS:
            break
        world.run_until(world.now_us + SECOND_US)
    outcome.lookups += ended_how
    if numbers and ended_how["right"] != FINAL_LOOKUPS:
        raise Violation(f"H2: in the ideal ring, lookups ended {dict(ended_how)}")
