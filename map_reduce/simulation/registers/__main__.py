"""``python -m map_reduce.simulation.registers``: records under faults, decided by seeds."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from map_reduce.core.registers.proposer import Proposer
from map_reduce.simulation.registers.explore import SCENARIOS, Explorer
from map_reduce.simulation.registers.mutants import FAITHFUL, MUTANTS
from map_reduce.simulation.registers.plan import Plan, draw_plan
from map_reduce.simulation.registers.run import Outcome, carry_out
from map_reduce.simulation.reporting import report, seeds_until_found

COMMAND = "python -m map_reduce.simulation.registers"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if a seed failed."""
    flags = _parser().parse_args(arguments)
    if flags.explore:
        return _explore(flags)
    if flags.table:
        return _table(flags)
    if flags.keep is not None or flags.trace:
        return _replay(flags)
    return _many(flags)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Run records in virtual time under faults. One seed decides everything.",
    )
    parser.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds (default 1)")
    parser.add_argument("--trace", action="store_true", help="print every message")
    parser.add_argument("--keep", help="run only these acts of the plan, as 0,3,7")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="take out one rule")
    parser.add_argument(
        "--history-only",
        dest="strict",
        action="store_false",
        help="judge only what users see, not the protocol's invariants",
    )
    parser.add_argument(
        "--no-shrink", dest="shrink", action="store_false", help="do not look for a smaller plan"
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="for each mutant, how many of up to --seeds seeds it takes to find it",
    )
    parser.add_argument(
        "--explore",
        choices=sorted(SCENARIOS),
        help="instead, try every order in which this can happen",
    )
    parser.add_argument("--depth", type=int, default=100, help="steps explored (default 100)")
    return parser


def _explore(flags: argparse.Namespace) -> int:
    kind = MUTANTS[flags.mutant].proposer if flags.mutant else Proposer
    explored = Explorer(SCENARIOS[flags.explore], kind).explore(flags.depth)
    steps = len(explored.new) - 1
    if explored.violation:
        print(f"FAILED after {steps} steps, {explored.states} states: {explored.violation}")
        return 1
    end = "all that can happen" if explored.whole else f"all that can happen in {steps} steps"
    print(f"{flags.explore}: {explored.states} states, {end}; nothing wrong")
    return 0


def _run(flags: argparse.Namespace, plan: Plan) -> Outcome:
    mutant = MUTANTS[flags.mutant] if flags.mutant else FAITHFUL
    return carry_out(plan, mutant=mutant, strict=flags.strict, readable=flags.trace)


def _replay(flags: argparse.Namespace) -> int:
    plan = draw_plan(flags.seed)
    if flags.keep is not None:
        plan = plan.keeping(int(number) for number in flags.keep.split(",") if number)
    print(f"{plan.nodes} nodes, {plan.members} of them members at first")
    for act in plan.acts:
        print(f"    {act}")
    outcome = _run(flags, plan)
    for line in outcome.lines:
        print(line)
    print(
        f"{outcome.violation or 'nothing wrong'}; {outcome.events} events, epoch "
        f"{outcome.epochs}, {dict(sorted(outcome.operations.items()))}, trace {outcome.digest}"
    )
    return 1 if outcome.violation else 0


def _many(flags: argparse.Namespace) -> int:
    began_s = time.perf_counter()
    total: Counter[str] = Counter()
    operations: Counter[str] = Counter()
    for seed in range(flags.seed, flags.seed + flags.seeds):
        outcome = _run(flags, draw_plan(seed))
        operations += outcome.operations
        total.update(events=outcome.events, checks=outcome.checks, epochs=outcome.epochs)
        total.update(failed=int(outcome.violation is not None))
        if outcome.violation:
            _report(flags, seed, outcome.violation)
    took_s = time.perf_counter() - began_s
    print(
        f"{flags.seeds} runs, {total['failed']} failed; {total['events']} events "
        f"({total['events'] / took_s:.0f} each second), {total['checks']} answers checked, "
        f"{total['epochs']} epochs"
    )
    for kind, count in sorted(operations.items()):
        print(f"    {count:8d} {kind}")
    return 1 if total["failed"] else 0


def _report(flags: argparse.Namespace, seed: int, violation: str) -> None:
    again = f"{COMMAND} --seed {seed}"
    again += f" --mutant {flags.mutant}" if flags.mutant else ""
    again += "" if flags.strict else " --history-only"
    plan = draw_plan(seed)
    report(
        again,
        violation,
        len(plan.acts) if flags.shrink else 0,
        lambda some: _run(flags, plan.keeping(some)).violation is not None,
    )


def _table(flags: argparse.Namespace) -> int:
    """Mutants, and the seeds that found them: by any invariant, and by what users see."""
    print("| rule taken out | seeds until an invariant broke | until users could see it |")
    print("| --- | --- | --- |")
    for name in MUTANTS:
        cells = [_seeds_until_found(flags, name, strict) for strict in (True, False)]
        print(f"| {name} | {cells[0]} | {cells[1]} |", flush=True)
    return 0


def _seeds_until_found(flags: argparse.Namespace, name: str, strict: bool) -> str:
    return seeds_until_found(
        range(flags.seed, flags.seed + flags.seeds),
        lambda seed: carry_out(draw_plan(seed), mutant=MUTANTS[name], strict=strict).violation,
    )


if __name__ == "__main__":
    sys.exit(main())
