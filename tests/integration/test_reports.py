"""The closing line, and what jobs explain of themselves, against what is known of them."""

import json
import logging
import threading

import pytest

from map_reduce.client.explain import Sizes
from map_reduce.client.job_list import jobs_of
from map_reduce.client.report import size_text, time_text
from map_reduce.core.messages import Spread
from map_reduce.errors import ConfigError, InputTypeError

LINES = [f"some words {number % 50}" for number in range(4000)]


def words(number, line):
    return [(word, 1) for word in line.split()]


def count(word, ones):
    return len(ones)


def hot(number, line):
    return [("hot" if number % 8 else number, f"{number:0100}")]


def pairs_of(key, value):
    return [(f"{key}", value)]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("".join(f"{line} and more of the same\n" for line in LINES))
    return path


def test_the_closing_line_is_in_the_log_or_where_the_bar_was(server, monkeypatch, capsys, caplog):
    def slow(number, item):
        threading.Event().wait(0.05)
        return [(item, 1)]

    with caplog.at_level(logging.INFO, logger="map_reduce.client.handle"):
        job = server.startup(["a"] * 16, slow, count, name="slow")
        job.result()
        assert capsys.readouterr().err == ""
        assert f"job {job.id}: {job.report}" in caplog.text
    monkeypatch.setattr(server, "_progress", True)
    job = server.startup(["a"] * 16, slow, count, name="slow")
    job.result()
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.endswith(f"map-reduce: {job.report}")
    assert " × one core (" in told
    server.startup(["a"], words, count).result()
    assert "map-reduce" not in capsys.readouterr().err, "a job too short for a bar"


def test_the_share_of_user_code_is_seen(server):
    def slow(number, item):
        threading.Event().wait(0.5)
        return [(item, 1)]

    job = server.startup(["a", "b"], slow, count)
    assert job.report.phase != "done"
    job.result()
    report = job.report
    assert report.user_code_share > 0.8
    assert report.cpu_s < report.time_s, "it slept"
    assert report.time_s >= 1.0
    assert report.speed_up == report.cpu_s / report.time_s


def test_of_a_job_that_is_too_short_no_share_is_told(server):
    job = server.startup(["a"], words, count)
    job.result()
    assert job.report.user_code_share is None
    assert "too short" in str(job.report)


def test_what_a_job_has_measured(server, text):
    job = server.startup(LINES, words, count)
    job.wait()
    after = job.explain()
    report = job.report
    assert (after.kind, after.sample) == ("measured", "")
    assert after.map_tasks.count == after.splits.count > 1
    assert after.partitions.total == after.shuffled_bytes == report.shuffled_bytes > 0
    assert after.reduce_tasks.total == after.shuffled_bytes
    assert report.tasks == after.map_tasks.count + after.reduce_tasks.count == report.attempts
    assert (report.repeated, report.masters, report.replicated_bytes) == (0, 1, 0)
    assert report.stored_bytes >= after.input_bytes == after.splits.total
    assert json.loads(json.dumps(after.as_dict()))["splits"]["count"] == after.splits.count
    assert next(info.report for info in jobs_of(server._access) if info.id == job.id).attempts
    assert sum(job.result().values()) == 3 * len(LINES)
    assert str(job.explain()).splitlines()[0] == "measured:"


def test_before_a_job_runs_it_is_estimated_from_a_sample(server, text):
    for data in (text, LINES, dict(enumerate(LINES)), [text, text]):
        before = server.explain(data, words, count, sample=0.5)
        job = server.startup(data, words, count)
        job.result()
        after = job.explain()
        assert before.kind == "estimated"
        assert before.input_bytes == pytest.approx(after.input_bytes, rel=0.3)
        assert before.splits.count == pytest.approx(after.splits.count, abs=1)
        assert before.shuffled_bytes >= 0.8 * after.shuffled_bytes
        assert after.reduce_tasks.count <= before.reduce_tasks_max
        assert f"{before.splits.count} split" in str(before) or "one split" in str(before)
    assert all(info.phase != "running" for info in jobs_of(server._access))


def test_steps_datasets_and_sorting_are_estimated_too(server, text):
    with server.dataset(LINES) as stored:
        first = server.startup(stored, words, count)
        for data in (stored, first, [first, text]):
            before = server.explain(data, pairs_of, count, sample=0.5, sort=True)
            job = server.startup(data, pairs_of, count, sort=True)
            assert len(job.result()) > 0
            after = job.explain()
            assert before.splits.count == after.splits.count
            assert before.input_bytes == pytest.approx(after.input_bytes, rel=0.3)
        assert len(first.result()) == 52, "an estimate deletes nothing"


def test_a_hot_key_is_pointed_at(server):
    data = list(range(40_000))
    before = server.explain(data, hot, count, sample=0.05)
    assert before.partitions.skew > 4
    assert any("one partition has" in line for line in before.advice)
    assert any("combine=" in line for line in before.advice)
    combined = server.explain(data, hot, count, lambda key, values: "y", sample=0.05)
    assert not combined.advice


def test_what_cannot_be_sampled_is_refused(server):
    with pytest.raises(InputTypeError, match="iterator"):
        server.explain(iter(LINES), words, count)
    with pytest.raises(ConfigError, match="sample"):
        server.explain(LINES, words, count, sample=2)
    with pytest.raises(ZeroDivisionError):
        server.explain(LINES, lambda number, line: 1 / 0, count)


def test_skew_and_texts():
    assert Sizes.of(Spread(4, 8.0, 2.0, 4.0), 10).skew == 2.0
    assert Sizes.of(Spread()).skew == 0.0
    assert [size_text(n) for n in (0, 999, 1000, 12_345, 10**9)] == [
        *("0 B", "999 B", "1 kB", "12.3 kB", "1 GB")
    ]
    assert [time_text(s) for s in (0.0125, 0.9999, 12.34, 1234)] == [
        *("12.5 ms", "1 s", "12.3 s", "1,234 s")
    ]
