"""``python -m map_reduce.simulation.jobs``: whole jobs under faults, decided by seeds."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial

from map_reduce.simulation.jobs.mutants import MUTANTS, mutated
from map_reduce.simulation.jobs.plan import Plan, draw_plan
from map_reduce.simulation.jobs.run import Outcome, carry_out
from map_reduce.simulation.reporting import report, seeds_until_found

COMMAND = "python -m map_reduce.simulation.jobs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if a seed failed."""
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Run jobs in virtual time under faults. One seed decides everything.",
    )
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds (default 1)")
    parser.add_argument("--keep", help="run only these acts of the plan, as 0,3,7")
    parser.add_argument("--trace", action="store_true", help="print the plan")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="take out one rule")
    parser.add_argument("--table", action="store_true", help="seeds that find each mutant")
    flags = parser.parse_args(arguments)
    if flags.table:
        return _table(flags)
    if flags.trace or flags.keep is not None:
        return _replay(flags)
    return _many(flags)


def _run(flags: argparse.Namespace, plan: Plan) -> Outcome:
    with mutated(flags.mutant):
        return carry_out(plan)


def _replay(flags: argparse.Namespace) -> int:
    plan = draw_plan(flags.seed)
    if flags.keep is not None:
        plan = plan.keeping(int(number) for number in flags.keep.split(",") if number)
    print(plan._replace(acts=()))
    for act in plan.acts:
        print(f"    {act}")
    outcome = _run(flags, plan)
    print(outcome)
    return 1 if outcome.violation else 0


def _many(flags: argparse.Namespace) -> int:
    began_s = time.perf_counter()
    total: Counter[str] = Counter()
    for seed in range(flags.seed, flags.seed + flags.seeds):
        plan = draw_plan(seed)
        outcome = _run(flags, plan)
        total.update(
            failed=int(outcome.violation is not None),
            events=outcome.events,
            takeovers=outcome.takeovers,
            attempts=outcome.attempts,
            taken_over=int(outcome.takeovers > 0),
        )
        if outcome.violation:
            again = f"{COMMAND} --seed {seed}" + (
                f" --mutant {flags.mutant}" if flags.mutant else ""
            )
            report(
                again,
                outcome.violation,
                len(plan.acts),
                partial(_fails, flags, plan),
            )
    took_s = time.perf_counter() - began_s
    print(
        f"{flags.seeds} jobs, {total['failed']} failed; {total['events']} events "
        f"({total['events'] / took_s:.0f} each second), {total['attempts']} attempts, "
        f"{total['takeovers']} takeovers in {total['taken_over']} of the jobs"
    )
    return 1 if total["failed"] else 0


def _fails(flags: argparse.Namespace, plan: Plan, some: list[int]) -> bool:
    return _run(flags, plan.keeping(some)).violation is not None


def _table(flags: argparse.Namespace) -> int:
    print("| rule taken out | seeds until something broke |")
    print("| --- | --- |")
    for name in MUTANTS:
        with mutated(name):
            found = seeds_until_found(
                range(flags.seed, flags.seed + flags.seeds),
                lambda seed: carry_out(draw_plan(seed)).violation,
            )
        print(f"| {name} | {found} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
