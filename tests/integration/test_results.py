"""Results that are streamed or saved rather than held."""

from __future__ import annotations

import gc
import json

import pytest

from map_reduce import Options, ServerInterface, reducers
from map_reduce.errors import ConfigError, JobError, OutputError, ReduceError, UserCodeError
from map_reduce.formats import TEXTS

TEXT = [f"{n % 700} {n}" for n in range(5000)]


def fields(number, line):
    key, value = line.split()
    return [(int(key), value)]


def joined(key, values):
    return ",".join(values)


EXPECTED = {key: ",".join(str(n) for n in range(key, 5000, 700)) for key in range(700)}


@pytest.fixture(scope="module")
def server():
    with ServerInterface(slots=2, quiet=True, progress=False) as server:
        yield server


def test_a_stream_gives_all_results_and_can_begin_again_until_it_has(server):
    job = server.startup(TEXT, fields, joined)
    begun = job.stream()
    assert next(begun)[0] in EXPECTED
    begun.close()
    assert dict(job.stream()) == EXPECTED
    with pytest.raises(JobError, match="released"):
        job.stream()


def test_a_dict_that_was_fetched_is_streamed(server):
    job = server.startup(TEXT[:100], fields, joined)
    results = job.result()
    assert dict(job.stream()) == results


def test_results_are_saved_and_only_then_released(server, tmp_path):
    job = server.startup(TEXT, fields, lambda key, values: {1})
    with pytest.raises(OutputError, match="set is not JSON"):
        job.save(tmp_path / "sets")
    assert len(job.save(tmp_path / "sets", format="text")) >= 1
    with pytest.raises(JobError, match="released"):
        job.save(tmp_path / "again")
    job = server.startup(TEXT, fields, joined)
    found = {}
    for path in job.save(tmp_path / "joined"):
        for line in path.read_text().splitlines():
            key, value = json.loads(line)
            found[key] = value
    assert found == EXPECTED


def test_a_failure_is_raised_by_the_stream(server):
    job = server.startup(TEXT, fields, lambda key, values: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        job.stream()


class Watched:
    """What tells, when it is unpickled, whether garbage is collected, or fails to be unpickled."""

    def __init__(self, fails):
        self.fails = fails

    def __reduce__(self):
        return unpickled, (self.fails,)


def unpickled(fails):
    if fails:
        raise ValueError("it does not unpickle")
    return gc.isenabled()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("collecting", [True, False])
def test_garbage_is_collected_as_before_once_results_are_read(server, fails, collecting):
    job = server.startup([1], lambda key, item: [(1, item)], lambda key, values: Watched(fails))
    job.wait()
    if not collecting:
        gc.disable()
    try:
        if fails:
            with pytest.raises(UserCodeError, match="it does not unpickle"):
                job.result()
        else:
            assert job.result() == {1: False}  # not in the middle of it
        assert gc.isenabled() == collecting
    finally:
        gc.enable()


def together(paths):
    return b"".join(path.read_bytes() for path in paths)


@pytest.mark.parametrize("format", TEXTS)
@pytest.mark.parametrize("total", [False, True], ids=["grouped", "added up"])
def test_files_that_tasks_have_written_are_those_that_the_client_would(
    server, tmp_path, format, total
):
    def numbers(number, line):
        return [(int(line.split()[0]), number)]

    def summed(key, values):
        return sum(values)

    def listed(key, values):
        return [str(value) for value in values]

    reduce = listed if format == "lines" else (reducers.sum if total else summed)
    asked = {"sort": True, "combine": None if format == "lines" or not total else summed}
    by_tasks = server.startup(TEXT, numbers, reduce, save_as=format, **asked)
    again = server.attach(by_tasks.id)
    for reads in (by_tasks.result, by_tasks.stream, again.result, lambda: by_tasks.as_source()):
        with pytest.raises(JobError, match=f"have written its results as {format}.*save"):
            reads()
    with pytest.raises(ConfigError, match=f"as {format}.*cannot be saved as pickle"):
        by_tasks.save(tmp_path / "tasks", "pickle")
    paths = by_tasks.save(tmp_path / "tasks")
    assert sorted((tmp_path / "tasks").iterdir()) == paths
    assert together(paths)
    client = server.startup(TEXT, numbers, reduce, **asked).save(tmp_path / "client", format)
    assert [path.name for path in paths] == [path.name for path in client]
    assert together(paths) == together(client)
    assert {path.stat().st_mode for path in paths} == {path.stat().st_mode for path in client}
    with pytest.raises(JobError, match="released"):
        by_tasks.save(tmp_path / "again")


def test_a_job_without_results_has_no_files(server, tmp_path):
    job = server.startup(TEXT, lambda number, line: [], joined, save_as="text")
    assert "".join(path.read_text() for path in job.save(tmp_path / "none")) == ""


def test_a_result_that_the_format_cannot_hold_fails_at_its_key_or_is_left_out(server, tmp_path):
    def some(key, values):
        return {1} if key == 13 else key

    job = server.startup(TEXT, fields, some, save_as="jsonl")
    with pytest.raises(OutputError, match=r"set is not JSON[^$]*in reduce, at key 13") as raised:
        job.save(tmp_path / "fails")
    assert isinstance(raised.value, ReduceError)
    assert not [*(tmp_path / "fails").iterdir()]
    options = Options(on_bad_record="skip:1")
    job = server.startup(TEXT, fields, some, save_as="jsonl", options=options)
    found = dict(map(json.loads, together(job.save(tmp_path / "skips")).splitlines()))
    assert found == {key: key for key in range(700) if key != 13}


def test_files_stay_what_they_are_once_the_job_is_released(server, tmp_path):
    lines = [f"{number:07}" + "x" * 93 for number in range(30_000)]
    job = server.startup(
        lines, lambda number, line: [(line[:7], line)], lambda key, values: values,
        sort=True, save_as="lines",
    )  # fmt: skip
    paths = job.save(tmp_path / "out")
    assert len(paths) > 1
    for path in paths:
        with path.open("a") as file:  # the user's own, and no other name of anything
            file.write("more\n")
    kept = [line for line in together(paths).decode().splitlines() if line != "more"]
    assert kept == lines


def test_text_that_has_no_bytes_fails_at_its_key(server, tmp_path):
    def some(key, values):
        return "\udcff" if key == 5 else "\ud800" if key == 13 else "ü"

    options = Options(on_bad_record="skip:1")
    job = server.startup(TEXT, fields, some, save_as="text", options=options)
    assert together(job.save(tmp_path / "skips")).count(b"\xc3\xbc\n") == 698
    assert [bad.where for bad in job.skipped] == ["key 13"]
    assert b"5\t\xff\n" in together((tmp_path / "skips").iterdir())


def total(key, values):
    return sum(values)


def test_ints_are_added_to_floats_before_them_one_by_one(server):
    """Which other splits hold cannot be known to a map task, so it may have to be made again."""
    numbers = [1e16, *[1] * 4000]
    job = server.startup(numbers, lambda at, number: [(at % 3, number)], total)
    expected = {key: sum(numbers[key::3]) for key in range(3)}
    assert job.result() == expected
    assert job.report.repeated > 0
