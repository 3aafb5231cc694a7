"""``python -m map_reduce.simulation``: rings under faults, decided by seeds."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from map_reduce.core.chord.member import RingMember
from map_reduce.core.chord.view import MEMBERS_MAX
from map_reduce.simulation import mutants
from map_reduce.simulation.explore import explore
from map_reduce.simulation.faults import draw_plan
from map_reduce.simulation.placing import in_ring_order
from map_reduce.simulation.plan import Plan, Settings
from map_reduce.simulation.run import Outcome, carry_out
from map_reduce.simulation.shrinking import shrink
from map_reduce.simulation.small_ring import SmallRing


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if a seed failed."""
    flags = _parser().parse_args(arguments)
    settings = Settings(
        seed=flags.seed,
        members=flags.members,
        placed=min(flags.placed, flags.members),
        view_max=flags.view,
        seconds=flags.seconds,
        successors_max=flags.successors,
        faults=flags.faults,
        accurate=flags.accurate,
    )
    if flags.explore:
        return _explore(flags)
    if flags.thousand:
        settings = Settings.of_a_thousand(flags.seed)
    seeds = range(flags.seed, flags.seed + flags.seeds)
    if flags.keep is not None or flags.trace:
        return _replay(settings, flags.keep, flags.trace)
    if flags.thousand:
        return _many(map(Settings.of_a_thousand, seeds), flags.shrink)
    return _many((dataclasses.replace(settings, seed=seed) for seed in seeds), flags.shrink)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m map_reduce.simulation",
        description="Run rings in virtual time under faults. One seed decides everything.",
    )
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds (default 1)")
    parser.add_argument("--members", type=int, default=8, help="nodes (default 8)")
    parser.add_argument(
        "--placed", type=int, default=0, help="so many are an ideal ring already (default 0)"
    )
    parser.add_argument(
        "--view", type=int, default=MEMBERS_MAX, help=f"members in a view (default {MEMBERS_MAX})"
    )
    parser.add_argument("--seconds", type=int, default=60, help="of faults (default 60)")
    parser.add_argument("--successors", type=int, default=4, help="length of lists (default 4)")
    parser.add_argument("--faults", type=int, default=12, help="faults in a run (default 12)")
    parser.add_argument(
        "--accurate",
        action="store_true",
        help="failure detectors are never wrong, and the invariants hold after every step",
    )
    parser.add_argument(
        "--thousand",
        action="store_true",
        help="1,000 members, of which 980 are a ring already; 30 faults in 10 s, lists of 8. "
        "Seeds take turns at views of 64 and of all, and at exact detectors and real ones",
    )
    parser.add_argument("--trace", action="store_true", help="print every message and change")
    parser.add_argument("--keep", help="run only these acts of the plan, as 0,3,7")
    parser.add_argument(
        "--no-shrink", dest="shrink", action="store_false", help="do not look for a smaller plan"
    )
    small = parser.add_argument_group("every interleaving of a small ring, instead of seeds")
    small.add_argument("--explore", type=int, metavar="STATES", help="until so many are seen")
    small.add_argument("--no-crashes", dest="crashes", action="store_false")
    small.add_argument("--wrong-drops", action="store_true", help="live successors are dropped")
    small.add_argument("--late-replies", action="store_true", help="answers arrive later")
    small.add_argument("--healing", action="store_true", help="from each state the ring heals")
    small.add_argument(
        "--by-asking", action="store_true", help="deaths are learned by asking, not known at once"
    )
    small.add_argument("--settled", action="store_true", help="all are members from the start")
    small.add_argument("--mutant", choices=sorted(_mutants()), help="take out one guard")
    return parser


def _mutants() -> dict[str, type[RingMember]]:
    kinds = [kind for kind in vars(mutants).values() if isinstance(kind, type)]
    return {kind.__name__: kind for kind in kinds if issubclass(kind, RingMember)}


def _explore(flags: argparse.Namespace) -> int:
    ring = SmallRing(
        in_ring_order(flags.members),
        flags.successors,
        crashes=flags.crashes,
        wrong_drops=flags.wrong_drops,
        late_replies=flags.late_replies,
        settled=flags.settled,
        by_asking=flags.by_asking,
        kind=_mutants()[flags.mutant] if flags.mutant else RingMember,
    )
    began_s = time.perf_counter()
    findings = explore(ring, flags.explore, healing=flags.healing)
    took_s = time.perf_counter() - began_s
    for line in findings.wrong:
        print(line)
    verdict = "something is wrong" if findings.wrong else "nothing wrong"
    extent = "all there are" if findings.exhausted else f"all within {findings.depth} steps checked"
    print(
        f"{findings.states} states, {extent}, by {findings.steps} transitions: {verdict}; "
        f"{findings.steps / took_s:.0f} each second"
    )
    return 1 if findings.wrong else 0


def _replay(settings: Settings, keep: str | None, trace: bool) -> int:
    plan = draw_plan(settings)
    if keep is not None:
        plan = plan.keeping(int(number) for number in keep.split(",") if number)
    outcome = carry_out(settings, plan, readable=trace)
    _print_acts(plan)
    for line in outcome.lines:
        print(line)
    print(_summary(outcome))
    return 1 if outcome.violation else 0


def _many(runs: Iterable[Settings], shrinks: bool) -> int:
    began_s = time.perf_counter()
    total: Counter[str] = Counter()
    lookups: Counter[str] = Counter()
    healed_s: list[int] = []
    for one in runs:
        outcome = carry_out(one, draw_plan(one))
        total.update(events=outcome.events, checks=outcome.checks, runs=1)
        total.update(refused=int(outcome.refuses), failed=int(outcome.violation is not None))
        lookups += outcome.lookups
        healed_s.append(outcome.healed_after_s)
        if outcome.violation:
            report(one, outcome.violation, shrinks)
    took_s = time.perf_counter() - began_s
    healed_s.sort()
    print(
        f"{total['runs']} runs, {total['failed']} failed, {total['refused']} ended in refusal; "
        f"{total['events']} events ({total['events'] / took_s:.0f} each second), "
        f"{total['checks']} states checked; ideal after quiet of {healed_s[len(healed_s) // 2]} s "
        f"(median), {healed_s[-1]} s (longest); lookups {dict(sorted(lookups.items()))}"
    )
    return 1 if total["failed"] else 0


def report(settings: Settings, violation: str, shrinks: bool) -> None:
    """Print what failed, how to see it again, and the smallest plan that still fails."""
    print(f"FAILED: {violation}")
    print(f"  again: python -m map_reduce.simulation {settings.flags()} --trace")
    if not shrinks:
        return
    plan = draw_plan(settings)

    def fails(numbers: list[int]) -> bool:
        return carry_out(settings, plan.keeping(numbers)).violation is not None

    kept = shrink(len(plan.acts), fails)
    numbers = ",".join(map(str, kept))
    print(f"  smaller: python -m map_reduce.simulation {settings.flags()} --trace --keep {numbers}")
    _print_acts(plan.keeping(kept))


def _print_acts(plan: Plan) -> None:
    for act in plan.acts:
        print(f"    {act}")


def _summary(outcome: Outcome) -> str:
    verdict = outcome.violation or ("nobody serves" if outcome.refuses else "ideal")
    return (
        f"{verdict}; {outcome.events} events, {outcome.checks} states checked, quiet for "
        f"{outcome.healed_after_s} s; lookups {dict(sorted(outcome.lookups.items()))}; "
        f"trace {outcome.digest}"
    )


if __name__ == "__main__":
    sys.exit(main())
