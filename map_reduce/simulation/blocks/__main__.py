"""``python -m map_reduce.simulation.blocks``: rings with blocks under faults, decided by seeds."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from map_reduce.simulation.blocks import losses
from map_reduce.simulation.blocks.mutants import FAITHFUL, MUTANTS
from map_reduce.simulation.blocks.plan import BlockPlan, draw_plan
from map_reduce.simulation.blocks.run import Outcome, carry_out
from map_reduce.simulation.reporting import report, seeds_until_found

COMMAND = "python -m map_reduce.simulation.blocks"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if a seed failed."""
    flags = _parser().parse_args(arguments)
    if flags.table:
        return _table(flags)
    if flags.losses:
        print("\n".join(losses.table(flags.seeds)))
        return 0
    if flags.keep is not None or flags.trace:
        return _replay(flags)
    return _many(flags)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Run rings with blocks in virtual time under faults. One seed decides all.",
    )
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds (default 1)")
    parser.add_argument("--minutes", type=float, help="stop then, whatever is left of the seeds")
    parser.add_argument("--trace", action="store_true", help="print every message and change")
    parser.add_argument("--keep", help="run only these acts of the plan, as 0,3,7")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="take out one rule")
    parser.add_argument(
        "--no-shrink", dest="shrink", action="store_false", help="do not look for a smaller plan"
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="for each mutant, how many of up to --seeds seeds it takes to find it",
    )
    parser.add_argument(
        "--losses",
        action="store_true",
        help="in how many of --seeds rings a block is lost when which nodes die",
    )
    return parser


def _run(flags: argparse.Namespace, plan: BlockPlan) -> Outcome:
    mutant = MUTANTS[flags.mutant] if flags.mutant else FAITHFUL
    return carry_out(plan, mutant=mutant, readable=flags.trace)


def _replay(flags: argparse.Namespace) -> int:
    plan = draw_plan(flags.seed)
    if flags.keep is not None:
        plan = plan.keeping(int(number) for number in flags.keep.split(",") if number)
    lasting = " ".join(f"n{number}" for number in sorted(plan.lasting)) or "none"
    print(f"{plan.nodes} nodes, {plan.replicas} copies; with a data folder: {lasting}")
    for act in plan.acts:
        print(f"    {act}")
    outcome = _run(flags, plan)
    for line in outcome.lines:
        print(line)
    print(
        f"{outcome.violation or 'nothing wrong'}; {outcome.events} events, in order after "
        f"{outcome.quiet_s} s of quiet, {dict(sorted(outcome.work.items()))}, "
        f"trace {outcome.digest}"
    )
    return 1 if outcome.violation else 0


def _many(flags: argparse.Namespace) -> int:
    began_s = time.perf_counter()
    total: Counter[str] = Counter()
    work: Counter[str] = Counter()
    quiet_s: list[int] = []
    for seed in _seeds(flags):
        outcome = _run(flags, draw_plan(seed))
        work += outcome.work
        quiet_s.append(outcome.quiet_s)
        total.update(events=outcome.events, checks=outcome.checks)
        total.update(restarted=int(outcome.restarted))
        total.update(failed=int(outcome.violation is not None))
        if outcome.violation:
            again = f"{COMMAND} --seed {seed}"
            again += f" --mutant {flags.mutant}" if flags.mutant else ""
            plan = draw_plan(seed)
            report(
                again,
                outcome.violation,
                len(plan.acts) if flags.shrink else 0,
                lambda some, plan=plan: _run(flags, plan.keeping(some)).violation is not None,  # type: ignore[misc]
            )
    took_s = time.perf_counter() - began_s
    quiet_s.sort()
    print(
        f"{len(quiet_s)} runs from seed {flags.seed}, {total['failed']} failed; {total['events']} "
        f"events ({total['events'] / took_s:.0f} each second), {total['checks']} checks; in order "
        f"after quiet of {quiet_s[len(quiet_s) // 2]} s (median), {quiet_s[-1]} s (longest); "
        f"{total['restarted']} rings were started anew"
    )
    for kind, count in sorted(work.items()):
        print(f"    {count:8d} {kind}")
    return 1 if total["failed"] else 0


def _seeds(flags: argparse.Namespace) -> Iterator[int]:
    """At least one."""
    began_s = time.perf_counter()
    for seed in range(flags.seed, flags.seed + flags.seeds):
        yield seed
        if flags.minutes is not None and time.perf_counter() - began_s > 60 * flags.minutes:
            return


def _table(flags: argparse.Namespace) -> int:
    """Mutants, and how many seeds it took to find them."""
    print("| rule taken out | seeds until the judge found it |")
    print("| --- | --- |")
    for name, mutant in MUTANTS.items():
        seeds = range(flags.seed, flags.seed + flags.seeds)
        found = seeds_until_found(
            seeds,
            lambda seed, mutant=mutant: carry_out(draw_plan(seed), mutant=mutant).violation,  # type: ignore[misc]
        )
        print(f"| {name} | {found} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
