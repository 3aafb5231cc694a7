"""A node looks after the records that it holds (the rules: ``core/registers/care.py``).

One thread. In each step it sees who of its fellow members is there, moves records off those that
are gone, and buries what was deleted a day ago. Who is there: whoever answers as the replica that
it was; a node that is in the ring and keeps silent is not counted as gone, for others may hear it.
What a step does is bounded in number and in time, so that nobody waits for long to be seen to, and
a node that shares many records with a dead one does not flood the others.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable

from map_reduce.core import names
from map_reduce.core.chord.replication import replica_group
from map_reduce.core.identifiers import Address, Member, identifier_of
from map_reduce.core.messages.records import Config, Replica
from map_reduce.core.registers.acceptor import Held
from map_reduce.core.registers.birth import Record
from map_reduce.core.registers.care import NAMES_MAX, Burials, Care, Fellows, forgettable
from map_reduce.core.registers.quorums import members_of, next_config
from map_reduce.errors import ClusterError
from map_reduce.ports import Clock
from map_reduce.runtime.own_replica import OwnReplica
from map_reduce.runtime.records import Records

log = logging.getLogger(__name__)

STEP_S_MAX = 2.0
PAUSE_S = 0.02
"""Between two records that are moved or read: at most 50 a second."""

WITHIN_S = 4.0
LEAVE_WITHIN_S = 1.0
SIGHT_S_MAX = 30.0
"""Whoever is in the ring is asked again after so long whether it is still the same replica."""

SIGHTS_MAX = 64
FORGET_INTERVAL_S = 60.0


class RecordCare:
    """See the module's text.

    Args:
        ring: the members of the ring, as last seen.
        members_max: how many members a record is to have.
        gone_after_s: how long a replica must have been away.
    """

    def __init__(
        self,
        *,
        records: Records,
        own: OwnReplica,
        ring: Callable[[], Iterable[Member]],
        clock: Clock,
        members_max: int,
        gone_after_s: float,
        dice: random.Random,
        buried_max: int = NAMES_MAX,
    ) -> None:
        self._records = records
        self._own = own
        self._ring = ring
        self._clock = clock
        self._members_max = members_max
        self._dice = dice
        self._buried_max = buried_max
        self._fellows = Fellows(clock.now_s, gone_after_s=gone_after_s)
        turn_s = min(5.0, gone_after_s / 6)
        self._care = Care(own.me, clock.now_s, dice.random, members_max=members_max, turn_s=turn_s)
        self._burials = Burials(clock.now_s, dice.random)
        self._sights: dict[Address, tuple[Member, float]] = {}  # of those in the ring
        self._stop = threading.Event()
        self._next_forget_s = clock.now_s() + FORGET_INTERVAL_S
        self.interval_s = min(2.0, gone_after_s / 6)

    # ------------------------------------------------------------------ the thread

    def step(self) -> None:
        """See to what is due. Called by one thread."""
        until_s = self._clock.now_s() + STEP_S_MAX
        everything = self._own.all_held()
        held = [one for one in everything if one.state is not None]
        self._dice.shuffle(held)
        ring = {member.address: member for member in self._ring()}
        self._look(held, ring)
        self._burials.keep(one.name for one in held)
        for one in held:
            if self._stop.is_set() or self._clock.now_s() >= until_s:
                break
            if self._care.needed(one, self._fellows.gone, len(ring)):
                self._move(one, ring)
            elif self._burials.due(one):
                self._bury(one)
        self._forget(everything)

    def stop(self) -> None:
        """Let a step that runs end soon."""
        self._stop.set()

    # ------------------------------------------------------------------ who is there

    def _look(self, held: Iterable[Held], ring: dict[Address, Member]) -> None:
        self._fellows.look()
        me, now_s = self._own.me, self._clock.now_s()
        fellows: dict[Address, Replica] = {}
        for one in held:
            members = () if one.state is None else members_of(one.state.configs)
            if me in members:
                fellows.update((replica.address, replica) for replica in members)
        fellows.pop(me.address, None)
        self._fellows.keep([*fellows, me.address])
        self._fellows.saw(me)
        unsure = [
            replica for replica in fellows.values() if not self._is_fresh(replica, ring, now_s)
        ]
        self._dice.shuffle(unsure)
        seen = self._records.sights(unsure[:SIGHTS_MAX])
        for replica in unsure[:SIGHTS_MAX]:
            address = replica.address
            if (is_now := seen.get(replica)) is not None:
                self._fellows.saw(is_now)
                if address in ring:
                    self._sights[address] = ring[address], now_s
            elif address not in ring or replica in seen:  # away, or it keeps no records
                self._fellows.missed(address)
        self._sights = {a: sight for a, sight in self._sights.items() if a in fellows}

    def _is_fresh(self, replica: Replica, ring: dict[Address, Member], now_s: float) -> bool:
        member, seen_s = self._sights.get(replica.address, (None, 0.0))
        return (
            member is not None
            and ring.get(replica.address) == member
            and now_s - seen_s < SIGHT_S_MAX
        )

    # ------------------------------------------------------------------ moving

    def _move(self, held: Held, ring: dict[Address, Member]) -> None:
        try:
            candidates = self._candidates(held, ring)
        except ClusterError as error:
            log.info("nobody knows where record %s belongs: %s", held.name, error)
            return
        members = self._care.wanted(held, self._fellows.gone, candidates)
        if members is None:
            return
        if self._reconfigure(held, members):
            self._care.moved(held.name)
        else:
            self._care.failed(held.name)

    def _candidates(self, held: Held, ring: dict[Address, Member]) -> Config:
        """Replicas that are there, from the record's place on the ring on."""
        assert held.state is not None
        line = self._records.locate(identifier_of(names.job_of(held.name)))
        wanted = self._members_max + len(members_of(held.state.configs))
        members = tuple(
            member
            for member in replica_group(line, wanted)
            if ring.get(member.address) == member and member.address != self._own.me.address
        )
        replicas = self._records.replicas_of(members)
        found = [replicas[member] for member in members if member in replicas]
        there = self._records.sights(found)  # the others are on their way out
        return tuple(replica for replica in found if there.get(replica) == replica)

    def _reconfigure(self, held: Held, members: Config) -> bool:
        assert held.state is not None
        record = Record(held.name, held.state.born)
        within_s = LEAVE_WITHIN_S if self._own.leaving else WITHIN_S
        try:
            self._records.reconfigure(record, members, within_s=within_s)
        except ClusterError as error:
            log.info("record %s was not moved: %s", held.name, error)
            return False
        finally:
            self._stop.wait(PAUSE_S)
        log.info("record %s is decided by %s now", held.name, ", ".join(map(str, members)))
        return True

    def leave(self, within_s: float) -> None:
        """Move what this node is a member of to others, as far as there is time and anybody.

        To be called after the last step. From now on nobody else chooses this node as a member.
        """
        self._own.leaving = True
        until_s = self._clock.now_s() + within_s
        ring = {member.address: member for member in self._ring()}
        for held in self._own.all_held():
            state, me = held.state, self._own.me
            if state is None or state.deleted or me not in state.configs[-1]:
                continue
            if self._clock.now_s() >= until_s:
                log.warning("this node leaves as a member of records that nobody took over")
                return
            try:
                candidates = self._candidates(held, ring)
            except ClusterError as error:
                log.info("nobody knows where record %s belongs: %s", held.name, error)
                continue
            members = next_config(state.configs[-1], [me], candidates, self._members_max)
            if me not in members and not self._reconfigure(held, members):
                return  # the others are leaving too, or there is no majority to ask

    # ------------------------------------------------------------------ burying

    def _bury(self, held: Held) -> None:
        assert held.state is not None
        try:
            record = Record(held.name, held.state.born)
            state = self._records.read(record, within_s=WITHIN_S)
        except ClusterError as error:
            log.info("record %s could not be looked after: %s", held.name, error)
        else:
            if state.deleted:
                self._own.bury(held.name, int(time.time()))
                self._records.forget(record)
        self._stop.wait(PAUSE_S)

    def _forget(self, everything: Iterable[Held]) -> None:
        if self._clock.now_s() >= self._next_forget_s:
            self._next_forget_s = self._clock.now_s() + FORGET_INTERVAL_S
            for name in forgettable(everything, int(time.time()), self._buried_max):
                self._own.forget(name)
