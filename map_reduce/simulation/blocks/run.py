"""A plan, carried out and judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from map_reduce.core import names
from map_reduce.core.blocks.effects import BlockProcedure, request
from map_reduce.core.blocks.reading import read_own
from map_reduce.core.blocks.writing import Stored
from map_reduce.core.chord.lookup import lookup
from map_reduce.core.chord.survey import survey
from map_reduce.core.digests import digest_of
from map_reduce.core.identifiers import Address, Member, identifier_of
from map_reduce.core.messages import AttemptId, BlockRef, Done, EndJob
from map_reduce.core.procedure import Ask, Procedure
from map_reduce.errors import ClusterError
from map_reduce.simulation.blocks.disk import File
from map_reduce.simulation.blocks.driving import PIECE_BYTES, User, drive
from map_reduce.simulation.blocks.mutants import FAITHFUL, Mutant
from map_reduce.simulation.blocks.plan import BLOCK_BYTES_MAX, JOBS, BlockAct, BlockKind, BlockPlan
from map_reduce.simulation.blocks.process import BlockProcess
from map_reduce.simulation.blocks.world import BlockWorld
from map_reduce.simulation.draws import Draws
from map_reduce.simulation.judge import Violation
from map_reduce.simulation.plan import SECOND_US, Act, Kind
from map_reduce.simulation.process import Asker
from map_reduce.simulation.run import perform_act
from map_reduce.simulation.trace import state_in_words
from map_reduce.simulation.world import ACTED

QUIET_S_MAX = 300
"""Within so much quiet the ring is ideal, or the operator starts it anew, and all blocks are where
they belong."""

REFUSES_S = 40
"""If nobody serves for so long, the operator does that: members that are left go on asking for each
other meanwhile."""


@dataclass
class Outcome:
    """What came of a run."""

    violation: str | None = None
    digest: str = ""
    events: int = 0
    checks: int = 0
    restarted: bool = False
    quiet_s: int = 0
    work: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)


def carry_out(plan: BlockPlan, *, mutant: Mutant = FAITHFUL, readable: bool = False) -> Outcome:
    """Run the plan and let the judge say what is wrong, if anything is."""
    return Run(plan, mutant, readable).carry_out()


class Run:
    """One plan on its way."""

    def __init__(self, plan: BlockPlan, mutant: Mutant, readable: bool) -> None:
        self._plan = plan
        self.world = BlockWorld(plan, mutant, readable=readable)
        self.outcome = Outcome()

    def carry_out(self) -> Outcome:
        world, outcome = self.world, self.outcome
        for act in self._plan.acts:
            world.at(act.at_us, None, lambda act=act: self._perform(act))  # type: ignore[misc]
        try:
            world.run_until(self._plan.quiet_from_us)
            self._after_quiet()
        except Violation as violation:
            outcome.violation = str(violation)
        for process in world.nodes():
            world.trace.seal(state_in_words(process.ring))
        for disk in world.disks:
            world.trace.seal(repr(sorted(disk.files.items())))
        outcome.digest = world.trace.digest()
        outcome.events = world.trace.events
        outcome.checks = world.blocks.checks
        outcome.lines = world.trace.lines or []
        outcome.work["blocks lost"] = world.blocks.lost
        outcome.work["blocks of ended jobs that came back"] = world.blocks.came_back
        return outcome

    # -------------------------------------------------------------- acts

    def _perform(self, act: Act | BlockAct) -> None:
        world = self.world
        if isinstance(act, Act) and act.kind not in (Kind.CRASH, Kind.LEAVE):
            if act.kind is Kind.JOIN and world.now_us < world.dark_until_us:
                world.at(world.dark_until_us - world.now_us + 1, None, lambda: self._perform(act))
                return
            perform_act(world, act)
            return
        world.trace.note(world.now_us, ACTED, *(*act.nodes, 0, 0)[:2])
        world.tell(f"*** {str(act).split('s  ', 1)[1]}")
        node = act.nodes[0]
        match act.kind:
            case Kind.CRASH:
                self._crash(node, disk_lost=False)
            case BlockKind.LOSE:
                self._crash(node, disk_lost=True)
            case Kind.LEAVE:
                process = world.node(node)
                if process is not None and process.ring.joined:
                    process.leave()
            case BlockKind.BLACKOUT:
                self._go_dark(node, act.duration_us)
            case BlockKind.SLOW | BlockKind.FULL:
                self._trouble(node, act.kind, act.duration_us)
            case BlockKind.ROT | BlockKind.TEAR:
                self._damage(node, act.kind, act.nodes[1])
            case BlockKind.END:
                self._end_job(node, f"job{act.nodes[1]}", bool(act.nodes[2]))
            case BlockKind.PUT | BlockKind.RESULT:
                self._put(node, act.nodes[1], own=act.kind is BlockKind.RESULT)
            case BlockKind.READ | BlockKind.OWN_READ:
                self._read(node, act.nodes[1], own=act.kind is BlockKind.OWN_READ)

    def _crash(self, node: int, *, disk_lost: bool) -> None:
        world = self.world
        loses = disk_lost or node not in world.lasting
        if world.node(node) is None and not disk_lost:
            return
        if loses and not self._plan.heedless and not world.blocks.may_lose(node):
            self._count("faults spared")
            return
        world.end(node, disk_lost=disk_lost)

    def _go_dark(self, first: int, duration_us: int) -> None:
        """All nodes lose power, and somebody starts them again, as a new ring."""
        world = self.world
        for process in world.nodes():
            world.end(process.number)
        world.dark_until_us = world.now_us + duration_us
        everybody = [number for number in range(self._plan.nodes) if number != first]
        seeds = tuple(range(self._plan.nodes))
        world.at(duration_us, None, lambda: self._begin_anew(first))
        for number in everybody:
            join = Act(0, Kind.JOIN, (number, *seeds))
            world.at(duration_us + 1, None, lambda join=join: self._perform(join))  # type: ignore[misc]

    def _begin_anew(self, first: int) -> None:
        if self.world.node(first) is None:
            perform_act(self.world, Act(0, Kind.CREATE, (first,)))

    def _trouble(self, node: int, kind: BlockKind, duration_us: int) -> None:
        disk = self.world.disks[node]
        slow = kind is BlockKind.SLOW

        def change(by: int) -> None:
            if slow:
                disk.slow += by
            else:
                disk.full += by

        change(1)
        self.world.at(duration_us, None, lambda: change(-1))

    def _damage(self, node: int, kind: BlockKind, which: int) -> None:
        world, disk = self.world, self.world.disks[node]
        held = sorted(name for name, file in disk.files.items() if file.data)
        if not held:
            return
        name = held[which % len(held)]
        if not self._plan.heedless and not world.blocks.may_lose(node, name):
            self._count("faults spared")
            return
        ref, data = disk.files[name]
        at = which % len(data)
        other = data[:at] if kind is BlockKind.TEAR else _flipped(data, at)
        disk.files[name] = File(ref, other)
        world.tell(f"    n{node}: {name} is damaged")
        world.blocks.spoils(node, name)

    # -------------------------------------------------------------- users

    def _count(self, what: str) -> None:
        self.outcome.work[what] += 1

    def _entries(self, node: int) -> list[Address]:
        addresses = self.world.addresses
        return [addresses[(node + step) % len(addresses)] for step in range(min(3, len(addresses)))]

    def _asker(self, node: int, own: bool) -> Asker | None:
        if not own:
            return Asker(self.world, -1, None)
        process = self.world.node(node)
        if process is None or process.paused_until_us > self.world.now_us:
            return None
        return process if process.ring.joined and not process.leaving else None

    def _line(self, asker: Asker, node: int, ref: BlockRef) -> Procedure[tuple[Member, ...]]:
        place = identifier_of(ref.name)
        if isinstance(asker, BlockProcess):
            return asker.ring.lookup(place)
        return lookup(place, self._entries(node))

    def _put(self, node: int, number: int, *, own: bool) -> None:
        world = self.world
        asker = self._asker(node, own)
        if asker is None:
            return
        ref, content = block(self._plan.seed, number, own)
        world.blocks.story(ref, content)

        def stored(answer: Stored | None, error: ClusterError | None) -> None:
            self._count("puts refused" if answer is None else "puts acknowledged")
            world.tell(f"put {ref.name}: {error or answer}")
            if answer is not None:
                world.blocks.acknowledged(ref.name, answer)

        user = User(content, asker if isinstance(asker, BlockProcess) else None)
        drive(asker, self._store(asker, node, ref), user, stored)

    def _store(self, asker: Asker, node: int, ref: BlockRef) -> BlockProcedure[Stored]:
        line = yield from self._line(asker, node, ref)
        result: Stored = yield from self.world.mutant.store(
            ref, line, replicas=self.world.replicas, me=asker.sender, piece_bytes=PIECE_BYTES
        )
        return result

    def _read(self, node: int, number: int, *, own: bool, failed: list[str] | None = None) -> None:
        world = self.world
        asker = self._asker(node, own)
        story = next((s for n, s in world.blocks.stories.items() if _number(n) == number), None)
        if asker is None or story is None:
            return
        ref = story.ref
        user = User(b"", asker if isinstance(asker, BlockProcess) else None)

        def got(_: None, error: ClusterError | None) -> None:
            self._count("reads failed" if error else "reads done")
            world.tell(f"read {ref.name}: {error or user.data!r}")
            if error is None:
                world.blocks.read(ref.name, user.data)
            elif failed is not None:
                failed.append(str(error))

        drive(asker, self._get(asker, node, ref), user, got)

    def _get(self, asker: Asker, node: int, ref: BlockRef) -> BlockProcedure[None]:
        if asker.sender is not None and (yield from read_own(ref, asker.sender)):
            return
        line = yield from self._line(asker, node, ref)
        yield from self.world.mutant.read(ref, line, piece_bytes=PIECE_BYTES)

    def _end_job(self, node: int, job_id: str, blocks: bool) -> None:
        self.world.blocks.job_ends(job_id, blocks)

        def told(count: int | None, error: ClusterError | None) -> None:
            self.world.tell(f"end of {job_id}: {count} told, {error}")

        client = Asker(self.world, -1, None)
        drive(client, _tell_end(self._entries(node), job_id, blocks), User(), told)

    # -------------------------------------------------------------- the end

    def _after_quiet(self) -> None:
        """Nothing happens any more, and whoever has a disk with blocks is started again."""
        world, outcome = self.world, self.outcome
        self._start_all()
        wrong: list[str] = []
        for waited_s in range(QUIET_S_MAX):
            outcome.quiet_s = waited_s
            wrong = world.judge.after_quiet() or world.blocks.flaws()
            if not wrong:
                break
            if waited_s == REFUSES_S and self._refuses():
                outcome.restarted = True
                self._go_dark(min(world.lasting, default=0), 1)
            self._start_all()
            world.run_until(world.now_us + SECOND_US)
        else:
            raise Violation(f"not in order after {QUIET_S_MAX} s of quiet: " + "; ".join(wrong[:8]))
        self._read_all()

    def _refuses(self) -> bool:
        """Whether too few are left to go on by themselves."""
        return not any(process.ring.serves for process in self.world.nodes())

    def _start_all(self) -> None:
        seeds = tuple(range(self._plan.nodes))
        for process in self.world.nodes():
            process.seeds = tuple(self.world.addresses)
        for number in range(self._plan.nodes):
            if number in self.world.lasting and self.world.node(number) is None:
                self._perform(Act(0, Kind.JOIN, (number, *seeds)))

    def _read_all(self) -> None:
        """Every acknowledged block can be read, wherever one asks."""
        world = self.world
        numbers = [process.number for process in world.nodes() if process.ring.joined]
        failed: list[str] = []
        for place, story in enumerate(world.blocks.readable()):
            node, own = numbers[place % len(numbers)], place % 2 == 1
            self._read(node, _number(story.ref.name), own=own, failed=failed)
        world.run_until(world.now_us + 5 * SECOND_US)
        world.blocks.require(not failed, f"after quiet: {'; '.join(failed)}")


def block(seed: int, number: int, own: bool) -> tuple[BlockRef, bytes]:
    """The block of that number: an input of its job, or a result."""
    draws = Draws(seed, f"block {number}")
    content = bytes(draws.below(256) for _ in range(draws.within(0, BLOCK_BYTES_MAX)))
    job_id = f"job{number % JOBS}"
    name = names.input_block(job_id, number)
    if own:
        name = names.result(AttemptId(job_id, "reduce", number, 0))
    return BlockRef(name, len(content), digest_of(content)), content


def _number(name: str) -> int:
    return int(name.rpartition("/")[2].split(".")[0])


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _tell_end(entries: Sequence[Address], job_id: str, blocks: bool) -> BlockProcedure[int]:
    told = 0
    members: Any = yield from survey(entries)
    for member in members:
        try:
            yield from request(Ask(member, EndJob(job_id, blocks)), Done)
        except ClusterError:
            continue
        told += 1
    return told
