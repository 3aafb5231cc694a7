"""What a node says to masters that come and go."""

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.jobs.service import Services
from map_reduce.core.messages import (
    AdoptJob,
    AttemptId,
    CheckWork,
    Counts,
    Done,
    Functions,
    JobAdopted,
    MapOutput,
    No,
    StartAttempt,
)

ME = Member(Address("me", 1), 1)
FIRST, SECOND = Address("first", 1), Address("second", 1)


def services():
    return Services(
        now_s=lambda: 0.0,
        attempts_max=8,
        give_up_s=30,
        is_over=lambda job_id: False,
        holds=lambda name: True,
    )


def order(task=0, epoch=1, master=FIRST):
    return StartAttempt(
        attempt=AttemptId("job", "map", task, 0, epoch),
        epoch=epoch,
        master=master,
        functions=Functions(b"", None, b""),
        work=CheckWork(),
        timeout_s=1,
        careful=False,
    )


def made(task=0, added=False):
    return MapOutput(f"out{task}", (1,), Counts(), added=added)


def adoption(epoch=2, master=SECOND, maps=b"", adds=True):
    return AdoptJob("job", epoch, master, maps, b"", (), adds)


def test_a_report_that_the_old_master_took_while_another_took_over_is_made_again():
    here, first = services(), order()
    here.take(first)
    here.ended(first, made())
    master, message = here.report(first, ME)
    assert master == FIRST
    answer, _ = here.adopt(adoption())
    assert answer == JobAdopted((first.attempt,), ()), "the new master waits for it"
    assert not here.reported(first, message), "what the old one took does not count"
    master, again = here.report(first, ME)
    assert (master, again.epoch) == (SECOND, 2)
    assert here.reported(first, again)
    assert here.report(first, ME) is None


def test_what_was_reported_is_kept_for_every_master_until_the_ledger_has_it():
    here, first = services(), order()
    here.take(first)
    here.ended(first, made())
    assert here.reported(first, here.report(first, ME)[1])
    for epoch in (2, 3):
        answer, again = here.adopt(adoption(epoch))
        assert answer.attempts == (first.attempt,)
        _, message = here.report(again[0], ME)
        assert message.outcome == made()
        assert here.reported(again[0], message)
    assert here.adopt(adoption(4, maps=b"\x01")) == (JobAdopted((), ()), [])
    assert here.adopt(adoption(5)) == (JobAdopted((), ()), []), "then it is forgotten"


def test_an_order_that_comes_twice_is_carried_out_once():
    here, first = services(), order()
    assert here.take(first) == (Done(), True)
    assert here.take(first) == (Done(), False)
    here.ended(first, made())
    assert here.take(first) == (Done(), False)
    assert here.reported(first, here.report(first, ME)[1])
    assert here.take(first) == (Done(), False), "late, after its report"


def test_what_was_added_up_is_not_reported_again_once_that_is_of_no_use():
    for adds in (True, False):
        here = services()
        for one, added in ((order(0), False), (order(1), True)):
            here.take(one)
            here.ended(one, made(one.attempt.task, added))
            assert here.reported(one, here.report(one, ME)[1])
        answer, _ = here.adopt(adoption(adds=adds))
        assert [attempt.task for attempt in answer.attempts] == ([0, 1] if adds else [0])


def test_one_master_at_a_time_is_served():
    here = services()
    assert here.take(order(epoch=3, master=SECOND)) == (Done(), True)
    assert here.take(order(epoch=3, master=SECOND)) == (Done(), False)
    refusal, begun = here.take(order(1, epoch=2))
    assert isinstance(refusal, No)
    assert not begun
    assert here.masters() == {"job": SECOND}


def test_nothing_is_remembered_of_a_job_that_has_ended():
    here, first = services(), order()
    here.take(first)
    here.ended(first, made())
    here.end_job("job")
    assert here.report(first, ME) is None
    assert here.masters() == {}
    assert not here.orders
    assert not here.unreported
