"""Results that are streamed or saved rather than held."""

from __future__ import annotations

import gc
import json

import pytest

from map_reduce import ServerInterface
from map_reduce.errors import JobError, OutputError, UserCodeError

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
