"""The smallest plan that still fails, by leaving out acts (Zeller's ddmin).

Draws of the network go on in another order once an act is missing, so a smaller plan may fail in
another way than the first. Any failure will do.
"""

from __future__ import annotations

from collections.abc import Callable

RUNS_MAX = 400


def shrink(acts: int, fails: Callable[[list[int]], bool]) -> list[int]:
    """Numbers of acts, none of which can be left out alone (unless the runs ran out).

    ``fails`` says whether the plan with only these acts fails; with all of them it does.
    """
    kept = list(range(acts))
    parts = 2
    runs = 0
    while len(kept) >= 2 and runs < RUNS_MAX:
        size = -(-len(kept) // parts)
        for start in range(0, len(kept), size):
            runs += 1
            fewer = kept[:start] + kept[start + size :]
            if fewer and fails(fewer):
                kept = fewer
                parts = max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(kept), parts * 2)
    return kept
