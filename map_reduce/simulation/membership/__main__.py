"""``python -m map_reduce.simulation.membership``: the detector and the view, in numbers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from map_reduce.simulation.figures.table import Table
from map_reduce.simulation.membership.healing import (
    bootstrap,
    closing,
    partition,
    wrongly_suspected,
)
from map_reduce.simulation.membership.suspicion import suspicion
from map_reduce.simulation.membership.view import one_hop

Flags = argparse.Namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line says, and print it."""
    flags = _parser().parse_args(arguments)
    measure: Callable[[Flags], Table] = flags.measure
    print(measure(flags).text())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m map_reduce.simulation.membership",
        description="What the failure detector and the membership view are worth.",
    )
    claims = parser.add_subparsers(required=True, metavar="CLAIM")

    def claim(
        name: str, about: str, measure: Callable[[Flags], Table], members: int
    ) -> argparse.ArgumentParser:
        command = claims.add_parser(name, help=about, description=about)
        command.set_defaults(measure=measure)
        command.add_argument("--members", type=int, default=members)
        command.add_argument("--seed", type=int, default=1)
        return command

    command = claim("suspicion", "false deaths, beside plain SWIM", _suspicion, 40)
    command.add_argument("--seconds", type=int, default=600)
    command.add_argument("--pauses", type=float, nargs=2, default=(1.0, 30.0), metavar="S")
    command = claim("one-hop", "lookups that the first one asked answers", _one_hop, 200)
    command.add_argument("--seconds", type=int, default=60)
    command.add_argument("--changes", type=float, nargs="+", default=[0.0, 1.0], metavar="PER_S")
    command.add_argument("--crashing", type=float, default=0.25, help="share of the changes")
    command = claim("healing", "rounds until wrong verdicts are undone", _healing, 200)
    command.add_argument("--share", type=float, default=0.1, help="of members that stand still")
    command.add_argument("--stopped", type=int, default=40, metavar="S")
    command.add_argument("--runs", type=int, default=3)
    command = claim("closing", "seconds until a death is closed over", _closing, 8)
    command.add_argument("--runs", type=int, default=10)
    command = claim("partition", "until two halves are one ring again", _partition, 200)
    command.add_argument("--minutes", type=float, default=10)
    command.add_argument("--runs", type=int, default=1)
    command = claim("bootstrap", "all join by one that is killed meanwhile", _bootstrap, 200)
    command.add_argument(
        "--killed", type=int, nargs="+", default=[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000]
    )
    return parser


def _suspicion(flags: Flags) -> Table:
    low_s, high_s = flags.pauses
    return suspicion(flags.members, flags.seconds, flags.seed, pause_s=(low_s, high_s))


def _one_hop(flags: Flags) -> Table:
    return one_hop(flags.members, flags.changes, flags.seconds, flags.seed, crashing=flags.crashing)


def _healing(flags: Flags) -> Table:
    return wrongly_suspected(flags.members, flags.share, flags.stopped, flags.runs, flags.seed)


def _closing(flags: Flags) -> Table:
    return closing([flags.members], flags.runs, flags.seed)


def _partition(flags: Flags) -> Table:
    return partition(flags.members, flags.minutes, flags.runs, flags.seed)


def _bootstrap(flags: Flags) -> Table:
    return bootstrap(flags.members, flags.killed, flags.seed)


if __name__ == "__main__":
    sys.exit(main())
