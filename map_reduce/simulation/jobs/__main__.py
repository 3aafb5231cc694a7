"""``python -m map_reduce.simulation.jobs``: whole jobs under faults, decided by seeds."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from map_reduce.simulation import command
from map_reduce.simulation.command import Case
from map_reduce.simulation.jobs.mutants import MUTANTS, mutated
from map_reduce.simulation.jobs.plan import Plan, draw_plan
from map_reduce.simulation.jobs.run import Outcome, carry_out

COMMAND = "python -m map_reduce.simulation.jobs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if a seed failed."""
    about = "Run jobs in virtual time under faults. One seed decides everything."
    flags = command.parser(COMMAND, about, MUTANTS).parse_args(arguments)
    if flags.table:
        return command.print_table(("rule taken out", "seeds until something broke"), _rows(flags))
    if command.is_replay(flags):
        case = _case(flags, flags.seed)
        head = [str(case.plan._replace(acts=()))]
        return command.replay(case, flags.keep, lambda outcome: [str(outcome)], head)
    return _many(flags)


def _case(flags: argparse.Namespace, seed: int) -> Case[Plan, Outcome]:
    def run(plan: Plan) -> Outcome:
        with mutated(flags.mutant):
            return carry_out(plan)

    mutant = f" --mutant {flags.mutant}" if flags.mutant else ""
    return Case(f"{COMMAND} --seed {seed}{mutant}", draw_plan(seed), run)


def _many(flags: argparse.Namespace) -> int:
    began_s = time.perf_counter()
    total: Counter[str] = Counter()
    cases = (_case(flags, seed) for seed in command.seeds_of(flags))
    for outcome in command.run_all(cases, shrinks=flags.shrink):
        total.update(
            failed=int(outcome.violation is not None),
            events=outcome.events,
            takeovers=outcome.takeovers,
            attempts=outcome.attempts,
            taken_over=int(outcome.takeovers > 0),
        )
    print(
        f"{flags.seeds} jobs, {total['failed']} failed; "
        f"{command.at_rate(total['events'], began_s)}, {total['attempts']} attempts, "
        f"{total['takeovers']} takeovers in {total['taken_over']} of the jobs"
    )
    return 1 if total["failed"] else 0


def _rows(flags: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Mutants, and how many seeds it took to find them."""
    for name in MUTANTS:
        with mutated(name):
            seeds = command.seeds_of(flags)
            yield (
                name,
                command.seeds_until_found(seeds, lambda seed: carry_out(draw_plan(seed)).violation),
            )


if __name__ == "__main__":
    sys.exit(main())
