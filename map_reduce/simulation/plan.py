"""What happens to a ring from outside, as data, drawn before anything runs.

Because a plan is a list of acts, a failing one can be made smaller by leaving acts out, and what
is left can be named on a command line by the numbers of its acts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from map_reduce.core.chord.view import MEMBERS_MAX

SECOND_US = 1_000_000


class Kind(Enum):
    """Kinds of acts. Nodes are numbers; ``nodes`` of an act mean:"""

    CREATE = "create"  # (node,) begins the ring
    SETTLE = "settle"  # (count,): so many nodes, from 0 on, are an ideal ring already
    JOIN = "join"  # (node, seed, …) is started and joins; after a crash: a new incarnation
    LOOKUP = "lookup"  # (first asked, number of the key)
    CRASH = "crash"  # (node,)
    LEAVE = "leave"  # (node,) leaves in order
    PAUSE = "pause"  # (node,) stands still for the duration
    DEAFEN = "deafen"  # (from, to): nothing arrives on this way for the duration
    SPLIT = "split"  # these nodes and the others do not reach each other for the duration
    STORM = "storm"  # messages are lost, doubled and slow for the duration


@dataclass(frozen=True)
class Act:
    """One thing that happens from outside."""

    at_us: int
    kind: Kind
    nodes: tuple[int, ...] = ()
    duration_us: int = 0

    def __str__(self) -> str:
        nodes = " ".join(map(str, self.nodes))
        lasting = f" for {self.duration_us / SECOND_US:.1f} s" if self.duration_us else ""
        return f"{self.at_us / SECOND_US:8.3f} s  {self.kind.value} {nodes}{lasting}"


@dataclass(frozen=True)
class Plan:
    """Acts in the order of time, then ``quiet``: from there on nothing happens from outside."""

    acts: tuple[Act, ...]
    quiet_from_us: int

    def keeping(self, numbers: Iterable[int]) -> Plan:
        """The plan with only those acts, named by their place in this one."""
        return Plan(tuple(self.acts[i] for i in sorted(set(numbers))), self.quiet_from_us)


@dataclass(frozen=True)
class Settings:
    """One simulated ring.

    ``accurate``: the failure detectors are oracles, crashes spare what the protocol needs, and
    the invariants are checked after every step. Otherwise the production detector judges by
    timeouts, anything may happen, and the ring has to be ideal again after quiet.

    ``placed``: so many of the members are an ideal ring when the run begins; the others join.
    ``view_max``: members in each membership view, of which large rings take much memory.
    ``drift_ppm_max``: each node's clock runs faster or slower by at most so much.
    """

    seed: int
    members: int = 8
    placed: int = 0
    view_max: int = MEMBERS_MAX
    seconds: int = 60
    successors_max: int = 4
    accurate: bool = False
    faults: int = 12
    interval_us: int = 500_000
    timeout_us: int = 500_000
    dead_after_us: int = 5 * SECOND_US
    silence_us: int = 20 * SECOND_US
    drift_ppm_max: int = 20_000
    quiet_s_max: int = 600

    @classmethod
    def of_a_thousand(cls, seed: int) -> Settings:
        """A large ring, most of which is there when the run begins. Of four seeds, two have views
        that hold the whole ring, and two need fingers; of each two, one has exact detectors."""
        return cls(
            seed,
            members=1000,
            placed=980,
            view_max=64 if seed % 2 else MEMBERS_MAX,
            seconds=10,
            successors_max=8,
            accurate=seed // 2 % 2 == 0,
            faults=30,
        )

    def flags(self) -> str:
        """As on the command line."""
        accurate = " --accurate" if self.accurate else ""
        placed = f" --placed {self.placed}" if self.placed else ""
        view = f" --view {self.view_max}" if self.view_max != MEMBERS_MAX else ""
        return (
            f"--seed {self.seed} --members {self.members}{placed}{view} --seconds {self.seconds} "
            f"--successors {self.successors_max} --faults {self.faults}{accurate}"
        )
