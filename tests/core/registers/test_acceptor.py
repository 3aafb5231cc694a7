"""What a replica answers, and in which order it wants it carried out."""

import pytest
from register_cluster import member, replica

from map_reduce.core.messages import No, Ping
from map_reduce.core.messages.records import (
    NO_BALLOT,
    AcceptRecord,
    Ballot,
    GetRecord,
    PrepareRecord,
    RecordAccepted,
    RecordConflict,
    RecordHeld,
    RecordState,
)
from map_reduce.core.registers.acceptor import Acceptor, Held, Persist, Reply

ME = replica(1, identity=77)
STATE = RecordState(b"value", ((ME,),), 0, 1, ())


def ballot(number, epoch=0, of=1):
    return Ballot(epoch, number, member(of))


@pytest.fixture
def acceptor():
    return Acceptor(ME)


def prepare(number, **options):
    return PrepareRecord("r", ME.identity, ballot(number, **options))


def accept(number, state=STATE):
    return AcceptRecord("r", ME.identity, ballot(number), state)


def test_a_promise_is_persisted_before_it_is_given(acceptor):
    held = Held("r", ballot(1))
    assert acceptor.handle(prepare(1)) == (Persist(held), Reply(RecordHeld(NO_BALLOT, None)))


def test_what_is_accepted_is_persisted_before_it_is_said(acceptor):
    held = Held("r", ballot(2), ballot(2), STATE)
    assert acceptor.handle(accept(2)) == (Persist(held), Reply(RecordAccepted()))


def test_lower_ballots_are_refused_and_nothing_is_written(acceptor):
    acceptor.handle(prepare(5))
    conflict = (Reply(RecordConflict(ballot(5))),)
    assert acceptor.handle(prepare(4)) == conflict
    assert acceptor.handle(accept(4)) == conflict
    acceptor.handle(accept(6))
    assert acceptor.handle(prepare(5)) == (Reply(RecordConflict(ballot(6))),)


def test_the_epoch_counts_more_than_the_number_and_the_proposer_last(acceptor):
    acceptor.handle(prepare(1, epoch=1, of=2))
    assert isinstance(acceptor.handle(prepare(99))[-1].message, RecordConflict)
    assert isinstance(acceptor.handle(prepare(1, epoch=1))[-1].message, RecordConflict)
    assert isinstance(acceptor.handle(prepare(1, epoch=1, of=3))[-1].message, RecordHeld)


def test_repetitions_are_answered_again_and_not_written_again(acceptor):
    first = acceptor.handle(prepare(1))
    assert acceptor.handle(prepare(1)) == first[1:]
    first = acceptor.handle(accept(1))
    assert acceptor.handle(accept(1)) == first[1:]


def test_a_promise_tells_what_was_accepted(acceptor):
    acceptor.handle(accept(1))
    told = RecordHeld(ballot(1), STATE)
    assert acceptor.handle(prepare(2))[-1] == Reply(told)
    assert acceptor.handle(GetRecord("r", ME.identity)) == (Reply(told),)


def test_looking_promises_nothing(acceptor):
    assert acceptor.handle(GetRecord("r", ME.identity)) == (Reply(RecordHeld(NO_BALLOT, None)),)
    assert acceptor.held("r") == Held("r")


def test_records_are_apart(acceptor):
    acceptor.handle(prepare(9))
    other = PrepareRecord("other", ME.identity, ballot(1))
    assert isinstance(acceptor.handle(other)[-1].message, RecordHeld)


@pytest.mark.parametrize("request_of", [prepare, accept])
def test_another_identity_never_answers(acceptor, request_of):
    old = type(request_of(1))("r", 76, *list(_fields(request_of(1)))[2:])
    (reply,) = acceptor.handle(old)
    assert isinstance(reply.message, No)
    assert acceptor.held("r") == Held("r")


def _fields(message):
    return (getattr(message, name) for name in message.__struct_fields__)


def test_it_goes_on_from_what_was_on_disk(acceptor):
    *_, persist = [e for m in (prepare(3), accept(3)) for e in acceptor.handle(m)][:-1]
    again = Acceptor(ME, [persist.held])
    assert again.held("r") == acceptor.held("r")
    assert isinstance(again.handle(prepare(2))[-1].message, RecordConflict)


def test_what_is_not_about_records_is_not_answered(acceptor):
    assert acceptor.handle(Ping()) is None
