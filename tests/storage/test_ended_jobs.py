"""What a node was told to delete is known in its next life."""

from __future__ import annotations

import pytest

from map_reduce.core.messages import EndedJob
from map_reduce.core.repair.deletions import KEPT_S
from map_reduce.errors import ConfigError
from map_reduce.storage.disk import DiskBlockStore
from map_reduce.storage.ended_jobs import NAME, DiskEndedJobs

ONE, TWO = EndedJob("one", True), EndedJob('"two"\n', False)


def test_they_are_known_after_a_restart_with_their_age(tmp_path):
    now_s = [1000.0]
    first = DiskEndedJobs(tmp_path / "data", wall_s=lambda: now_s[0])
    assert first.known() == ()
    first.add(ONE)
    now_s[0] += 10
    first.add(TWO)
    now_s[0] += 5
    again = DiskEndedJobs(tmp_path / "data", wall_s=lambda: now_s[0])
    assert again.known() == ((ONE, 15.0), (TWO, 5.0))
    now_s[0] = 900.0  # the clock was set back
    assert again.known() == ((ONE, 0.0), (TWO, 0.0))


def test_what_is_old_is_forgotten(tmp_path):
    now_s = [0.0]
    DiskEndedJobs(tmp_path, wall_s=lambda: now_s[0]).add(ONE)
    now_s[0] = KEPT_S / 2
    DiskEndedJobs(tmp_path, wall_s=lambda: now_s[0]).add(TWO)
    now_s[0] = KEPT_S + 1
    assert [job for job, _ in DiskEndedJobs(tmp_path, wall_s=lambda: now_s[0]).known()] == [TWO]
    assert len((tmp_path / NAME).read_bytes().splitlines()) == 1


@pytest.mark.parametrize(
    "end", [b'{"at_s":1.0,"jo', b"\xff\xfe", b'{"at_s":"x","job":[]}\n', b"[]"]
)
def test_a_torn_or_strange_line_is_left_out(tmp_path, end):
    DiskEndedJobs(tmp_path).add(ONE)
    with open(tmp_path / NAME, "ab") as file:
        file.write(end)
    again = DiskEndedJobs(tmp_path)
    again.add(TWO)
    assert [job for job, _ in DiskEndedJobs(tmp_path).known()] == [ONE, TWO]


def test_the_file_is_no_block(tmp_path):
    DiskEndedJobs(tmp_path).add(ONE)
    store = DiskBlockStore(tmp_path, temporary=False)
    assert store.refs() == ()
    assert store.delete_prefix("") == 0
    assert [job for job, _ in DiskEndedJobs(tmp_path).known()] == [ONE]


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ConfigError, match="data"):
        DiskEndedJobs(tmp_path / "data")
