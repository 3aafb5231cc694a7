"""Draws the tables in ``benchmarks/figures`` as SVG, into ``docs/figures``.

    python benchmarks/plot_figures.py

Only lines and dots on two axes are wanted, so this draws them itself: a plotting library would be
a dependency of a hundred times the size. What the papers say is drawn dashed.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, log2
from pathlib import Path

HERE = Path(__file__).parent
TABLES = HERE / "figures"
PLOTS = HERE.parent / "docs" / "figures"

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 34, 44
LEGEND = 18  # each of its lines, below the axes
COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#b9770e")

TON_DIED = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
TON_HOPS = (3.84, 4.03, 4.22, 4.44, 4.69, 5.09)
TON_TIMEOUTS = (0.0, 0.60, 1.17, 2.02, 3.23, 5.10)

Row = dict[str, str]
Points = list[tuple[float, float]]


@dataclass
class Plot:
    """Lines over one x axis."""

    title: str
    x_label: str
    y_label: str
    log_x: bool = False
    lines: list[tuple[str, Points, bool]] = field(default_factory=list)

    def line(self, name: str, points: Points, *, dashed: bool = False) -> None:
        if points:
            self.lines.append((name, sorted(points), dashed))

    def svg(self) -> str:
        """The drawing."""
        every = [point for _, points, _ in self.lines for point in points]
        x_of = self._scale([x for x, _ in every], LEFT, WIDTH - RIGHT, self.log_x)
        top = max(y for _, y in every) * 1.05 or 1.0
        y_of = self._scale([0.0, top], HEIGHT - BOTTOM, TOP, False)
        height = HEIGHT + LEGEND * len(self.lines) + LEGEND // 2
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            _text(WIDTH / 2, 20, self.title, "middle"),
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, self.x_label, "middle"),
            f'<g transform="rotate(-90 14 {HEIGHT / 2})">'
            + _text(14, HEIGHT / 2, self.y_label, "middle")
            + "</g>",
        ]
        for y in _ticks(top):
            parts.append(_rule(LEFT, y_of(y), WIDTH - RIGHT, y_of(y)))
            parts.append(_text(LEFT - 6, y_of(y) + 4, f"{y:g}", "end"))
        for x in self._x_ticks([x for x, _ in every]):
            parts.append(_rule(x_of(x), HEIGHT - BOTTOM, x_of(x), HEIGHT - BOTTOM + 4))
            parts.append(_text(x_of(x), HEIGHT - BOTTOM + 18, f"{x:g}", "middle"))
        for number, (name, points, dashed) in enumerate(self.lines):
            colour = COLOURS[number % len(COLOURS)]
            way = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
            dashes = ' stroke-dasharray="6 4"' if dashed else ""
            parts.append(
                f'<polyline points="{way}" fill="none" stroke="{colour}" '
                f'stroke-width="1.8"{dashes}/>'
            )
            if not dashed:
                parts += [
                    f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="2.6" fill="{colour}"/>'
                    for x, y in points
                ]
            y = HEIGHT + LEGEND * (number + 0.5)
            parts.append(
                f'<line x1="{LEFT + 10}" y1="{y - 4}" x2="{LEFT + 34}" y2="{y - 4}" '
                f'stroke="{colour}" stroke-width="1.8"{dashes}/>'
            )
            parts.append(_text(LEFT + 40, y, name, "start"))
        return "\n".join([*parts, "</svg>"]) + "\n"

    def _scale(
        self, values: Sequence[float], start: float, end: float, logarithmic: bool
    ) -> Callable[[float], float]:
        of = log2 if logarithmic else float
        low, high = of(min(values)), of(max(values))
        return lambda value: start + (of(value) - low) / ((high - low) or 1) * (end - start)

    def _x_ticks(self, values: Sequence[float]) -> list[float]:
        if self.log_x:
            first, last = ceil(log2(min(values))), floor(log2(max(values)))
            return [2.0**i for i in range(first, last + 1, max(1, (last - first) // 7))]
        ticks = _ticks(max(values))
        return [tick for tick in ticks if tick >= min(values)]


def _ticks(top: float) -> list[float]:
    """Round numbers from 0 to the top, five or so."""
    step = 10.0 ** floor(log2(top) / log2(10))
    for finer in (2.0, 2.5, 2.0):
        if top / step < 4:
            step /= finer
    return [step * i for i in range(int(top / step * 1.0001) + 1)]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def rows_of(name: str) -> list[Row]:
    """The table of that name, or nothing where it was not measured."""
    path = TABLES / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def points(rows: list[Row], x: str, y: str, factor: float = 1.0, **where: str) -> Points:
    """Two columns of the rows that have these values in others."""
    chosen = [row for row in rows if all(row[key] == value for key, value in where.items())]
    return [(float(row[x]), float(row[y]) * factor) for row in chosen]


def _paths() -> Plot:
    rows = rows_of("paths")
    plot = Plot("Members asked by a lookup", "members", "on the way", log_x=True)
    plot.line("fingers alone, mean", points(rows, "members", "mean", list="1"))
    plot.line("with lists of 16, mean", points(rows, "members", "mean", list="16"))
    plot.line("fingers alone, 99th percentile", points(rows, "members", "p99", list="1"))
    plot.line("½ log2 N", points(rows, "members", "half log2", list="1"), dashed=True)
    return plot


def _lengths() -> Plot:
    rows = rows_of("lengths")
    plot = Plot("Distribution, 4096 members", "members asked on the way", "share of lookups")
    plot.line("fingers alone", points(rows, "length", "share", list="1"))
    plot.line("with lists of 16", points(rows, "length", "share", list="16"))
    return plot


def _dead() -> Plot:
    rows = rows_of("dead_1000")
    plot = Plot("Right after a share of 1000 members died", "share that died", "each lookup")
    plot.line("members that answered", points(rows, "died", "hops"))
    plot.line("timeouts", points(rows, "died", "timeouts"))
    plot.line("the paper's hops", list(zip(TON_DIED, TON_HOPS, strict=True)), dashed=True)
    plot.line("its timeouts", list(zip(TON_DIED, TON_TIMEOUTS, strict=True)), dashed=True)
    return plot


def _lost() -> Plot:
    rows = rows_of("lost")
    plot = Plot("Keys lost for ever", "share of 10,000 members that died at once", "% of keys")
    plot.line("one replica", points(rows, "died", "lost", 100, replicas="1"))
    plot.line("five replicas", points(rows, "died", "lost", 100, replicas="5"))
    plot.line("p", points(rows, "died", "expected", 100, replicas="1"), dashed=True)
    plot.line("p to the fifth", points(rows, "died", "expected", 100, replicas="5"), dashed=True)
    return plot


def _churn() -> Plot:
    plot = Plot("Lookups during churn", "joins, and crashes, each second", "% of lookups")
    for name, told in (
        ("churn_sigcomm", "500 members, lists and fingers, round each 30 s"),
        ("churn_view", "200 members, views, each 0.5 s"),
    ):
        rows = rows_of(name)
        plot.line(
            f"{told}: a timeout or wrong", points(rows, "rate", "failed without retries", 100)
        )
        both = [
            (float(row["rate"]), 100 * (float(row["failed"]) + float(row["stale"]))) for row in rows
        ]
        plot.line(f"{told}: wrong or none", both)
    return plot


def _upkeep() -> Plot:
    plot = Plot("Maintenance", "members", "KB sent by each, each second", log_x=True)
    for name, known in (("upkeep", "lists and fingers"), ("upkeep_view", "with the view")):
        for session, told in (("0", "nobody comes or goes"), ("600", "they stay 10 min")):
            chosen = points(
                rows_of(name), "members", "bytes each s", 0.001, **{"session s": session}
            )
            plot.line(f"{known}, {told}", chosen)
    return plot


DRAWN: dict[str, Callable[[], Plot]] = {
    "paths": _paths,
    "lengths": _lengths,
    "dead": _dead,
    "lost": _lost,
    "churn": _churn,
    "upkeep": _upkeep,
}


def main() -> None:
    """Draw every plot whose table is there."""
    PLOTS.mkdir(exist_ok=True)
    for name, draw in DRAWN.items():
        plot = draw()
        if any(not dashed for _, _, dashed in plot.lines):
            (PLOTS / f"{name}.svg").write_text(plot.svg(), encoding="utf-8")
            print(f"docs/figures/{name}.svg")


if __name__ == "__main__":
    main()
