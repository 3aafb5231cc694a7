"""The sums of what tasks have counted and left out."""

from hypothesis import given
from hypothesis import strategies as st

from map_reduce.core.messages import BAD_RECORDS_KEPT_MAX, COUNT_MAX, COUNTERS_MAX, BadRecord, Tally
from map_reduce.core.scheduling.tally import JobTally


def records(*names):
    return tuple(BadRecord(name, "", "ValueError") for name in names)


tallies = st.builds(
    lambda counters, skipped: Tally(tuple(sorted(counters.items())), skipped, skipped * 2),
    st.dictionaries(st.sampled_from("abcd"), st.integers(-9, 9)),
    st.integers(0, 3),
)


@given(st.lists(st.tuples(st.integers(0, 5), tallies), max_size=30))
def test_the_sums_are_those_of_the_tasks_that_are_in_it(steps):
    job, inside = JobTally(), {}
    for task, tally in steps:  # in, and out again when its turn comes once more
        if task in inside:
            job.take_back("map", task, inside.pop(task)[1])
        else:
            inside[task] = tally, job.add("map", task, tally)
        sums = {}
        for told, _ in inside.values():
            for name, count in told.counters:
                sums[name] = sums.get(name, 0) + count
        assert job.counters == sums
        assert job.records_skipped == sum(told.records_skipped for told, _ in inside.values())
        assert job.keys_skipped == sum(told.keys_skipped for told, _ in inside.values())


def test_records_are_shown_in_the_order_of_tasks():
    job = JobTally()
    job.add("map", 7, Tally(records_skipped=2, skipped=records("h1", "h2")))
    job.add("reduce", 0, Tally(keys_skipped=1, skipped=records("k")))
    job.add("map", 2, Tally(records_skipped=1, skipped=records("c")))
    assert [bad.where for bad in job.shown().skipped] == ["c", "h1", "h2", "k"]
    assert job.skipped == 4


def test_only_so_many_records_are_kept_and_all_are_counted():
    job = JobTally()
    many = records(*map(str, range(BAD_RECORDS_KEPT_MAX)))
    first = job.add("map", 1, Tally(records_skipped=1, skipped=records("first")))
    job.add("map", 0, Tally(records_skipped=500, skipped=many))
    assert len(job.shown().skipped) == BAD_RECORDS_KEPT_MAX
    assert job.shown().records_skipped == 501
    job.take_back("map", 1, first)
    assert len(job.shown().skipped) == BAD_RECORDS_KEPT_MAX - 1
    job.add("map", 1, Tally(records_skipped=1, skipped=records("again")))
    assert job.shown().skipped[-1].where == "again"


def test_names_and_counts_have_bounds():
    job = JobTally()
    for task in range(COUNTERS_MAX):
        job.add("map", task, Tally(((f"c{task}", 1),)))
    assert not job.too_much()
    job.add("map", COUNTERS_MAX, Tally((("more", 1),)))
    assert "more than 100 counters" in job.too_much()
    job = JobTally()
    job.add("map", 0, Tally((("x", COUNT_MAX),)))
    assert not job.too_much()
    job.add("map", 1, Tally((("x", 1),)))
    assert "'x' has left the range" in job.too_much()
