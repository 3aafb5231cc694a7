"""Keeping in touch: pings, gossip, and asking others about those who do not answer.

One round of :meth:`InTouch.probe`, besides what stabilize asks of the successor::

    ping      the predecessor; suspects that others asked about; while the successor is suspected,
              the next ones of the list, so that all the dead of a mass failure are found together
    gossip    with one of the view in turn, with more while there is fresh news (``view.py``)
    inquire   of those next to each suspect on the ring: when did you hear of it? (``detector.py``)

The witnesses are the same for all who ask about one suspect. So only a few ping it, and they soon
know. They are asked as long as the suspicion lasts.
"""

from __future__ import annotations

from itertools import islice

from map_reduce.core.chord.state import RingState
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import (
    Accounts,
    GetNeighbours,
    Gossip,
    Gossiped,
    HeardOf,
    Message,
    Neighbours,
    Ping,
    Pong,
)
from map_reduce.core.procedure import Ask, Procedure, T
from map_reduce.errors import ClusterError, NotListening

PROBES_MAX = 3
"""Successors, and suspects of others, that one round pings."""

PARTNERS_MAX = 3
"""Members that one round gossips with while there is fresh news."""

WITNESSES = 3
"""Members that are asked about one suspect in a round (SWIM's k)."""

SUSPECTS_MAX = 8
"""Suspects that a round asks about."""

INQUIRIES_MAX = 6
"""Members that a round asks about suspects, in all."""


_NAMES_ITSELF = (Pong, Neighbours)
"""Answers with the member that gave them."""


class InTouch(RingState):
    """What a member asks of its own accord, but for its place. See :class:`RingMember`."""

    _suspect_turn = 0

    def probe(self) -> Procedure[None]:
        """One round of keeping in touch."""
        if not self.joined:
            return
        asked_about = list(self._asked_about)[:PROBES_MAX]
        for peer in asked_about:
            del self._asked_about[peer]
        wanted = [self.predecessor] if self.predecessor else []
        for peer in [*wanted, *asked_about]:
            yield from self._ping_once(peer)
        for peer in self.successors[:PROBES_MAX]:
            if not self.suspects(peer):
                break
            yield from self._ping_once(peer)
        yield from self._gossip()
        yield from self._inquire()

    def _ping_once(self, peer: Member) -> Procedure[None]:
        """Not again in a round in which it did not answer: each time costs a timeout."""
        if peer not in self._failed_this_round:
            yield from self._ping(peer)

    def _gossip(self) -> Procedure[None]:
        members = self.acquaintances.members
        for turn in range(PARTNERS_MAX):
            partner = self.acquaintances.next_partner()
            if partner is None or (turn and not members.has_fresh_news):
                return
            if partner in self._failed_this_round:
                continue
            reply = yield from self._ask(
                partner, Gossip(members.news(self._now_s()), members.digests())
            )
            if isinstance(reply, Gossiped):
                self._merge(reply.news, news=True)
                self._merge(reply.rest, news=False)

    def _inquire(self) -> Procedure[None]:
        """Ask those next to each suspect on the ring, one message for all suspects of each."""
        suspects = [member for member in self.detector.doubted() if not self.believed_dead(member)]
        if not suspects:
            return
        self._suspect_turn += 1
        turn = self._suspect_turn % len(suspects)
        at_sides = (*self.successors[:1], self.predecessor)
        suspects = sorted(
            suspects[turn:] + suspects[:turn], key=lambda member: member not in at_sides
        )
        questions: dict[Member, list[Member]] = {}
        for suspect in suspects[:SUSPECTS_MAX]:
            for witness in self._witnesses(suspect):
                questions.setdefault(witness, []).append(suspect)
        for witness in list(questions)[:INQUIRIES_MAX]:
            reply = yield from self._ask(witness, HeardOf(tuple(questions[witness])))
            if isinstance(reply, Accounts):
                for account in reply.accounts:
                    self.detector.told(witness, account)
                if len(reply.accounts) < len(questions[witness]):
                    self.detector.abstains(witness)

    def _witnesses(self, suspect: Member) -> list[Member]:
        """The nearest behind the suspect who are not suspected themselves."""
        behind = self.acquaintances.members.clockwise_from(suspect.identifier)
        able = (m for m in behind if m != suspect and not self.suspects(m))
        return list(islice(able, WITNESSES))

    # -------------------------------------------------------------- asking

    def _noting(self, procedure: Procedure[T]) -> Procedure[T]:
        """Run it, answer what it asks of me myself, and note who answered and who did not."""
        try:
            ask = next(procedure)
            while True:
                own = self.handle(ask.message) if ask.address == self.me.address else None
                try:
                    reply = own if own is not None else (yield ask)
                except ClusterError as error:
                    if isinstance(ask.peer, Member):
                        self.failed(ask.peer, error)
                    ask = procedure.throw(error)
                else:
                    if isinstance(ask.peer, Member):
                        self.heard_from(ask.peer)
                    ask = procedure.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result

    def _ask(self, peer: Member, message: Message) -> Procedure[Message | None]:
        """The reply of this very incarnation, or None; notes life and silence."""
        try:
            reply = yield Ask(peer, message)
        except ClusterError as error:
            self.failed(peer, error)
            if isinstance(message, HeardOf) and not isinstance(error, NotListening):
                self.detector.missed()  # no answer from one who seemed well: is it me?
            return None
        answered = reply.member if isinstance(reply, _NAMES_ITSELF) else peer
        self.heard_from(answered)
        if answered != peer:
            self._bury(peer)
            return None  # another incarnation: the detector now knows that this one has ended
        return reply

    def _ask_place(self, peer: Member) -> Procedure[Neighbours | None]:
        """Where the peer stands, or None if it is busy, silent or in no ring."""
        reply = yield from self._ask(peer, GetNeighbours())
        if not isinstance(reply, Neighbours):
            return None
        if not reply.successors:
            self.acquaintances.forget(peer)
            if peer in self.successors:
                self.detector.left(peer)
            return None
        self._learn([peer, *reply.successors])
        if reply.predecessor is not None:
            self._learn([reply.predecessor])
        return reply

    def _tell(self, peer: Member, message: Message) -> Procedure[None]:
        yield from self._ask(peer, message)

    def _ping(self, peer: Member) -> Procedure[bool]:
        """Whether it answers, being another than me."""
        if peer == self.me:
            return False
        reply = yield from self._ask(peer, Ping())
        return reply is not None
