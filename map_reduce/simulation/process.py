"""One simulated node: what the runtime does in production, on virtual time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from map_reduce.core.chord.detector import FailureDetector
from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Account, Message
from map_reduce.core.procedure import Procedure
from map_reduce.errors import ClusterError
from map_reduce.simulation.draws import Draws
from map_reduce.simulation.plan import SECOND_US

if TYPE_CHECKING:
    from map_reduce.simulation.world import World

T = TypeVar("T")

JOIN_RETRY_US = 300_000
REUNITE_US = 30 * SECOND_US


class Certain:
    """Of a failure detector that is never wrong: evidence from others is of no use to it."""

    def tick(self) -> Collection[Member]:
        return ()

    def heard(self, member: Member) -> None: ...

    def failed(self, member: Member, *, refused: bool = False) -> None: ...

    def left(self, member: Member) -> None: ...

    def told(self, by: Member, account: Account) -> None: ...

    def refuted(self, member: Member) -> None: ...

    def abstains(self, by: Member) -> None: ...

    def missed(self) -> None: ...

    def account(self, member: Member) -> Account:
        return Account(member, None, failing=False, refused=False, ended=self.ended(member))

    def heard_s(self, member: Member) -> float | None:
        return None

    def silent_since_s(self, member: Member) -> float | None:
        return None

    def isolated(self) -> bool:
        return False

    def doubted(self) -> tuple[Member, ...]:
        return ()

    def ended(self, member: Member) -> bool:
        """Whether it is not up."""
        raise NotImplementedError

    def suspects(self, member: Member) -> bool:
        return self.ended(member)

    def dead(self, member: Member) -> bool:
        return self.ended(member)

    def living(self, members: Iterable[Member]) -> list[Member]:
        return [member for member in members if not self.dead(member)]


class Oracle(Certain):
    """Knows of a death at once: dead is who is not up."""

    def __init__(self, is_up: Callable[[Member], bool]) -> None:
        self._is_up = is_up

    def ended(self, member: Member) -> bool:
        return not self._is_up(member)

    suspects = dead = ended


class Asker:
    """Somebody who runs procedures: a client, or a process."""

    def __init__(self, world: World, number: int, sender: Member | None) -> None:
        self.world = world
        self.number = number
        self.sender = sender
        self.up = True
        self.paused_until_us = 0

    def run(
        self, procedure: Procedure[T], then: Callable[[T | None, ClusterError | None], None]
    ) -> None:
        """Drive it to its end; ``then`` gets its result or its error."""
        send, throw = procedure.send, procedure.throw

        def resume(answer: Message | ClusterError | None) -> None:
            reply = None if isinstance(answer, ClusterError) else answer
            try:
                ask = send(reply) if reply is answer else throw(answer)  # type: ignore[arg-type]
            except StopIteration as end:
                self.stepped(reply)
                then(end.value, None)
            except ClusterError as error:
                self.stepped(reply)
                then(None, error)
            else:
                self.stepped(reply)
                ask_world(self, ask, resume)

        ask_world = self.world.ask
        resume(None)

    def stepped(self, reply: Message | None) -> None:
        """Called after each atomic step."""


class Process(Asker):
    """One incarnation of a node."""

    def __init__(self, world: World, number: int, address: Address, incarnation: int) -> None:
        settings = world.settings
        me = Member(address, incarnation)
        super().__init__(world, number, me)
        self._draws = Draws(settings.seed, f"node {number}.{incarnation}")
        pause_s_max = max(2.0, 2 * (settings.interval_us + settings.timeout_us) / SECOND_US)
        detector: FailureDetector | None = Oracle(world.is_up) if settings.accurate else None
        self.ring = world.kind(
            me,
            now_s=self._clock(number),
            successors_max=settings.successors_max,
            view_max=settings.view_max,
            dead_after_s=settings.dead_after_us / SECOND_US,
            silence_s=settings.silence_us / SECOND_US,
            pause_s_max=pause_s_max,
            detector=detector,
        )
        self._pause_us_noticed = int(1.05 * pause_s_max * SECOND_US)  # by a slow clock, too
        self.rounds_at_pause = -100  # at the end of the last pause that it must notice
        self.ring.on_death = lambda member: world.judge.judged_dead(self, member)
        self.rounds = 0
        self.believed: dict[Address, tuple[int, int, bool]] = {}  # of the judge
        self.told = ""  # its place, as last told in the trace
        self.seeds: tuple[Address, ...] = ()
        self._next_reunion_us = world.now_us + REUNITE_US

    def answer(self, message: Message, reply: Callable[[Message], None]) -> None:
        """Answer, now or later, what is not the ring's."""
        raise AssertionError(f"{message} is no message of the ring")

    def _clock(self, number: int) -> Callable[[], float]:
        """Seconds on the node's own clock, which began at another time and runs at another rate."""
        settings = self.world.settings
        draws = Draws(settings.seed, f"clock {number}")
        began_us = draws.below(1000 * SECOND_US)
        drift_ppm = draws.within(-settings.drift_ppm_max, settings.drift_ppm_max)
        rate = (1 + drift_ppm / 1_000_000) / SECOND_US
        world = self.world
        return lambda: (began_us + world.now_us) * rate

    def create(self) -> None:
        self.ring.create()
        self.stepped(None)
        self._tick()

    def go_on(self) -> None:
        """Begin its rounds, at a time of its own, as a member that it is already."""
        self.stepped(None)
        self.world.at(self._draws.below(self.world.settings.interval_us), self, self._tick)

    def join(self, seeds: Sequence[Address]) -> None:
        """Join, trying again until it works."""
        self.seeds = tuple(seeds)
        self._join()

    def _join(self) -> None:
        def joined(_: None, error: ClusterError | None) -> None:
            if error is None:
                self._tick()
            else:
                self.world.at(self._jittered(JOIN_RETRY_US), self, self._join)

        self.run(self.ring.join(self.seeds), joined)

    def pause(self, duration_us: int) -> None:
        """Stand still: nothing arrives, nothing is done, no time seems to pass."""
        self.paused_until_us = max(self.paused_until_us, self.world.now_us + duration_us)
        if duration_us > self._pause_us_noticed:
            self.world.at(duration_us, None, self._went_on)

    def _went_on(self) -> None:
        self.rounds_at_pause = self.rounds

    def leave(self) -> None:
        self.run(self.ring.leave(), lambda _, __: self.left())

    def left(self) -> None:
        """It has told its neighbours, and ends."""
        self.up = False

    def stepped(self, reply: Message | None) -> None:
        if self.world.watched:
            self.world.stepped(self, reply)

    def _tick(self) -> None:
        def done(_: None, __: ClusterError | None) -> None:
            settings = self.world.settings
            interval_us = settings.interval_us if self.ring.settled else settings.interval_us // 5
            self.world.at(self._jittered(interval_us), self, self._tick)

        if self.ring.joined:
            self.run(self._round(), done)

    def _round(self) -> Procedure[None]:
        self.rounds += 1
        self.world.judge.view_is(self)
        yield from self.ring.stabilize()
        yield from self.ring.probe()
        yield from self.ring.fix_finger()
        if self.world.now_us >= self._next_reunion_us:
            self._next_reunion_us = self.world.now_us + REUNITE_US
            yield from self.ring.reunite()

    def _jittered(self, interval_us: int) -> int:
        return self._draws.within(interval_us * 4 // 5, interval_us * 6 // 5)
