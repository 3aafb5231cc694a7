"""``python -m map_reduce.simulation.figures``: the papers' figures, on this library's code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from map_reduce.core.chord.view import MEMBERS_MAX
from map_reduce.simulation.figures.churn import Setup, churn
from map_reduce.simulation.figures.failures import healing, lookups_after, lost_keys
from map_reduce.simulation.figures.load import load
from map_reduce.simulation.figures.paths import distribution, paths
from map_reduce.simulation.figures.size import size
from map_reduce.simulation.figures.table import Table
from map_reduce.simulation.figures.upkeep import upkeep
from map_reduce.simulation.figures.views import views

Flags = argparse.Namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line says, and print it."""
    flags = _parser().parse_args(arguments)
    measure: Callable[[Flags], Table] = flags.measure
    table = measure(flags)
    print(table.text())
    if flags.csv is not None:
        flags.csv.write_text(table.csv(), encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m map_reduce.simulation.figures",
        description="The figures of the Chord papers, measured on this library's code.",
    )
    claims = parser.add_subparsers(required=True, metavar="CLAIM")

    def claim(name: str, about: str, measure: Callable[[Flags], Table], *kinds: str) -> None:
        command = claims.add_parser(name, help=about, description=about)
        command.set_defaults(measure=measure)
        command.add_argument("--seed", type=int, default=1)
        command.add_argument("--csv", type=Path, help="write the rows there, too")
        for kind in kinds:
            command.add_argument(f"--{kind}", **_FLAGS[kind])

    claim("paths", "members asked by a lookup", _paths, "members", "lists", "lookups")
    claim("lengths", "their distribution", _lengths, "members", "lists", "lookups")
    claim("load", "keys by node", _load, "members", "keys", "virtual", "choices")
    claim(
        *("dead", "lookups right after many died", _dead),
        *("members", "list", "died", "lookups", "rings"),
    )
    claim("lost", "keys lost when many die", _lost, "members", "keys", "replicas", "died")
    claim(
        *("healing", "until the ring is whole", _healing),
        *("members", "list", "died", "lookups", "view"),
    )
    claim(
        *("churn", "lookups while members come and go", _churn),
        *("members", "list", "interval", "rates", "seconds", "asked", "view"),
    )
    claim(
        *("upkeep", "what maintenance sends", _upkeep),
        *("members", "list", "sessions", "seconds", "view"),
    )
    claim("size", "the simulator's own", _size, "members", "list", "seconds", "view")
    claim("views", "lookups and memory with membership views", _views, "members", "view", "lookups")
    return parser


def _many(kind: type, default: list[float]) -> dict[str, Any]:
    return {"type": kind, "nargs": "+", "default": default}


_FLAGS: dict[str, dict[str, Any]] = {
    "members": _many(int, [1000]),
    "lists": _many(int, [1, 16]) | {"help": "lengths of successor lists"},
    "list": {"type": int, "default": 16, "help": "length of successor lists"},
    "lookups": {"type": int, "default": 10_000},
    "rings": {"type": int, "default": 1, "help": "over which the lookups are spread"},
    "keys": _many(int, [500_000]),
    "virtual": _many(int, [1, 20]) | {"help": "places that each node has on the ring"},
    "choices": _many(int, [1, 2, 4]) | {"help": "names that each key has"},
    "died": _many(float, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]) | {"help": "shares that die at once"},
    "replicas": _many(int, [1, 5]),
    "view": {"type": int, "help": "members in each view (default: as many as in lists)"},
    "interval": {"type": float, "default": 0.5, "help": "seconds between rounds"},
    "asked": {"type": float, "default": 1.0, "help": "lookups each second"},
    "rates": _many(float, [0.1]) | {"help": "joins, and crashes, each second"},
    "sessions": _many(float, [0, 3600, 600]) | {"help": "seconds that members stay; 0: for ever"},
    "seconds": {"type": int, "default": 60, "help": "of virtual time"},
}


def _paths(flags: Flags) -> Table:
    return paths(flags.members, flags.lists, flags.lookups, flags.seed)


def _lengths(flags: Flags) -> Table:
    return distribution(flags.members[0], flags.lists, flags.lookups, flags.seed)


def _load(flags: Flags) -> Table:
    return load(flags.members[0], flags.keys, flags.virtual, flags.choices, flags.seed)


def _dead(flags: Flags) -> Table:
    return lookups_after(
        flags.members[0], flags.list, flags.died, flags.lookups, flags.seed, flags.rings
    )


def _lost(flags: Flags) -> Table:
    return lost_keys(flags.members[0], flags.keys[0], flags.replicas, flags.died, flags.seed)


def _healing(flags: Flags) -> Table:
    return healing(flags.members[0], flags.list, flags.died, flags.lookups, flags.seed, flags.view)


def _churn(flags: Flags) -> Table:
    setups = [
        Setup(members, flags.list, flags.interval, rate, flags.seconds, flags.asked, flags.view)
        for members in flags.members
        for rate in flags.rates
    ]
    return churn(setups, flags.seed)


def _upkeep(flags: Flags) -> Table:
    return upkeep(flags.members, flags.sessions, flags.list, flags.seconds, flags.seed, flags.view)


def _size(flags: Flags) -> Table:
    return size(flags.members, flags.list, flags.seconds, flags.seed, flags.view)


def _views(flags: Flags) -> Table:
    return views(flags.members, flags.view or MEMBERS_MAX, flags.lookups, flags.seed)


if __name__ == "__main__":
    sys.exit(main())
