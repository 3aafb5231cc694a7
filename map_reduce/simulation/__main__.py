"""``python -m map_reduce.simulation``: rings under faults, decided by seeds."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from map_reduce.core.chord.member import RingMember
from map_reduce.core.chord.view import MEMBERS_MAX
from map_reduce.simulation import command, mutants
from map_reduce.simulation.command import Case
from map_reduce.simulation.explore import explore
from map_reduce.simulation.faults import draw_plan
from map_reduce.simulation.placing import in_ring_order
from map_reduce.simulation.plan import Plan, Settings
from map_reduce.simulation.run import Outcome, carry_out
from map_reduce.simulation.small_ring import SmallRing

COMMAND = "python -m map_reduce.simulation"


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
    if command.is_replay(flags):
        return command.replay(_case(settings, readable=flags.trace), flags.keep, _in_words)
    return _many(map(_case, _each(flags, settings)), flags.shrink)


def _each(flags: argparse.Namespace, settings: Settings) -> Iterator[Settings]:
    for seed in command.seeds_of(flags):
        if flags.thousand:
            yield Settings.of_a_thousand(seed)
        else:
            yield dataclasses.replace(settings, seed=seed)


def _parser() -> argparse.ArgumentParser:
    about = "Run rings in virtual time under faults. One seed decides everything."
    parser = command.parser(COMMAND, about)
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


def _case(settings: Settings, *, readable: bool = False) -> Case[Plan, Outcome]:
    return Case(
        f"{COMMAND} {settings.flags()}",
        draw_plan(settings),
        lambda plan: carry_out(settings, plan, readable=readable),
    )


def _many(cases: Iterable[Case[Plan, Outcome]], shrinks: bool) -> int:
    began_s = time.perf_counter()
    total: Counter[str] = Counter()
    lookups: Counter[str] = Counter()
    healed_s: list[int] = []
    for outcome in command.run_all(cases, shrinks=shrinks):
        total.update(events=outcome.events, checks=outcome.checks, runs=1)
        total.update(refused=int(outcome.refuses), failed=int(outcome.violation is not None))
        lookups += outcome.lookups
        healed_s.append(outcome.healed_after_s)
    healed_s.sort()
    print(
        f"{total['runs']} runs, {total['failed']} failed, {total['refused']} ended in refusal; "
        f"{command.at_rate(total['events'], began_s)}, "
        f"{total['checks']} states checked; ideal after quiet of {healed_s[len(healed_s) // 2]} s "
        f"(median), {healed_s[-1]} s (longest); lookups {dict(sorted(lookups.items()))}"
    )
    return 1 if total["failed"] else 0


def _in_words(outcome: Outcome) -> Iterator[str]:
    yield from outcome.lines
    verdict = outcome.violation or ("nobody serves" if outcome.refuses else "ideal")
    yield (
        f"{verdict}; {outcome.events} events, {outcome.checks} states checked, quiet for "
        f"{outcome.healed_after_s} s; lookups {dict(sorted(outcome.lookups.items()))}; "
        f"trace {outcome.digest}"
    )


if __name__ == "__main__":
    sys.exit(main())
