"""What a member holds without being in its replica group, and what it holds when it leaves.

For every arc of the ring that it holds blocks of, the member asks the arc's owner itself who comes
behind it: nobody knows the group better. Then it asks the members of the group which of the blocks
they lack::

    strays    the owner lacks it           send it there; the owner gives it to its group
              somebody else lacks it       the owner's business; keep it until then
              all of a full group have it  delete it

    leaving   the group is the first that answer, without me; whoever of them lacks a block is
              sent it, the blocks with the fewest other copies first

A group that is not full, for the owner's list is in the making, or one of whose members does not
answer, confirms nothing.

While members disagree on who is in the ring, each of two may count on the other's copy, and with
some more of them no copy would be left. So whoever wants to delete some first marks them as
*surplus*, and only then asks; and a member that is asked names those of the blocks that it has
marked itself, which count as missing. Of all who ever deleted a copy of a block, let Z be the one
who marked it last. The group that told Z to have it answered after that, and none of them had
marked theirs; nor did any later, for Z was the last. So the whole group of Z still has it:
**no surplus copy is deleted without as many others being left as a full group has**, whatever
anybody believes about the ring. (Dekker's flags, with members for processes.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import NamedTuple

from map_reduce.core.chord.lookup import lookup
from map_reduce.core.chord.replication import replica_group
from map_reduce.core.identifiers import Member, in_arc
from map_reduce.core.messages import (
    BlockRef,
    EndedJob,
    FindSuccessor,
    Message,
    MissingBlocks,
    Route,
    WhichMissing,
    identifier_bytes,
)
from map_reduce.core.procedure import Ask, Procedure
from map_reduce.core.repair.arc import Send
from map_reduce.core.repair.deletions import Deletions
from map_reduce.core.repair.inventory import Arc, Inventory
from map_reduce.errors import ClusterError, ProtocolError, Refused

ASKED_MAX = 256
"""Blocks asked for in one request: about 30 kB."""


class Missing(NamedTuple):
    """What a member says of some blocks.

    Attributes:
        refs: those that it lacks and would take.
        different: those that it can't take, since it has other bytes under their name.
        surplus: those that it has, and may delete.
        ended: jobs of theirs that it knows as deleted.
    """

    refs: frozenset[BlockRef]
    different: frozenset[BlockRef]
    surplus: frozenset[BlockRef]
    ended: tuple[EndedJob, ...]

    @property
    def uncounted(self) -> frozenset[BlockRef]:
        """Those of which it has no copy that will stay."""
        return self.refs | self.different | self.surplus


class StrayPlan(NamedTuple):
    """What is to be done.

    Attributes:
        ended: deleted jobs of which blocks are here: delete those, too.
        discards: blocks that this member need not keep.
        sends: blocks to offer to others, most urgent first.
        problems: why this is not all; empty means that nothing is left to be done after it.
    """

    ended: tuple[EndedJob, ...]
    discards: tuple[BlockRef, ...]
    sends: tuple[Send, ...]
    problems: tuple[str, ...]


class LeavePlan(NamedTuple):
    """What is to be done before leaving.

    Attributes:
        ended, sends: as of a StrayPlan.
        waiting_helps: whether anybody said what it lacks, or nobody was known that could be asked,
            which passes when the ring has settled; if not, waiting for the others is no use.
        problems: why this is not all.
    """

    ended: tuple[EndedJob, ...]
    sends: tuple[Send, ...]
    waiting_helps: bool
    problems: tuple[str, ...]


class _Holding(NamedTuple):
    """The blocks held of one arc, and its owner with the owner's successors."""

    refs: tuple[BlockRef, ...]
    line: tuple[Member, ...]


def answer_missing(
    inventory: Inventory, deletions: Deletions, surplus: Collection[str], message: WhichMissing
) -> MissingBlocks:
    """What a member says to WhichMissing, at once. It does not lack what it was told to delete.

    Args:
        surplus: names of the blocks that it has marked.
    """
    missing, different, marked = [], [], []
    for number, ref in enumerate(message.refs):
        held = inventory.named(ref.name)
        if held is not None and held != ref:
            different.append(number)
        elif held is None and deletions.of(ref.name) is None:
            missing.append(number)
        elif held is not None and ref.name in surplus:
            marked.append(number)
    ended = deletions.among(message.refs)
    return MissingBlocks(tuple(missing), tuple(different), tuple(marked), ended)


def missing_at(peer: Member, refs: Sequence[BlockRef]) -> Procedure[Missing]:
    """Which of ``refs`` the peer lacks.

    Raises:
        ClusterError: it does not answer, or won't.
    """
    missing: set[BlockRef] = set()
    different: set[BlockRef] = set()
    surplus: set[BlockRef] = set()
    ended: dict[EndedJob, None] = {}
    for first in range(0, len(refs), ASKED_MAX):
        batch = refs[first : first + ASKED_MAX]
        reply: Message = yield Ask(peer, WhichMissing(tuple(batch)))
        if not isinstance(reply, MissingBlocks):
            raise Refused(f"{peer} does not say which blocks it has: {reply}")
        numbers = (*reply.missing, *reply.different, *reply.surplus)
        if any(not 0 <= number < len(batch) for number in numbers):
            raise ProtocolError(f"{peer} lacks blocks that it was not asked for")
        missing.update(batch[number] for number in reply.missing)
        different.update(batch[number] for number in reply.different)
        surplus.update(batch[number] for number in reply.surplus)
        ended.update(dict.fromkeys(reply.ended))
    return Missing(frozenset(missing), frozenset(different), frozenset(surplus), tuple(ended))


def plan_strays(
    me: Member,
    inventory: Inventory,
    deletions: Deletions,
    surplus: set[str],
    *,
    replicas: int,
) -> Procedure[StrayPlan]:
    """What to do about blocks that are here and belong elsewhere, or nowhere.

    Args:
        surplus: names of the blocks marked by this member, as it answers them to others; those of
            the plan's discards are in it at the end, and are to be until they are deleted.
    """
    everything = inventory.refs(Arc(me.identifier, me.identifier))
    ended = dict.fromkeys(deletions.among(everything))  # blocks that came after their job's end
    discards: list[BlockRef] = []
    sends: list[Send] = []
    problems: list[str] = []
    for refs, line in (yield from _holdings(me, inventory, problems)):
        group = replica_group(line, replicas)
        if me in group:
            continue
        confirmed = set(refs) if len(group) == replicas else set()
        surplus.update(ref.name for ref in confirmed)
        for peer in group:
            try:
                missing = yield from missing_at(peer, refs)
            except ClusterError as error:
                problems.append(str(error))
                confirmed.clear()
                continue
            ended.update(dict.fromkeys(missing.ended))
            confirmed -= missing.uncounted
            if peer == group[0]:
                sends += [Send(ref, peer) for ref in refs if ref in missing.refs]
        discards += [ref for ref in refs if ref in confirmed]
        surplus.difference_update(ref.name for ref in refs if ref not in confirmed)
        if len(confirmed) < len(refs):
            kept = len(refs) - len(confirmed)
            problems.append(f"{kept} blocks are kept until all nodes of their group have them")
    return StrayPlan(tuple(ended), tuple(discards), tuple(sends), tuple(problems))


def plan_leave(me: Member, inventory: Inventory, *, replicas: int) -> Procedure[LeavePlan]:
    """What to send to whom, so that nobody misses this member."""
    ended: dict[EndedJob, None] = {}
    anybody = False
    ranked: list[tuple[int, Send]] = []
    problems: list[str] = []
    for refs, line in (yield from _holdings(me, inventory, problems)):
        holders = dict.fromkeys(refs, 0)
        lacking: list[Send] = []
        answered = 0
        others = [member for member in line if member != me]
        if not others:
            anybody = True
            problems.append(f"no other node is known that could take {len(refs)} blocks")
        for peer in replica_group(others, len(line)):
            if answered == replicas:
                break
            try:
                missing = yield from missing_at(peer, refs)
            except ClusterError as error:
                problems.append(str(error))
                continue
            answered += 1
            anybody = True
            ended.update(dict.fromkeys(missing.ended))
            lacking += [Send(ref, peer) for ref in refs if ref in missing.refs]
            for ref in refs:
                holders[ref] += ref not in missing.uncounted
        ranked += [(holders[send.ref], send) for send in lacking]
    ranked.sort(key=lambda each: each[0])
    sends = tuple(send for _, send in ranked)
    return LeavePlan(tuple(ended), sends, anybody, tuple(problems))


def _holdings(me: Member, inventory: Inventory, problems: list[str]) -> Procedure[list[_Holding]]:
    """What ``inventory`` has of each arc, clockwise; notes in ``problems`` what went wrong."""
    found = []
    waiting = deque(inventory.clockwise(me.identifier))
    while waiting:
        place = waiting[0][0]
        try:
            owner = (yield from lookup(place, [me]))[0]
        except ClusterError as error:
            problems.append(str(error))
            break  # whoever can't find one owner won't find the next
        line: tuple[Member, ...] = ()
        try:
            route = yield Ask(owner, FindSuccessor(identifier_bytes(place)))
        except ClusterError as error:
            problems.append(str(error))
        else:
            if isinstance(route, Route) and route.owns and route.members[:1] == (owner,):
                line = route.members
            else:
                problems.append(f"{owner} has no settled place in the ring yet")
        refs = [waiting.popleft()[1]]
        while waiting and in_arc(place, waiting[0][0], owner.identifier):
            refs.append(waiting.popleft()[1])
        if line:
            found.append(_Holding(tuple(refs), line))
    return found
