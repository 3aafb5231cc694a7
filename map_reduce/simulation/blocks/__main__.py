"""``python -m map_reduce.simulation.blocks``: rings with blocks under faults, decided by seeds."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from map_reduce.simulation import command
from map_reduce.simulation.blocks import losses
from map_reduce.simulation.blocks.mutants import FAITHFUL, MUTANTS
from map_reduce.simulation.blocks.plan import BlockPlan, draw_plan
from map_reduce.simulation.blocks.run import Outcome, carry_out
from map_reduce.simulation.command import Case

COMMAND = "python -m map_reduce.simulation.blocks"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if a seed failed."""
    flags = _parser().parse_args(arguments)
    if flags.table:
        heads = "rule taken out", "seeds until the judge found it"
        return command.print_table(heads, _rows(flags))
    if flags.losses:
        print("\n".join(losses.table(flags.seeds)))
        return 0
    if command.is_replay(flags):
        case = _case(flags, flags.seed)
        return command.replay(case, flags.keep, _in_words, [_shape(case.plan)])
    return _many(flags)


def _parser() -> argparse.ArgumentParser:
    about = "Run rings with blocks in virtual time under faults. One seed decides all."
    parser = command.parser(COMMAND, about, MUTANTS)
    parser.add_argument("--minutes", type=float, help="stop then, whatever is left of the seeds")
    parser.add_argument(
        "--losses",
        action="store_true",
        help="in how many of --seeds rings a block is lost when which nodes die",
    )
    return parser


def _case(flags: argparse.Namespace, seed: int) -> Case[BlockPlan, Outcome]:
    mutant = MUTANTS[flags.mutant] if flags.mutant else FAITHFUL
    taken_out = f" --mutant {flags.mutant}" if flags.mutant else ""
    return Case(
        f"{COMMAND} --seed {seed}{taken_out}",
        draw_plan(seed),
        lambda plan: carry_out(plan, mutant=mutant, readable=flags.trace),
    )


def _shape(plan: BlockPlan) -> str:
    lasting = " ".join(f"n{number}" for number in sorted(plan.lasting)) or "none"
    return f"{plan.nodes} nodes, {plan.replicas} copies; with a data folder: {lasting}"


def _in_words(outcome: Outcome) -> Iterator[str]:
    yield from outcome.lines
    yield (
        f"{outcome.violation or 'nothing wrong'}; {outcome.events} events, in order after "
        f"{outcome.quiet_s} s of quiet, {dict(sorted(outcome.work.items()))}, "
        f"trace {outcome.digest}"
    )


def _many(flags: argparse.Namespace) -> int:
    began_s = time.perf_counter()
    total: Counter[str] = Counter()
    work: Counter[str] = Counter()
    quiet_s: list[int] = []
    cases = (_case(flags, seed) for seed in _seeds(flags))
    for outcome in command.run_all(cases, shrinks=flags.shrink):
        work += outcome.work
        quiet_s.append(outcome.quiet_s)
        total.update(events=outcome.events, checks=outcome.checks)
        total.update(restarted=int(outcome.restarted))
        total.update(failed=int(outcome.violation is not None))
    quiet_s.sort()
    print(
        f"{len(quiet_s)} runs from seed {flags.seed}, {total['failed']} failed; "
        f"{command.at_rate(total['events'], began_s)}, {total['checks']} checks; in order "
        f"after quiet of {quiet_s[len(quiet_s) // 2]} s (median), {quiet_s[-1]} s (longest); "
        f"{total['restarted']} rings were started anew"
    )
    for kind, count in sorted(work.items()):
        print(f"    {count:8d} {kind}")
    return 1 if total["failed"] else 0


def _seeds(flags: argparse.Namespace) -> Iterator[int]:
    """At least one."""
    began_s = time.perf_counter()
    for seed in command.seeds_of(flags):
        yield seed
        if flags.minutes is not None and time.perf_counter() - began_s > 60 * flags.minutes:
            return


def _rows(flags: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Mutants, and how many seeds it took to find them."""
    for name, mutant in MUTANTS.items():
        found = command.seeds_until_found(
            command.seeds_of(flags),
            lambda seed, mutant=mutant: carry_out(draw_plan(seed), mutant=mutant).violation,  # type: ignore[misc]
        )
        yield name, found


if __name__ == "__main__":
    sys.exit(main())
