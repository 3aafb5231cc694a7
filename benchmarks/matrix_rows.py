"""What came of the jobs of ``kill_matrix.py``: a line each in a file, and the table of them."""

from __future__ import annotations

import csv
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One job. ``problem`` is empty where it was right; ``load`` is the load average then."""

    at: str
    victim: str
    moment: str
    took_s: float
    load: float
    problem: str
    evidence: str


def read(path: Path) -> list[Row]:
    """The rows of a file; none where there is no file."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return [
            Row(at, victim, moment, float(took_s), float(load), problem, evidence)
            for at, victim, moment, took_s, load, problem, evidence in csv.reader(file)
        ]


def append(path: Path, row: Row) -> None:
    """Several processes may do so: a line is one write."""
    with open(path, "a", newline="") as file:
        csv.writer(file).writerow(row._replace(problem=" ".join(row.problem.split())[:500]))


def done(rows: Iterable[Row]) -> dict[tuple[str, str], int]:
    """Jobs of each cell."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        counts[row.victim, row.moment] += 1
    return counts


def table(rows: Sequence[Row], victims: Sequence[str], moments: Sequence[str]) -> str:
    """For docs/reliability.md."""
    lines = ["| victim | " + " | ".join(moments) + " |", "|---" * (len(moments) + 1) + "|"]
    for victim in victims:
        cells = []
        for moment in moments:
            here = [row for row in rows if (row.victim, row.moment) == (victim, moment)]
            right = [row.took_s for row in here if not row.problem]
            median = f", {statistics.median(right):.1f}" if right else ""
            cells.append(f"{len(right)}/{len(here)}{median}" if here else "-")
        lines.append(f"| {victim} | " + " | ".join(cells) + " |")
    wrong = sum(bool(row.problem) for row in rows)
    lines += ["", f"{len(rows)} jobs, {len(rows) - wrong} right, {wrong} not"]
    return "\n".join(lines)
