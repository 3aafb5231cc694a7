"""What the command lines of the simulators share: flags, many seeds, one seed again, tables.

A simulator draws a *plan* from a seed and runs it; :class:`Case` is a plan, how to run it, and the
command that does so again. A plan is made of acts, so that one that fails can be made smaller.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from map_reduce.simulation.shrinking import shrink


class Plan(Protocol):
    """What happens in a run, drawn from its seed."""

    @property
    def acts(self) -> Sequence[object]: ...

    def keeping(self: P, numbers: Iterable[int]) -> P:
        """With only those acts, named by their place in this one."""


class Outcome(Protocol):
    """What came of a run."""

    @property
    def violation(self) -> str | None: ...


P = TypeVar("P", bound=Plan)
R = TypeVar("R", bound=Outcome)


@dataclass(frozen=True)
class Case(Generic[P, R]):
    """A plan, how to run it or a part of it, and the command that runs it again."""

    again: str
    plan: P
    run: Callable[[P], R]


def parser(command: str, about: str, mutants: Collection[str] = ()) -> argparse.ArgumentParser:
    """The flags that all simulators have; those with mutants can take one out, and tabulate all."""
    flags = argparse.ArgumentParser(prog=command, description=about)
    flags.add_argument("--seed", type=int, default=0, help="the first seed (default 0)")
    flags.add_argument("--seeds", type=int, default=1, help="how many seeds (default 1)")
    flags.add_argument("--trace", action="store_true", help="print the plan and what happens")
    flags.add_argument("--keep", help="run only these acts of the plan, as 0,3,7")
    flags.add_argument(
        "--no-shrink", dest="shrink", action="store_false", help="do not look for a smaller plan"
    )
    if mutants:
        flags.add_argument("--mutant", choices=sorted(mutants), help="take out one rule")
        flags.add_argument(
            "--table",
            action="store_true",
            help="for each mutant, how many of up to --seeds seeds it takes to find it",
        )
    return flags


def is_replay(flags: argparse.Namespace) -> bool:
    """Whether one seed is to be shown, rather than many to be summed up."""
    return flags.trace or flags.keep is not None


def seeds_of(flags: argparse.Namespace) -> range:
    """Those that the command line names."""
    return range(flags.seed, flags.seed + flags.seeds)


def replay(
    case: Case[P, R],
    keep: str | None,
    in_words: Callable[[R], Iterable[str]],
    head: Sequence[str] = (),
) -> int:
    """Print a plan, or only some of its acts, and what comes of it; 1 if it failed."""
    plan = case.plan
    if keep is not None:
        plan = plan.keeping(int(number) for number in keep.split(",") if number)
    print("\n".join([*head, *_acts(plan)]))
    outcome = case.run(plan)
    for line in in_words(outcome):
        print(line)
    return 1 if outcome.violation else 0


def run_all(cases: Iterable[Case[P, R]], *, shrinks: bool) -> Iterator[R]:
    """What came of each; tells of those that failed at once."""
    for case in cases:
        outcome = case.run(case.plan)
        if outcome.violation:
            report(case, outcome.violation, shrinks=shrinks)
        yield outcome


def report(case: Case[P, R], violation: str, *, shrinks: bool) -> None:
    """Print what failed, how to see it again, and the smallest plan that still fails."""
    print(f"FAILED: {violation}")
    print(f"  again: {case.again} --trace", flush=True)
    if not shrinks:
        return
    plan = case.plan
    kept = shrink(len(plan.acts), lambda some: case.run(plan.keeping(some)).violation is not None)
    print(f"  smaller: {case.again} --trace --keep {','.join(map(str, kept))}")
    print("\n".join(_acts(plan.keeping(kept))), flush=True)


def _acts(plan: Plan) -> list[str]:
    return [f"    {act}" for act in plan.acts]


def at_rate(events: int, began_s: float) -> str:
    """So many events, and how many of them in a second since ``time.perf_counter()`` said that."""
    return f"{events} events ({events / (time.perf_counter() - began_s):.0f} each second)"


def seeds_until_found(seeds: Sequence[int], violation: Callable[[int], str | None]) -> str:
    """How many seeds it took, for a table."""
    for tried, seed in enumerate(seeds, 1):
        if violation(seed):
            return str(tried)
    return f"not in {len(seeds)}"


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Row by row, as they come."""
    print(f"| {' | '.join(heads)} |")
    print(f"| {' | '.join('---' for _ in heads)} |")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    return 0
