"""What a simulation that found something says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from map_reduce.simulation.shrinking import shrink


def report(again: str, violation: str, acts: int, fails: Callable[[list[int]], bool]) -> None:
    """Print what failed, how to see it again, and the smallest plan that still fails.

    Args:
        again: the command that runs the seed.
        acts: in its plan; 0 to look for no smaller one.
        fails: whether the plan with only these acts fails.
    """
    print(f"FAILED: {violation}")
    print(f"  again: {again} --trace")
    if acts:
        kept = ",".join(map(str, shrink(acts, fails)))
        print(f"  smaller: {again} --trace --keep {kept}", flush=True)


def seeds_until_found(seeds: Sequence[int], violation: Callable[[int], str | None]) -> str:
    """How many seeds it took, for a table."""
    for tried, seed in enumerate(seeds, 1):
        if violation(seed):
            return str(tried)
    return f"not in {len(seeds)}"
