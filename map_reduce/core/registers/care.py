"""When a holder of a record moves it off members that are gone, and when it buries it.

Nobody is in charge of a record. Each of its present members looks from time to time whether a
fellow member is gone, and if so replaces it by :meth:`Proposer.reconfigure`: identity write, joint
configuration, final one. Several that do so at once are safe, and waste each other's time. So they
take turns: the first member that is not gone goes first, the next one a while later, if there is
still something to do, and each waits for a random part of its turn. A change that somebody left
half done is finished in the same way.

**Gone** (:class:`Fellows`) is a replica

- whose address has answered as another replica: its memory is lost, this very moment;
- or which has not been seen for ``gone_after_s``. Seen is who answers as this replica; neither who
  is not in the ring any more, nor a node that says it keeps no records.

This is a guess, as always between computers. A wrong one costs a needless replacement: the replica
that was thought gone is then a former member with old knowledge, which harms nobody.

A record is never made smaller: where nobody new can be had, the gone stay members, and are again
when they come back. It is made larger, up to ``members_max``, as soon as there are nodes: a record
that was born on a ring of one survives its first node. It grows to odd numbers: of four members no
more may be lost than of three, and one more has to be asked.

**Burying** (:class:`Burials`). A deleted record's tombstone is about 1 kB on each member. When a
day has passed, whoever holds it makes sure that it is committed and then remembers only the name
(``acceptor.py``), which is as good as the tombstone: whoever asks is told that the record was
deleted. Former members ask from time to time about what they hold, and bury what was deleted in
their absence. Names are remembered for ``NAMES_KEPT_S``, and of more than ``NAMES_MAX`` the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from map_reduce.core.identifiers import Address
from map_reduce.core.messages.records import Config, RecordState, Replica
from map_reduce.core.registers.acceptor import Held
from map_reduce.core.registers.quorums import members_of, next_config

GONE_AFTER_S = 30.0
PAUSE_S_MAX = 10.0
TURN_S = 5.0
RETRY_S_MAX = 300.0

TOMBSTONE_KEPT_S = 24 * 3600.0
LOOK_S = 6 * 3600.0
"""How often a holder asks whether what it holds was deleted in its absence."""

NAMES_KEPT_S = 30 * 24 * 3600
NAMES_MAX = 100_000
"""Buried names remembered: about 10 MB."""

Now = Callable[[], float]


class Fellows:
    """What one node saw of the replicas that it shares records with.

    Args:
        now_s: monotonic seconds.
        pause_s_max: a longer time without any sight means that this node itself was stopped, and
            what it has not seen meanwhile counts from now on.
    """

    def __init__(
        self, now_s: Now, *, gone_after_s: float = GONE_AFTER_S, pause_s_max: float = PAUSE_S_MAX
    ) -> None:
        self._now_s = now_s
        self._gone_after_s = gone_after_s
        self._pause_s_max = pause_s_max
        self._looked_s = now_s()
        self._identities: dict[Address, int] = {}
        self._unseen_since_s: dict[Address, float] = {}

    def look(self) -> None:
        """A round of sights begins."""
        now_s = self._now_s()
        if now_s - self._looked_s > self._pause_s_max:
            self._unseen_since_s.clear()
        self._looked_s = now_s

    def saw(self, replica: Replica) -> None:
        """It answered, as this replica."""
        self._identities[replica.address] = replica.identity
        self._unseen_since_s.pop(replica.address, None)

    def missed(self, address: Address) -> None:
        """It is not in the ring, or does not answer, or keeps no records."""
        self._unseen_since_s.setdefault(address, self._now_s())

    def keep(self, addresses: Iterable[Address]) -> None:
        """Forget all others."""
        kept = set(addresses)
        for address in self._identities.keys() - kept:
            del self._identities[address]
        for address in self._unseen_since_s.keys() - kept:
            del self._unseen_since_s[address]

    def gone(self, replica: Replica) -> bool:
        if self._identities.get(replica.address, replica.identity) != replica.identity:
            return True
        since_s = self._unseen_since_s.get(replica.address)
        return since_s is not None and self._now_s() - since_s >= self._gone_after_s


def odd(members: int) -> int:
    """The largest odd number up to this one."""
    return members - 1 + members % 2


@dataclass
class _Turn:
    epoch: int
    due_s: float
    failures: int = 0


class Care:
    """Which members a record should have, and when this node is to see to it.

    Args:
        me: this node's replica.
        now_s: monotonic seconds.
        draw: evenly from 0 to 1.
        members_max: how many members a record is to have.
    """

    def __init__(
        self,
        me: Replica,
        now_s: Now,
        draw: Callable[[], float],
        *,
        members_max: int,
        turn_s: float = TURN_S,
    ) -> None:
        self._me = me
        self._now_s = now_s
        self._draw = draw
        self._members_max = members_max
        self._turn_s = turn_s
        self._turns: dict[str, _Turn] = {}

    def needed(self, held: Held, gone: Callable[[Replica], bool], nodes: int) -> bool:
        """Whether there may be something to do, with so many nodes in the ring."""
        state = held.state
        if state is None or self._me not in members_of(state.configs):
            return False
        wanted = odd(min(self._members_max, nodes))
        last = state.configs[-1]
        return len(state.configs) == 2 or len(last) < wanted or any(map(gone, last))

    def wanted(
        self, held: Held, gone: Callable[[Replica], bool], candidates: Sequence[Replica]
    ) -> Config | None:
        """The members to move it to now; None where nothing is to be done, or not yet by us.

        ``candidates``: live replicas, those that are to be members first.
        """
        state = held.state
        assert state is not None
        last = state.configs[-1]
        lost = [replica for replica in last if gone(replica)]
        target = next_config(last, lost, candidates, self._members_max)
        if len(target) > len(last):
            target = target[: max(len(last), odd(len(target)))]
        if len(state.configs) == 1 and set(target) == set(last):
            self._turns.pop(held.name, None)
            return None
        turn = self._turns.get(held.name)
        if turn is None or turn.epoch != state.epoch:  # first seen, or somebody is at it
            wait_s = self._turn_s * (self._place(state, gone) + self._draw())
            turn = self._turns[held.name] = _Turn(state.epoch, self._now_s() + wait_s)
        return target if self._now_s() >= turn.due_s else None

    def moved(self, name: str) -> None:
        """It was done."""
        self._turns.pop(name, None)

    def failed(self, name: str) -> None:
        """It could not be done: later again, and later and later."""
        turn = self._turns.get(name)
        if turn is not None:
            turn.failures += 1
            wait_s = min(self._turn_s * 2.0 ** min(turn.failures, 20), RETRY_S_MAX)
            turn.due_s = self._now_s() + wait_s * (0.5 + self._draw())

    def _place(self, state: RecordState, gone: Callable[[Replica], bool]) -> int:
        """How many members come before this one."""
        present = [replica for replica in members_of(state.configs) if not gone(replica)]
        return present.index(self._me) if self._me in present else len(present)


class Burials:
    """Which records this node should look after because they are deleted, or may be.

    Args:
        now_s: monotonic seconds.
        draw: evenly from 0 to 1.
    """

    def __init__(self, now_s: Now, draw: Callable[[], float]) -> None:
        self._now_s = now_s
        self._draw = draw
        self._due_s: dict[str, tuple[bool, float]] = {}

    def due(self, held: Held) -> bool:
        """Whether to read it now: it is to be buried if what is committed is a tombstone."""
        if held.state is None:
            return False
        now_s, deleted = self._now_s(), held.state.deleted
        noted = self._due_s.get(held.name)
        if noted is None or noted[0] != deleted:
            wait_s = TOMBSTONE_KEPT_S if deleted else LOOK_S * self._draw()
            self._due_s[held.name] = deleted, now_s + wait_s
            return False
        if now_s < noted[1]:
            return False
        self._due_s[held.name] = deleted, now_s + LOOK_S * (0.5 + self._draw())
        return True

    def keep(self, names: Iterable[str]) -> None:
        """Forget all others."""
        for name in self._due_s.keys() - set(names):
            del self._due_s[name]


def forgettable(all_held: Iterable[Held], now_s: int, names_max: int = NAMES_MAX) -> list[str]:
    """Of the buried names, those that need not be remembered any longer.

    ``now_s``: seconds since 1970, for they outlive restarts.
    """
    buried = sorted(
        ((held.buried_s, held.name) for held in all_held if held.buried_s), reverse=True
    )
    return [
        name
        for place, (buried_s, name) in enumerate(buried)
        if place >= names_max or now_s - buried_s > NAMES_KEPT_S
    ]
