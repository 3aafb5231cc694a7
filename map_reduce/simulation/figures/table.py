"""Rows, as text for people and as CSV for plots."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field


@dataclass
class Table:
    """One figure's numbers."""

    columns: tuple[str, ...]
    rows: list[tuple[float | int | str, ...]] = field(default_factory=list)

    def add(self, *values: float | int | str) -> None:
        assert len(values) == len(self.columns), f"{values} in columns {self.columns}"
        self.rows.append(values)

    def column(self, name: str) -> list[float | int | str]:
        """The values of one column."""
        place = self.columns.index(name)
        return [row[place] for row in self.rows]

    def text(self) -> str:
        """Aligned, for a terminal."""
        lines = [self.columns, *(tuple(map(_shown, row)) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            for line in lines
        )

    def csv(self) -> str:
        """For programs."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_shown(value) for value in row] for row in self.rows)
        return text.getvalue()


def _shown(value: float | int | str) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
