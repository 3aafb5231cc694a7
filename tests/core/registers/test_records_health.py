"""Which records have lost members, against what is known to be so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.messages import Message
from map_reduce.core.messages.records import (
    NO_BALLOT,
    Ballot,
    ListRecords,
    RecordLines,
    RecordState,
    Replica,
)
from map_reduce.core.procedure import Ask, perform
from map_reduce.core.registers import health as module
from map_reduce.core.registers.acceptor import Held
from map_reduce.core.registers.health import answer_list, records_health
from map_reduce.errors import Unreachable

MEMBERS = [Member(Address("n", port), 1) for port in range(1, 8)]
REPLICAS = [Replica(member.address, 1) for member in MEMBERS]


def held(name, *configs, epoch=0, deleted=False):
    state = RecordState(b"", tuple(configs), epoch, 1, (), deleted)
    return Held(name, NO_BALLOT, Ballot(0, 1, MEMBERS[0]), state)


class Nodes:
    """Replicas by node; who is ``dead`` does not answer, ``renewed`` with another identity."""

    def __init__(self):
        self.held = {member: [] for member in MEMBERS}
        self.dead = set()
        self.renewed = set()
        self.asked = 0

    def keep(self, record, *nodes):
        for node in nodes:
            self.held[MEMBERS[node]].append(record)

    def ask(self, ask: Ask) -> Message:
        self.asked += 1
        member = ask.peer
        if member in self.dead:
            raise Unreachable(f"{member} does not answer")
        assert isinstance(ask.message, ListRecords)
        me = Replica(member.address, 2 if member in self.renewed else 1)
        return answer_list(me, self.held[member], ask.message)

    def health(self):
        return perform(records_health(MEMBERS), self.ask)


def test_all_is_well():
    nodes = Nodes()
    nodes.keep(held("a", tuple(REPLICAS[:5])), 0, 1, 2)
    nodes.keep(held("gone", tuple(REPLICAS[:5]), deleted=True), 0, 1, 2)
    assert nodes.health() == (1, (), (), ())
    assert nodes.asked == len(MEMBERS)


def test_a_dead_or_renewed_member_is_missing_and_three_of_five_block():
    nodes = Nodes()
    nodes.keep(held("a", tuple(REPLICAS[:5])), 3, 4)
    nodes.dead = {MEMBERS[0]}
    assert nodes.health()[1:3] == (("a",), ())
    nodes.renewed = {MEMBERS[1], MEMBERS[2]}
    assert nodes.health()[1:3] == (("a",), ("a",))
    assert len(nodes.health().problems) == 1


def test_who_knows_the_highest_epoch_is_believed():
    nodes = Nodes()
    nodes.keep(held("a", tuple(REPLICAS[:3])), 0, 1, 2)
    nodes.keep(held("a", tuple(REPLICAS[4:7]), epoch=2), 4)
    nodes.renewed = {MEMBERS[0]}
    assert nodes.health()[1:3] == ((), ())


def test_of_two_configurations_each_needs_its_majority():
    nodes = Nodes()
    nodes.keep(held("a", tuple(REPLICAS[:5]), tuple(REPLICAS[4:7]), epoch=1), 4)
    nodes.renewed = {MEMBERS[5], MEMBERS[6]}
    assert nodes.health()[2] == ("a",)


@given(st.sets(st.text("ab", min_size=1, max_size=5), max_size=20), st.integers(1, 4))
def test_lists_come_whole_in_parts_of_any_size(names, size):
    records = [held(name, tuple(REPLICAS[:1])) for name in names]
    found, after = [], ""
    limit, module.LINES_MAX = module.LINES_MAX, size
    try:
        while True:
            reply = answer_list(REPLICAS[0], records, ListRecords(after))
            assert isinstance(reply, RecordLines)
            assert len(reply.lines) <= size
            found += [line.name for line in reply.lines]
            if not reply.more:
                break
            after = found[-1]
    finally:
        module.LINES_MAX = limit
    assert found == sorted(names)
