"""Which records have lost members, asked from outside.

Every node is asked which records it holds and who decides about them. Of a record, what the holder
with the highest epoch says is the latest that can be known without a majority; others may be former
members with old knowledge. A member counts as live if the node at its address answers as this very
replica. The picture is of about now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from map_reduce.core.chord.replication import majority
from map_reduce.core.identifiers import Member
from map_reduce.core.messages import Message
from map_reduce.core.messages.records import (
    ListRecords,
    RecordLine,
    RecordLines,
    Replica,
)
from map_reduce.core.procedure import Ask, Procedure
from map_reduce.core.registers.acceptor import Held
from map_reduce.errors import ClusterError, Refused

LINES_MAX = 200
"""Records in one answer: about 60 kB."""

ASKS_MAX = 1000
"""Requests to one node: enough for 200,000 records."""


class RecordsHealth(NamedTuple):
    """Of all nodes that answered.

    Attributes:
        records: how many there are, without the deleted.
        short: names of those that have a member which does not answer.
        blocked: names of those that have lost a majority: they wait until members come back.
        problems: nodes that could not be asked.
    """

    records: int
    short: tuple[str, ...]
    blocked: tuple[str, ...]
    problems: tuple[str, ...]


def answer_list(me: Replica, held: Iterable[Held], message: ListRecords) -> Message:
    """What a replica says to ListRecords."""
    lines = [
        RecordLine(one.name, one.state.epoch, one.state.configs)
        for one in held
        if one.state is not None and not one.state.deleted and one.name > message.after
    ]
    lines.sort(key=lambda line: line.name)
    return RecordLines(me, tuple(lines[:LINES_MAX]), len(lines) > LINES_MAX)


def records_health(members: Sequence[Member]) -> Procedure[RecordsHealth]:
    """Ask all of ``members``. Who does not answer counts as gone."""
    live: set[Replica] = set()
    latest: dict[str, RecordLine] = {}
    problems: list[str] = []
    for member in members:
        try:
            replica, lines = yield from _lines_of(member)
        except ClusterError as error:
            problems.append(str(error))
            continue
        live.add(replica)
        for line in lines:
            if line.name not in latest or latest[line.name].epoch < line.epoch:
                latest[line.name] = line
    short, blocked = [], []
    for name, line in sorted(latest.items()):
        here = [sum(replica in live for replica in config) for config in line.configs]
        sizes = [len(config) for config in line.configs]
        if here != sizes:
            short.append(name)
        if any(count < majority(size) for count, size in zip(here, sizes, strict=True)):
            blocked.append(name)
    return RecordsHealth(len(latest), tuple(short), tuple(blocked), tuple(problems))


def _lines_of(member: Member) -> Procedure[tuple[Replica, list[RecordLine]]]:
    found: list[RecordLine] = []
    for _ in range(ASKS_MAX):
        reply = yield Ask(member, ListRecords(found[-1].name if found else ""))
        if not isinstance(reply, RecordLines):
            break
        found += reply.lines
        if not reply.more or not reply.lines:
            return reply.replica, found
    raise Refused(f"{member} does not say which records it holds: {reply}")
