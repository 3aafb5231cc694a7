"""Progress as numbers and as a bar."""

from __future__ import annotations

import pytest

from map_reduce.client.progress import GAP_S_MAX, Bar, JobProgress, TimeSeen
from map_reduce.core.messages import Progress


def of(**fields):
    return JobProgress.of(Progress(**fields))


def test_before_anything_is_known():
    progress = of()
    assert (progress.phase, progress.fraction, progress.remaining_s) == ("waiting", 0.0, None)


def test_fraction_and_estimate_follow_the_bytes():
    progress = of(
        phase="map", map_tasks_total=4, input_bytes_done=50, input_bytes_total=100, elapsed_s=3.0
    )
    assert progress.fraction == pytest.approx(0.375)
    assert progress.remaining_s == pytest.approx(5.0)


def test_reduce_tasks_count_for_the_rest():
    progress = of(
        phase="reduce",
        map_tasks_done=4,
        map_tasks_total=4,
        reduce_tasks_done=1,
        reduce_tasks_total=2,
        elapsed_s=7.0,
    )
    assert progress.fraction == pytest.approx(0.875)
    assert progress.remaining_s == pytest.approx(1.0)
    assert (progress.tasks_done, progress.tasks_total) == (5, 6)


def test_the_end():
    assert of(phase="done").fraction == 1.0
    assert of(phase="failed", elapsed_s=1.0).remaining_s is None


TOLD = Progress(phase="done", elapsed_s=7.0)
"""By the last master: of its own part alone, if there was another before."""


def test_who_waited_for_the_answer_until_the_end_knows_how_long_it_took():
    time = TimeSeen(100.0)
    time.saw(False, 100.5, 100.5)
    time.saw(True, 100.6, 190.0)  # held until then
    assert time.until_end_s(TOLD) == 90.0


def test_who_was_away_does_not():
    time = TimeSeen(100.0)
    time.saw(False, 100.5, 100.5)
    time.saw(True, 101.0 + GAP_S_MAX, 190.0)
    assert time.until_end_s(TOLD) == 7.0
    assert TimeSeen(None).until_end_s(TOLD) == 7.0


def test_no_bar_where_the_output_is_no_terminal(capsys):
    with Bar("job", None) as bar:
        bar.show(of(phase="map", map_tasks_total=2, map_tasks_done=1, elapsed_s=9.0))
    assert capsys.readouterr().err == ""


def test_a_bar_for_jobs_that_take_a_while(capsys):
    with Bar("counting", True) as bar:
        bar.show(of(phase="map", map_tasks_total=2, elapsed_s=0.1))
        assert capsys.readouterr().err == ""
        bar.show(of(phase="map", map_tasks_total=2, map_tasks_done=1, records=12345, elapsed_s=2.0))
        text = capsys.readouterr().err
    assert "counting" in text
    assert "12,345 records" in text
    assert "38%" in text
