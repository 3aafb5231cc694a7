"""False deaths: members that live and are judged dead, by our detector and by plain SWIM.

Both see the same faults: processes that stand still (1 to 30 s, heavy-tailed), links that carry
nothing one way, and storms in which a quarter of all messages is lost. *Plain* is the same code
with the settings of SWIM as hashicorp/memberlist has it without Lifeguard (``config.go``: a
suspicion of 4 max(1, log10 N) s): a suspect that neither the suspecter nor the three others that it
asks have heard of meanwhile is dead, whoever confirms it, and whatever the observer's own state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from map_reduce.core.chord.detector import Detector
from map_reduce.core.chord.member import RingMember
from map_reduce.core.identifiers import Member
from map_reduce.simulation.draws import Draws
from map_reduce.simulation.figures.still import address_of
from map_reduce.simulation.figures.table import Table
from map_reduce.simulation.judge import FalseDeath
from map_reduce.simulation.plan import SECOND_US, Act, Kind, Settings
from map_reduce.simulation.run import perform_act
from map_reduce.simulation.world import World

WARM_UP_S = 5
EPISODE_US = 30 * SECOND_US
"""Verdicts about one member that follow each other within this time are one false death."""


class PlainSwim(Detector):
    """SWIM's rule, without Lifeguard's corrections and without ours."""

    def patience_s(self, suspect: Member) -> float:
        return 4.0 * max(1.0, math.log10(len(self._others()) + 1))

    def isolated(self) -> bool:
        return False


class PlainMember(RingMember):
    """A member that judges by :class:`PlainSwim`."""

    def __init__(self, me: Member, *, now_s: Callable[[], float], **rest: Any) -> None:
        super().__init__(me, now_s=now_s, **rest)
        self.detector = PlainSwim(
            now_s,
            dead_after_s=1.0,
            failures_min=1,
            pause_s_max=math.inf,
            others=self.acquaintances.view,
        )


def suspicion(
    members: int, seconds: int, seed: int, *, pause_s: tuple[float, float] = (1.0, 30.0)
) -> Table:
    """False deaths of both, under the same faults."""
    table = Table(("detector", "verdicts", "false deaths", "of running members", "pauses", "links"))
    acts = draw_faults(members, seconds, seed, pause_s)
    pauses = sum(act.kind is Kind.PAUSE for act in acts)
    links = sum(act.kind is Kind.DEAFEN for act in acts)
    for name, kind in (("plain SWIM", PlainMember), ("ours", RingMember)):
        verdicts = false_deaths(members, seconds, seed, acts, kind)
        running = [verdict for verdict in verdicts if not verdict.stopped]
        table.add(name, len(verdicts), episodes(verdicts), episodes(running), pauses, links)
    return table


def draw_faults(
    members: int, seconds: int, seed: int, pause_s: tuple[float, float]
) -> tuple[Act, ...]:
    """A pause and a deaf link for every twenty members each 10 s, and a storm each minute."""
    draws = Draws(seed, "suspicion")
    acts: list[Act] = []
    low_us, high_us = (int(bound * SECOND_US) for bound in pause_s)
    end_us = seconds * SECOND_US
    for _ in range(members * seconds // 200):
        at_us = draws.within(WARM_UP_S * SECOND_US, end_us)
        lasting_us = draws.heavy_tailed(low_us, high_us)
        acts.append(Act(at_us, Kind.PAUSE, (draws.below(members),), lasting_us))
        at_us = draws.within(WARM_UP_S * SECOND_US, end_us)
        ends = (draws.below(members), draws.below(members))
        acts.append(Act(at_us, Kind.DEAFEN, ends, draws.within(low_us, 2 * high_us)))
    for minute in range(seconds // 60):
        acts.append(Act((minute * 60 + 30) * SECOND_US, Kind.STORM, (), 10 * SECOND_US))
    return tuple(sorted(acts, key=lambda act: act.at_us))


def false_deaths(
    members: int, seconds: int, seed: int, acts: Sequence[Act], kind: type[RingMember]
) -> list[FalseDeath]:
    """Every false verdict of every member. Nobody dies: all verdicts are false."""
    world = World(
        Settings(seed, members=members, successors_max=16),
        [address_of(number) for number in range(members)],
        kind=kind,
    )
    world.judge.grace_checked = kind is not PlainMember
    world.settle(members)
    for act in acts:
        world.at(act.at_us, None, lambda act=act: perform_act(world, act))  # type: ignore[misc]
    world.run_until((seconds + 60) * SECOND_US)
    return world.judge.false_deaths


def episodes(verdicts: Sequence[FalseDeath]) -> int:
    """Verdicts by several observers about one member, one after the other, are one false death."""
    last_us: dict[Member, int] = {}
    count = 0
    for verdict in verdicts:
        count += verdict.at_us - last_us.get(verdict.member, -EPISODE_US) >= EPISODE_US
        last_us[verdict.member] = verdict.at_us
    return count
