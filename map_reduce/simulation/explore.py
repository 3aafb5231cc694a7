"""Every interleaving of a small ring, by the production procedures.

What the steps are stands in ``small_ring.py``. The search is breadth first, so a story that it
tells of something wrong is as short as any. Checked in every state: R1 to R4 and that a principal
remains (accurate verdicts), and, on demand, that rounds of stabilize without further faults make
the ring ideal.
"""

from __future__ import annotations

import dataclasses
from array import array
from dataclasses import dataclass

from map_reduce.simulation.small_ring import (
    HEALING_ROUNDS_MAX,
    Label,
    Small,
    SmallRing,
    Step,
)


@dataclass
class Findings:
    """What an exploration saw."""

    states: int = 0
    steps: int = 0
    depth: int = -1  # every state that at most so many steps lead to was checked
    exhausted: bool = False
    wrong: list[str] = dataclasses.field(default_factory=list)


def explore(ring: SmallRing, states_max: int, *, healing: bool = False) -> Findings:
    """Breadth first, until all is seen, something is wrong, or ``states_max`` are seen."""
    findings = Findings()
    start = ring.start()
    numbers: dict[Small, int] = {start: 0}  # in the order in which they were found
    found_from = _Story()
    heals: set[Small] = set()
    frontier = [start]
    while frontier and len(numbers) < states_max:
        following: list[Small] = []
        for state in frontier:
            wrong = ring.wrong_in(state)
            if healing and not wrong and not ring.heals(state, heals):
                wrong = [f"does not heal in {HEALING_ROUNDS_MAX} rounds"]
            if wrong:
                told = [ring.in_words(label) for label in found_from.labels(numbers[state])]
                findings.wrong = [*wrong, *told]
                break
            number = numbers[state]
            for label, after in ring.steps(state):
                findings.steps += 1
                if after not in numbers:
                    numbers[after] = len(numbers)
                    found_from.add(number, label)
                    following.append(after)
            if len(numbers) >= states_max:
                break
        else:
            frontier = following
            findings.depth += 1
            continue
        break
    findings.states = len(numbers)
    findings.exhausted = not frontier
    return findings


class _Story:
    """From which state, and by which step, each state was first found: in 12 bytes each."""

    def __init__(self) -> None:
        self._parents = array("q", [-1])
        self._steps = array("H", [0])

    def add(self, parent: int, label: Label) -> None:
        step, member = label
        self._parents.append(parent)
        self._steps.append(int(step) << 8 | member)

    def labels(self, number: int) -> list[Label]:
        """The steps that led to a state."""
        labels: list[Label] = []
        while number > 0:
            packed = self._steps[number]
            labels.append((Step(packed >> 8), packed & 255))
            number = self._parents[number]
        return labels[::-1]
