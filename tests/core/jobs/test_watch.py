"""When a watcher takes a job over, and when it doesn't."""

from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.identifiers import Address, Member
from map_reduce.core.jobs.watch import STAGGER_S, JobWatch, Step
from map_reduce.core.registers.lease import Lease

LEASE_S = 3.0
A, B = (Member(Address("10.0.0.1", port), 1) for port in (1, 2))


def watching(master=A, epoch=1):
    """A watch that has read once, at 0 s, that ``master`` is master, and has heard it since."""
    watch = JobWatch(LEASE_S, 0.0)
    watch.read(Lease(epoch, master), 5, 0.0)
    watch.heard(epoch, 0.0)
    return watch


def run(watch, until_s, rank=0, version=5, lease=None, start_s=0.0):
    """Step every 0.1 s, and read the record when it says so; when it takes over, or None."""
    for tenth in range(int(start_s * 10), int(until_s * 10)):
        now_s = tenth / 10
        step = watch.step(now_s, rank)
        if step is Step.TAKE:
            return now_s
        if step is Step.READ:
            watch.read(lease or watch.lease, version, now_s)
    return None


def test_a_master_that_answers_is_left_in_peace():
    watch = watching()
    for now_s in range(100):
        watch.heard(1, now_s)
        assert watch.step(now_s, 0) is Step.REST


def test_a_silent_master_keeps_the_job_for_its_lease():
    watch = watching()
    watch.unheard(denied=False)
    assert watch.step(0.1, 0) is Step.REST, "it was heard a moment ago"
    assert watch.step(LEASE_S / 2, 0) is Step.READ, "perhaps it is at work"
    assert LEASE_S <= run(watch, 10) <= LEASE_S + 0.2


def test_the_record_is_read_again_before_the_job_is_taken():
    watch = watching()
    watch.unheard(denied=False)
    assert watch.step(LEASE_S + 1, 0) is Step.READ
    watch.read(watch.lease, 5, LEASE_S + 1)
    assert watch.step(LEASE_S + 1, 0) is Step.TAKE


def test_a_master_that_renews_its_lease_keeps_the_job_though_it_cannot_be_reached():
    watch = watching()
    for version in range(6, 60):
        watch.unheard(denied=False)
        now_s = version - 6
        assert run(watch, now_s + 1, version=version, start_s=now_s) is None


def test_watchers_come_one_after_the_other():
    took = []
    for rank in range(3):
        watch = watching()
        watch.unheard(denied=False)
        took.append(run(watch, 20, rank))
    assert took[0] + STAGGER_S <= took[1] + 0.1
    assert took[1] + STAGGER_S <= took[2] + 0.1


def test_one_that_says_it_is_not_the_master_is_not_waited_for():
    watch = watching()
    watch.unheard(denied=True)
    assert run(watch, 10, start_s=1) < 1.2


def test_one_that_has_resigned_is_not_waited_for():
    watch = watching()
    watch.unheard(denied=False)
    assert run(watch, 10, version=6, lease=Lease(1, None), start_s=1.1) < 1.5


def test_a_new_master_is_asked_before_it_is_doubted():
    watch = watching()
    watch.unheard(denied=True)
    watch.read(Lease(2, B), 9, 1.0)
    assert watch.step(1.0, 0) is Step.REST
    watch.heard(1, 50.0)
    assert watch.lease.epoch == 2


def test_an_answer_from_an_older_epoch_is_no_sign_of_life():
    watch = watching(epoch=4)
    watch.unheard(denied=False)
    watch.heard(3, 0.0)
    assert run(watch, 10) is not None


def test_a_job_that_nobody_has_begun_is_begun_after_a_while():
    watch = JobWatch(LEASE_S, 0.0)
    assert LEASE_S <= run(watch, 10, version=0, lease=Lease()) <= LEASE_S + 0.2


def test_a_job_that_the_owner_begins_is_left_to_it():
    watch = JobWatch(LEASE_S, 0.0)
    assert run(watch, 4, version=1, lease=Lease(1, A)) is None
    watch.heard(1, 4.0)
    assert watch.step(5.0, 0) is Step.REST


@given(st.lists(st.tuples(st.sampled_from(["heard", "silent", "denied"]), st.floats(0, 2))))
def test_a_silent_master_of_an_unchanged_record_is_always_replaced_in_the_end(story):
    watch, now_s = watching(), 0.0
    for what, seconds in story:
        now_s += seconds
        if what == "heard":
            watch.heard(1, now_s)
        else:
            watch.unheard(denied=what == "denied")
    watch.unheard(denied=False)
    assert run(watch, now_s + 3 * LEASE_S, rank=2, start_s=now_s) is not None
