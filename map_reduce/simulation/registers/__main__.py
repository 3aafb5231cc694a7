"""``python -m map_reduce.simulation.registers``: records under faults, decided by seeds."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from map_reduce.core.registers.proposer import Proposer
from map_reduce.simulation import command
from map_reduce.simulation.command import Case
from map_reduce.simulation.registers.explore import SCENARIOS, Explorer
from map_reduce.simulation.registers.mutants import FAITHFUL, MUTANTS
from map_reduce.simulation.registers.plan import Plan, draw_plan
from map_reduce.simulation.registers.run import Outcome, carry_out

COMMAND = "python -m map_reduce.simulation.registers"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 1 if a seed failed."""
    flags = _parser().parse_args(arguments)
    if flags.explore:
        return _explore(flags)
    if flags.table:
        heads = "rule taken out", "seeds until an invariant broke", "until users could see it"
        return command.print_table(heads, _rows(flags))
    if command.is_replay(flags):
        case = _case(flags, flags.seed)
        head = [f"{case.plan.nodes} nodes, {case.plan.members} of them members at first"]
        return command.replay(case, flags.keep, _in_words, head)
    return _many(flags)


def _parser() -> argparse.ArgumentParser:
    about = "Run records in virtual time under faults. One seed decides everything."
    parser = command.parser(COMMAND, about, MUTANTS)
    parser.add_argument(
        "--history-only",
        dest="strict",
        action="store_false",
        help="judge only what users see, not the protocol's invariants",
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


def _case(flags: argparse.Namespace, seed: int) -> Case[Plan, Outcome]:
    mutant = MUTANTS[flags.mutant] if flags.mutant else FAITHFUL
    again = f"{COMMAND} --seed {seed}"
    again += f" --mutant {flags.mutant}" if flags.mutant else ""
    again += "" if flags.strict else " --history-only"
    return Case(
        again,
        draw_plan(seed),
        lambda plan: carry_out(plan, mutant=mutant, strict=flags.strict, readable=flags.trace),
    )


def _in_words(outcome: Outcome) -> Iterator[str]:
    yield from outcome.lines
    yield (
        f"{outcome.violation or 'nothing wrong'}; {outcome.events} events, epoch "
        f"{outcome.epochs}, {dict(sorted(outcome.operations.items()))}, trace {outcome.digest}"
    )


def _many(flags: argparse.Namespace) -> int:
    began_s = time.perf_counter()
    total: Counter[str] = Counter()
    operations: Counter[str] = Counter()
    cases = (_case(flags, seed) for seed in command.seeds_of(flags))
    for outcome in command.run_all(cases, shrinks=flags.shrink):
        operations += outcome.operations
        total.update(events=outcome.events, checks=outcome.checks, epochs=outcome.epochs)
        total.update(failed=int(outcome.violation is not None))
    print(
        f"{flags.seeds} runs, {total['failed']} failed; "
        f"{command.at_rate(total['events'], began_s)}, {total['checks']} answers checked, "
        f"{total['epochs']} epochs"
    )
    for kind, count in sorted(operations.items()):
        print(f"    {count:8d} {kind}")
    return 1 if total["failed"] else 0


def _rows(flags: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Mutants, and the seeds that found them: by any invariant, and by what users see."""
    for name in MUTANTS:
        yield name, _seeds_until_found(flags, name, True), _seeds_until_found(flags, name, False)


def _seeds_until_found(flags: argparse.Namespace, name: str, strict: bool) -> str:
    return command.seeds_until_found(
        command.seeds_of(flags),
        lambda seed: carry_out(draw_plan(seed), mutant=MUTANTS[name], strict=strict).violation,
    )


if __name__ == "__main__":
    sys.exit(main())
