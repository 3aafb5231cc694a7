"""Jobs whose input is what other jobs have made, or a dataset, against the sequential run."""

import gzip
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequential import comparable, run_sequentially

from map_reduce.client.server_interface import ServerInterface
from map_reduce.errors import JobError, JobLostError, UserCodeError

WAIT_S = 60


def words(number, line):
    return [(word, (number, word)) for word in line.split()]


def spell(word, places):
    return word, sorted(places)


def letters(word, spelt):
    return [(letter, (word, len(spelt[1]))) for letter in sorted(set(word))]


def listed(letter, found):
    return sorted(found)


def padded(number, line):
    return [(f"{number}-{word}", "x" * 400 + word) for word in line.split()]


def joined(key, values):
    return "".join(values)


def by_length(key, value):
    return [(len(key), value[400:])]


def pairs(number, item):
    return [(number, item)]


def len_of(number, items):
    return len(items)


LINES = [f"{word} {number % 7}" for number, word in enumerate(["some", "words", "of", "text"] * 60)]


@settings(max_examples=10)
@given(st.lists(st.sampled_from(["a b", "", "cab", "b b b", "ä"]), max_size=30))
def test_the_second_job_reads_what_the_first_results_in(server, lines):
    first = run_sequentially(enumerate(lines), words, spell)
    expected = run_sequentially(first.items(), letters, listed)
    job = server.startup(lines, words, spell)
    second = server.startup(job, letters, listed)
    assert comparable(second.result(WAIT_S)) == comparable(expected)
    assert comparable(job.result(WAIT_S)) == comparable(first)


@pytest.mark.parametrize("size", [1, 3])
def test_results_in_blocks_are_read_where_they_are_in_any_ring(ring_of, size):
    expected = run_sequentially(enumerate(LINES * 10), padded, joined)
    again = run_sequentially(expected.items(), by_length, lambda key, found: sorted(found))
    server = on(ring_of(size))
    first = server.startup(LINES * 10, padded, joined)
    second = server.startup(first, by_length, lambda key, found: sorted(found))
    assert comparable(second.result(WAIT_S)) == comparable(again)
    assert second.explain().input_bytes > 400 * 2400
    assert second.report.stored_bytes < 100_000, "the first one's blocks are not counted again"
    # Also after it was fetched, which sends it again; in the order in which it came.
    fetched = first.result(WAIT_S)
    assert comparable(fetched) == comparable(expected)
    third = server.startup(first, by_length, lambda key, found: found)
    direct = server.startup(fetched, by_length, lambda key, found: found)
    assert third.result(WAIT_S) == direct.result(WAIT_S)


def on(access):
    """A client of a ring in memory, which nothing finds by an address."""
    server = ServerInterface.__new__(ServerInterface)
    server._access, server._progress, server._last = access, False, None
    server._lock = threading.Lock()
    return server


def test_the_order_of_values_is_that_of_the_first_ones_results(server):
    first = server.startup(LINES, words, lambda word, places: len(places))
    second = server.startup(first, lambda key, count: [("all", (key, count))], lambda _, all: all)
    order = second.result(WAIT_S)["all"]
    assert order == list(first.result(WAIT_S).items())


def test_several_inputs_one_after_another(server, tmp_path):
    (tmp_path / "b.txt").write_text("from a file\n")
    counts = server.startup(["x y", "x"], lambda n, line: [(w, 1) for w in line.split()], count)
    with server.dataset({"x": "letter"}) as names:
        job = server.startup(
            [names, counts, ["an item"], str(tmp_path / "b.txt")],
            lambda key, value: [("seen", (key, value))],
            lambda _, seen: seen,
        )
        seen = job.result(WAIT_S)["seen"]
    assert seen[0] == ("x", "letter")
    assert sorted(seen[1:3]) == [("x", 2), ("y", 1)]
    assert seen[3:] == [(0, "an item"), (0, "from a file")]


def count(key, ones):
    return len(ones)


def test_a_dataset_is_read_as_what_it_was_made_of(server, tmp_path):
    text = "".join(f"{line}\n" for line in LINES)
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.gz").write_bytes(gzip.compress(text.encode()))
    for data in (
        LINES,
        dict(zip("abc", LINES, strict=False)),
        [[number, [line]] for number, line in enumerate(LINES)],
        tmp_path / "a.txt",
        [tmp_path / "a.txt", tmp_path / "b.gz"],
        iter(LINES),
        [],
    ):
        kept = list(data) if isinstance(data, type(iter([]))) else data
        with server.dataset(kept) as dataset:
            for _ in range(2):
                job = server.startup(dataset, everything, lambda _, found: found)
                direct = server.startup(kept, everything, lambda _, found: found)
                assert job.result(WAIT_S) == direct.result(WAIT_S)
    with pytest.raises(JobError, match="released"):
        server.startup(dataset, everything, count)


def everything(key, value):
    return [("all", (key, value))]


def spoil(key, value):
    value.append(key)
    return [(key, list(value))]


def test_a_dataset_of_equal_items_has_each_of_them(server):
    """Its blocks are equal, and stand for other items."""
    with server.dataset([0] * 3000) as stored:
        for _ in range(2):
            found = server.startup(stored, pairs, len_of).result(WAIT_S)
            assert found == dict.fromkeys(range(3000), 1)


def test_what_a_map_function_changes_the_next_job_does_not_see(server):
    with server.dataset([[number] for number in range(1000)]) as dataset:
        for _ in range(3):
            job = server.startup(dataset, spoil, lambda key, values: values)
            assert job.result(WAIT_S) == {n: [[n, n]] for n in range(1000)}


def test_what_a_job_reads_is_deleted_once_it_has_ended(server):
    gate = server.startup(LINES, words, spell)
    gate.wait(WAIT_S)
    second = server.startup(gate, slowly, count)
    gate.release()
    assert gate.id in ids(server)
    assert sum(second.result(WAIT_S).values()) == len(
        run_sequentially(enumerate(LINES), words, spell)
    )
    eventually(lambda: gate.id not in ids(server))
    with pytest.raises((JobError, JobLostError)):
        server.startup(gate, slowly, count)


def slowly(key, value):
    threading.Event().wait(0.02)
    return [(len(key), 1)]


def ids(server):
    return {info.id for info in server.jobs()}


def eventually(call):
    pause = threading.Event()
    for _ in range(WAIT_S * 100):
        if call():
            return
        pause.wait(0.01)
    raise AssertionError("it does not happen")


def test_a_first_job_that_fails_is_told_when_the_second_is_started(server):
    first = server.startup([1], lambda key, item: 1 / 0, count)
    with pytest.raises(ZeroDivisionError):
        server.startup(first, slowly, count)
    with server.dataset([1]) as dataset:
        job = server.startup(dataset, lambda key, item: 1 / 0, count)
        with pytest.raises(UserCodeError):
            job.result(WAIT_S)
        assert server.startup(dataset, lambda key, item: [(key, item)], count).result() == {0: 1}
