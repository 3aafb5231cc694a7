"""Who gets the next slot."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.identifiers import Address
from map_reduce.core.messages import AttemptId, CheckWork, Functions, StartAttempt
from map_reduce.ports import LocalInput
from map_reduce.workers.fair_queue import FairQueue
from map_reduce.workers.tasks import Task


class Slots:
    """A few slots, virtual time, and a queue; every task takes as long as its job says."""

    def __init__(self, slots):
        self.now_s = 0.0
        self.queue = FairQueue(lambda: self.now_s)
        self.free = slots
        self.running = []  # (end, task)
        self.numbers = iter(range(10**6))
        self.begun = []

    def add(self, job, count, priority=1.0):
        for _ in range(count):
            number = next(self.numbers)
            order = StartAttempt(
                attempt=AttemptId(job, "map", number, 0),
                epoch=1,
                master=Address("m", 1),
                functions=Functions(b"", None, b""),
                work=CheckWork(),
                timeout_s=1,
                careful=False,
                priority=priority,
            )
            self.queue.put(Task(number, order, LocalInput(), lambda outcome, path: None))

    def run(self, until_s, seconds):
        """``seconds``: of a task, by job."""
        while self.now_s < until_s:
            while self.free and (task := self.queue.take()) is not None:
                job = task.order.attempt.job_id
                self.begun.append(job)
                self.running.append((self.now_s + seconds[job], task))
                self.free -= 1
            if not self.running:
                return
            self.running.sort(key=lambda each: each[0])
            self.now_s, task = self.running.pop(0)
            self.queue.end(task)
            self.free += 1


def test_a_short_job_does_not_wait_for_a_long_one():
    slots = Slots(2)
    slots.add("long", 100)
    slots.run(10, {"long": 1})
    slots.add("short", 2)
    before = len(slots.begun)
    slots.run(13, {"long": 1, "short": 1})
    assert slots.begun[before:].index("short") <= 2


def test_slots_are_shared_by_priority():
    slots = Slots(6)
    slots.add("one", 500)
    slots.add("two", 500, priority=2.0)
    slots.run(100, {"one": 1, "two": 1})
    counts = Counter(slots.begun)
    assert 1.8 < counts["two"] / counts["one"] < 2.2


def test_on_one_slot_jobs_share_the_time_and_not_the_number_of_tasks():
    slots = Slots(1)
    slots.add("quick", 5000)
    slots.add("slow", 500)
    slots.run(300, {"quick": 0.1, "slow": 2})
    counts = Counter(slots.begun)
    assert 0.8 < counts["quick"] * 0.1 / (counts["slow"] * 2) < 1.25


def test_who_comes_late_does_not_make_up_for_what_it_has_missed():
    slots = Slots(1)
    slots.add("early", 1000)
    slots.run(100, {"early": 1})
    slots.add("late", 1000)
    before = len(slots.begun)
    slots.run(150, {"early": 1, "late": 1})
    counts = Counter(slots.begun[before:])
    assert abs(counts["early"] - counts["late"]) <= 2


def test_within_a_job_it_is_first_come_first_served():
    slots = Slots(1)
    slots.add("job", 5)
    taken = [slots.queue.take().number for _ in range(5)]
    assert taken == [0, 1, 2, 3, 4]


def test_what_is_dropped_is_not_taken():
    slots = Slots(1)
    slots.add("job", 5)
    slots.queue.drop(lambda task: task.number % 2 == 0)
    assert len(slots.queue) == 2
    assert [slots.queue.take().number for _ in range(2)] == [1, 3]
    assert slots.queue.take() is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), max_size=20))
def test_every_task_is_taken_once(story):
    slots = Slots(2)
    for job, count in story:
        slots.add(job, count)
        slots.run(slots.now_s + 1, {"a": 0.5, "b": 1, "c": 3})
    slots.run(1e9, {"a": 0.5, "b": 1, "c": 3})
    assert Counter(slots.begun) == Counter(job for job, count in story for _ in range(count))
    assert not slots.queue._shares, "nothing is remembered of jobs that are done"


def test_what_is_taken_ahead_is_the_next_and_does_not_count_as_running():
    slots = Slots(1)
    slots.add("a", 3)
    slots.add("b", 1)
    queue = slots.queue
    first = queue.take()
    assert first.number == 0
    ahead = queue.take_ahead()
    assert ahead.order.attempt.job_id == "b"  # as it would be once the first has ended
    assert len(queue) == 2
    queue.end(first)
    queue.begin(ahead)
    assert queue.take().number == 1


def test_what_is_put_back_is_the_next_of_its_job():
    slots = Slots(1)
    slots.add("a", 3)
    queue = slots.queue
    first, ahead = queue.take(), queue.take_ahead()
    queue.put_back(ahead)
    assert len(queue) == 2
    queue.end(first)
    assert [queue.take().number, queue.take().number] == [1, 2]
    assert queue.take() is queue.take_ahead() is None


def test_a_job_keeps_what_it_has_used_while_one_of_it_is_taken_ahead():
    slots = Slots(1)
    slots.add("a", 2)
    queue = slots.queue
    first, ahead = queue.take(), queue.take_ahead()
    slots.now_s = 10.0
    queue.end(first)
    slots.add("b", 1)
    queue.begin(ahead)
    queue.end(ahead)
    slots.add("a", 1)
    slots.add("b", 1)
    assert [queue.take().order.attempt.job_id for _ in range(3)] == ["b", "a", "b"]


def test_nothing_is_left_of_a_job_whose_last_was_taken_ahead_and_forgotten():
    slots = Slots(1)
    slots.add("a", 1)
    ahead = slots.queue.take_ahead()
    slots.queue.forget(ahead)
    assert len(slots.queue) == 0
    assert slots.queue._shares == {}
