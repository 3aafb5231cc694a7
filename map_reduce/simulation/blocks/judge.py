"""What must hold of blocks.

    D1  whoever reads gets the bytes that were stored, or an error
    D2  when a block is acknowledged, a majority of its group has it (those counted who lost it or
        left meanwhile); from then on it has a sound copy, on a live node or on a disk that comes
        back, until faults have taken as many as it had then, or as it had when all its copies
        were last there
    D3  a copy that is too many is deleted only while as many others are there as a full group has
    D4  nobody keeps bytes that do not match their digest, when they come
    D5  who leaves in order, having handed over all, does not take a last copy along (where the
        only others are damaged, and nobody has noticed, it may)

and, once nothing happens any more, after a bounded time:

    every block is on exactly its replica group; a block of an ended job is nowhere, if only one
    member of its group has heard of the end; every acknowledged block can be read
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from map_reduce.core import names
from map_reduce.core.blocks.writing import Stored
from map_reduce.core.chord.replication import majority
from map_reduce.core.identifiers import Member, distance, identifier_of
from map_reduce.core.messages import BlockRef
from map_reduce.simulation.judge import Violation

if TYPE_CHECKING:
    from map_reduce.simulation.blocks.process import BlockProcess
    from map_reduce.simulation.blocks.world import BlockWorld


@dataclass
class Story:
    """What became of one block.

    Attributes:
        sound: nodes whose disks have it undamaged.
        floor: so many losses may take it for good.
        losses: sound copies taken by faults since it had all.
        taken: all that faults took, or nodes that left.
        gone: (time, node) of each copy that went otherwise than by being too many.
    """

    ref: BlockRef
    content: bytes
    acknowledged: bool = False
    sound: set[int] = field(default_factory=set)
    floor: int = 0
    losses: int = 0
    taken: int = 0
    gone: list[tuple[int, int]] = field(default_factory=list)


class BlockJudge:
    """Sees every copy come and go."""

    def __init__(self, world: BlockWorld) -> None:
        self._world = world
        self.stories: dict[str, Story] = {}
        self._ended_jobs: dict[str, bool] = {}
        self._ended_us: dict[int, int] = {}  # when a node's process ended last
        self._discarding: tuple[int, str] | None = None
        self.checks = 0
        self.lost = 0
        self.came_back = 0

    def require(self, holds: bool, text: str) -> None:
        """Raises Violation with the text and the time, where it does not hold."""
        self.checks += 1
        if not holds:
            raise Violation(f"at {self._world.now_s():.6f} s: {text}")

    # -------------------------------------------------------------- users

    def story(self, ref: BlockRef, content: bytes) -> Story:
        return self.stories.setdefault(ref.name, Story(ref, content))

    def acknowledged(self, name: str, stored: Stored) -> None:
        """A user was told that the block is stored."""
        story = self.stories[name]
        story.acknowledged = True
        story.floor = story.losses + len(story.sound)
        there = len(story.sound) + story.taken
        self.require(
            self.over(name) or there >= majority(len(stored.group)),
            f"D2: {name} was acknowledged, and {there} of {len(stored.group)} have it",
        )
        self._check_left(story)

    def read(self, name: str, data: bytes) -> None:
        """A user was given this for the block."""
        content = self.stories[name].content
        self.require(data == content, f"D1: reading {name} gave {data!r}, not {content!r}")

    def job_ends(self, job_id: str, blocks: bool) -> None:
        self._ended_jobs[job_id] = blocks or self._ended_jobs.get(job_id, False)

    def over(self, name: str) -> bool:
        """Whether a job's end was to delete the block."""
        blocks = self._ended_jobs.get(names.job_of(name))
        return blocks is not None and (blocks or names.is_only_for_running(name))

    # -------------------------------------------------------------- disks

    def changed(self, number: int, name: str) -> None:
        """A copy came to a node's disk, or went."""
        story = self.stories[name]
        file = self._world.disks[number].files.get(name)
        if file is None:
            story.sound.discard(number)
            if self._discarding == (number, name):
                story.floor = min(story.floor, story.losses + len(story.sound))
            else:
                story.gone.append((self._world.now_us, number))
            self._discarding = None
            self._check_left(story)
            return
        self.require(file.sound, f"D4: n{number} keeps other bytes than those of {name}")
        story.sound.add(number)
        full = min(self._world.replicas, len(self._world.nodes()))
        if len(story.sound) >= full:
            story.losses = 0
            story.floor = len(story.sound)

    def spoils(self, number: int, name: str) -> None:
        """A fault has damaged a copy."""
        story = self.stories[name]
        if number in story.sound:
            story.sound.discard(number)
            story.losses += 1
            story.taken += 1
            self._check_left(story)

    def loses(self, number: int, *, in_order: bool) -> None:
        """A fault takes all that a node has, or the node leaves with it."""
        for name in self._world.disks[number].files:
            story = self.stories[name]
            if number not in story.sound:
                continue
            left = len(story.sound) - 1
            story.taken += 1
            if not in_order:
                story.losses += 1
            elif left:  # there are no more copies where there are no more nodes
                story.floor = min(story.floor, story.losses + left)
            else:
                others = [other for other in self._world.disks if name in other.files]
                self.require(
                    len(others) > 1 or not self._is_owed(story),
                    f"D5: n{number} left in order and took the last copy of {name}",
                )
                story.losses = story.floor

    def may_lose(self, number: int, name: str | None = None) -> bool:
        """Whether the promise covers that a node loses a block, or all that it has."""
        held = self._world.disks[number].files if name is None else [name]
        stories = [self.stories[one] for one in held]
        return all(
            story.losses + 1 < max(story.floor, 1)
            or not story.acknowledged
            or self.over(story.ref.name)
            for story in stories
            if number in story.sound
        )

    def ended(self, number: int) -> None:
        """A node's process has ended."""
        self._ended_us[number] = self._world.now_us

    def discards(self, number: int, name: str, since_us: int) -> None:
        """A node deletes a copy that is too many, having asked others since then."""
        self._discarding = (number, name)
        if self.over(name):
            return
        world = self._world
        others = {node for gone_us, node in self.stories[name].gone if gone_us >= since_us}
        for other, disk in enumerate(world.disks):
            if name in disk.files and (
                world.node(other) is not None or self._ended_us.get(other, -1) >= since_us
            ):
                others.add(other)
        others.discard(number)
        self.require(
            len(others) >= world.replicas,
            f"D3: n{number} deletes {name}, and only {len(others)} others have it",
        )

    def _is_owed(self, story: Story) -> bool:
        return story.acknowledged and not self.over(story.ref.name) and story.losses < story.floor

    def _check_left(self, story: Story) -> None:
        if not story.sound and self._is_owed(story):
            self.require(
                False,
                f"D2: nobody has {story.ref.name} any more, after {story.losses} losses "
                f"of {story.floor} that may take it",
            )

    # -------------------------------------------------------------- after quiet

    def flaws(self) -> list[str]:
        """In what blocks are not where they should be."""
        nodes = [process for process in self._world.nodes() if process.ring.joined]
        wrong: list[str] = []
        self.came_back = 0
        self.lost = 0
        for name, story in self.stories.items():
            place = identifier_of(name)
            by_distance = sorted(nodes, key=lambda p: distance(place, p.ring.me.identifier))
            group = by_distance[: self._world.replicas]
            holders = [p for p in nodes if name in p.disk.files]
            if self.over(name):
                if any(process.knows_end_of(name) for process in group):
                    wrong += [f"{p.ring.me} has {name} of an ended job" for p in holders]
                else:
                    self.came_back += bool(holders)
            elif holders and {p.number for p in holders} != {p.number for p in group}:
                have, should = _named(holders), _named(group)
                wrong.append(f"{name} is on {have}, not on {should}")
            elif any(not p.disk.files[name].sound for p in holders):
                wrong.append(f"a copy of {name} is damaged")
            elif not holders:
                self.lost += story.acknowledged
        return wrong

    def readable(self) -> list[Story]:
        """The acknowledged blocks that must be there after quiet."""
        return [
            story
            for name, story in self.stories.items()
            if story.acknowledged and story.sound and not self.over(name)
        ]


def _named(processes: list[BlockProcess]) -> str:
    members: list[Member] = [process.ring.me for process in processes]
    return " ".join(sorted(member.address.host for member in members))
