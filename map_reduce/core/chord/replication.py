"""Which members hold the copies.

The replica group of a key is its owner and the next distinct successors (Dabek et al., CFS, SOSP
2001, section 4.1): all members, where the ring is smaller than the group. It says where to *put*
and where to *look*; it is no quorum of a mutable record, for one shift of the ring makes two
groups whose majorities do not meet.
"""

from __future__ import annotations

from collections.abc import Sequence

from map_reduce.core.identifiers import Member


def replica_group(route: Sequence[Member], replicas: int) -> tuple[Member, ...]:
    """The first ``replicas`` distinct nodes of a lookup's answer, the owner first."""
    group = {member.address: member for member in reversed(route)}
    distinct = [member for member in route if group[member.address] is member]
    return tuple(distinct[:replicas])


def majority(members: int) -> int:
    """How many of so many are more than half."""
    return members // 2 + 1
