"""When a job that was submitted can be lost no more.

A job's record is born without a message, so at first nobody holds it but by name. Those who hold
a record move it off members that are gone; one that was never written nobody moves. If a majority
of the members that the birth certificate names dies, or loses its memory, before the job's first
master has written there, nobody ever can.

So a submission ends when the record was written: the master says in which epoch it is master, and
it is master of epoch 1 once a majority has accepted that. That takes a millisecond and runs beside
the job; it answers then, if it may hold its answer for so long. Where it takes longer, the client
looks at the members itself.
"""

from __future__ import annotations

import logging
import time

from map_reduce.client.asking import JobSource
from map_reduce.core.identifiers import Member
from map_reduce.core.messages.records import Replica
from map_reduce.core.registers.birth import Birth, Record
from map_reduce.core.registers.quorums import may_become_quorum
from map_reduce.errors import ClusterError
from map_reduce.server.access import Access, Hearing

log = logging.getLogger(__name__)

ACCEPT_S_MAX = 60.0
"""How long a master is waited for while a majority of the record's members is there."""

POLL_S = 0.0005
POLL_S_MAX = 0.25
"""From so long a wait on, the record and its members are looked at."""

READ_S_MAX = 2.0


def await_acceptance(access: Access, birth: Birth, owner: Member | None) -> bool:
    """Wait until a job's record was written.

    Args:
        owner: who is believed to have taken the job.

    Returns:
        False where that cannot happen any more, for a majority of its first members is gone.

    Raises:
        ClusterError: neither was the case for 60 seconds.
    """
    give_up_s = time.monotonic() + ACCEPT_S_MAX
    source = JobSource(access, birth.name, owner)
    with access.hearing(birth.name) as hearing:
        return _await(access, birth, source, hearing, give_up_s)


def _await(
    access: Access, birth: Birth, source: JobSource, hearing: Hearing, give_up_s: float
) -> bool:
    wait_s = POLL_S
    while True:
        hold_s = hearing.listen(POLL_S_MAX)
        if _has_master(source, hold_s):
            return True
        if hearing.was_held:
            wait_s = POLL_S_MAX
        if wait_s >= POLL_S_MAX:
            if _is_written(access, birth.record()):
                return True
            gone = gone_members(access, birth)
            if not may_become_quorum(gone, (birth.members,)):
                log.warning("job %s: %s are gone before it began", birth.name, _listed(gone))
                return False
            if time.monotonic() >= give_up_s:
                raise ClusterError(
                    f"job {birth.name} was not begun within {ACCEPT_S_MAX:g} s: no node could "
                    f"write its record, which is kept by {_listed(birth.members)}; see with "
                    "`map-reduce ring` whether these nodes are well, and submit the job again"
                )
        hearing.pause(wait_s, POLL_S_MAX)
        wait_s = min(2 * wait_s, POLL_S_MAX)


def gone_members(access: Access, birth: Birth) -> tuple[Replica, ...]:
    """The first members that answer as another replica, or keep silent and left the ring."""
    sights = access.records.sights(birth.members)
    silent = [member for member in birth.members if member not in sights]
    listed = {member.address for member in access.members()} if silent else set()
    return tuple(
        member
        for member in birth.members
        if (member not in sights and member.address not in listed)
        or sights.get(member, member) not in (member, None)
    )


def _has_master(source: JobSource, hold_s: float) -> bool:
    try:
        return source.status(hold_s=hold_s, begun=False).epoch > 0
    except ClusterError as error:  # those that should know it are not there now, or not yet told
        log.info("not accepted yet: %s", error)
        return False


def _is_written(access: Access, record: Record) -> bool:
    try:
        state = access.records.read(record, within_s=READ_S_MAX)
    except ClusterError as error:
        log.info("not accepted yet: %s", error)
        return False
    return state.deleted or state.version > 0


def _listed(members: tuple[Replica, ...]) -> str:
    return ", ".join(str(member.address) for member in members)
