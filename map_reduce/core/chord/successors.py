"""The successor list: the next members clockwise, nearest first.

The list is what survives mass failure: a member is cut off only if all of its list dies before
it could be refreshed. Zave's proof (arXiv 1610.01140) keeps lists at a fixed length by padding,
which needs length + 1 members from the start. Ours are *truncated*: a list ends before it would
reach its owner again, so a ring of three has lists of two, and one member can begin a ring::

    ring of a b c d, length_max 16          ring of a … z, length_max 3
    a: b c d                                a: b c d

A list is never longer than ``length_max``, is strictly clockwise ordered, and names its owner
only where the owner is alone: then it is ``(owner,)``.
"""

from __future__ import annotations

from collections.abc import Iterable

from map_reduce.core.identifiers import Member, between


def truncated(
    owner: Member, head: Member, rest: Iterable[Member], length_max: int
) -> tuple[Member, ...]:
    """``head``, then as much of ``rest`` as stays in order and short of ``owner``.

    ``rest`` is usually the list of ``head``. What comes after the first member that is out of
    order is left out: the head will tell a better list once it has one.
    """
    chain = [head]
    last = head.identifier
    end = owner.identifier
    for member in rest:
        identifier = member.identifier
        if len(chain) == length_max or identifier == end or not between(end, last, identifier):
            break
        chain.append(member)
        last = identifier
    return tuple(chain)


def goes_round(owner: Member, head: Member, rest: Iterable[Member]) -> bool:
    """Whether head and rest, in order, lead back to the owner: then they name the whole ring."""
    last = head.identifier
    for member in rest:
        if member.identifier == owner.identifier:
            return True
        if not between(owner.identifier, last, member.identifier):
            return False
        last = member.identifier
    return False
